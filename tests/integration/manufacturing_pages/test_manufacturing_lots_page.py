"""Lots, as agents tell of their boards: the line's page, the lots' pages and API, and inspection that was stopped."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from lxml import html

from evident_manufacturing.delivery.events import event_of
from evident_manufacturing.inspection.schema import Decision, Part, Verdict
from manufacturing_client import HTML, JSON, page, text
from manufacturing_specimen import inspection as specimen

HOSTILE = "<img src=x onerror=alert('批')>/../7"
SPECIFICATION = "product: pair-board\nversion: 1\nlot: {size: 5, aql: 6.5}\n"  # normal: n 2, Ac 0; tightened: n 3
BEGAN = datetime(2025, 3, 14, 9, tzinfo=UTC)
MADE = specimen(defects=())
Tell = Callable[..., None]


@pytest.fixture
def tell(client: FlaskClient) -> Tell:
    """Tell of boards of a lot, one a second: "a" accept, "w" rework, "r" reject."""
    clock = iter(range(10_000))

    def told(lot: str, decisions: str, *, revision: int = 1, by: str = "pair-board@1", of: str = "pair-board") -> None:
        events = []
        for number, each in enumerate(decisions):
            decision = {"a": Decision.ACCEPT, "w": Decision.REWORK, "r": Decision.REJECT}[each]
            part = Part(part_id=f"{lot[:40]} {number}", product=of, lot=lot)
            made = MADE.model_copy(update={"part": part, "verdict": Verdict(decision=decision, specification=by)})
            at = BEGAN + timedelta(seconds=next(clock))
            events.append(event_of(made, station="aoi-1", inspected=at, revision=revision).body)
        answer = client.post("/events", data=b"\n".join(events), content_type="application/x-ndjson")
        assert {each["status"] for each in answer.json["results"]} == {201}

    return told


@pytest.fixture
def kept(client: FlaskClient) -> None:
    """The product's specification is kept at the pages."""
    assert client.post("/specifications", json={"text": SPECIFICATION}, headers=JSON).status_code == 201


def lots(client: FlaskClient) -> dict[str, dict[str, object]]:
    found = client.get("/lots", headers=JSON).json["products"]
    return {lot["lot"]: lot for each in found for lot in each["lots"]}


@pytest.mark.usefixtures("kept")
def test_lots_are_shown_with_verdict_plan_and_counts(client: FlaskClient, tell: Tell) -> None:
    tell("L-1", "aarrr")
    tell(HOSTILE, "wa")
    tell("L-3", "a")
    tell("", "rr")
    found = lots(client)
    assert {name: (each["verdict"], each["inspected"], each["nonconforming"]) for name, each in found.items()} == {
        "L-3": ("open", 1, 0),
        HOSTILE: ("not_accepted", 2, 1),
        "L-1": ("accepted", 2, 0),
    }
    assert (found["L-1"]["parts"], found["L-1"]["parts_nonconforming"]) == (5, 3)
    assert found["L-3"]["why"] == {
        "en": "1 of 2 boards of the sample are inspected; nonconforming: 0, allowed: 0 (Ac).",
        "zh": "样本已检 1 / 2 块，不合格品 0 块；接收数 Ac 0。",
    }
    for shown in (page(client, "/?lang=en"), page(client, "/lot?lang=en")):
        rows = {row.get("data-lot"): [text(each) for each in row] for row in shown.xpath("//tr[@data-lot]")}
        assert list(rows) == ["L-3", HOSTILE, "L-1"]
        assert rows[HOSTILE][1:3] == ["Not accepted", "2 of 2nonconforming: 1"]
        assert rows[HOSTILE][3].startswith("A, n 2, Ac 0, Re 1")
        assert not shown.xpath("//img[@onerror]")
        (standing,) = shown.xpath("//*[@data-standing='normal']")
        assert "Next lot: normal inspection" in text(standing)
    link = shown.xpath("//tr[2]/th/a/@href")[0]
    opened = page(client, link + "&lang=zh")
    assert HOSTILE in text(opened.xpath("//h1")[0])
    assert "不接收" in text(opened.xpath("//h1")[0])
    assert "已达到拒收数 Re 1" in text(opened)
    assert len(opened.xpath("//tbody/tr")) == 2
    board = opened.xpath("//tbody/tr[1]//a/@href")[0]
    assert client.get(board, headers=HTML).status_code == 200


@pytest.mark.usefixtures("kept")
def test_a_reworked_part_counts_as_it_was_first_found(client: FlaskClient, tell: Tell) -> None:
    tell("L-1", "raa")
    tell("L-1", "a", revision=2)
    (found,) = lots(client).values()
    assert (found["verdict"], found["mended"], found["parts"]) == ("not_accepted", 1, 3)
    answer = client.get("/lots/boards", query_string={"product": "pair-board", "lot": "L-1"}, headers=JSON).json
    assert [(each["decision"], each["original"], each["sampled"]) for each in answer["boards"]] == [
        ("accept", "reject", True),
        ("accept", "accept", True),
        ("accept", "accept", False),
    ]
    shown = text(page(client, "/lot?product=pair-board&lot=L-1&lang=en"))
    assert "The lot stands as it was first found" in shown
    assert "first: Reject" in shown


def test_a_lot_without_a_plan_says_why_and_has_one_when_its_specification_is_kept(
    client: FlaskClient, tell: Tell
) -> None:
    tell("L-1", "aa")
    tell("L-2", "aa", by="")
    tell("L-3", "aa", by="other@1", of="other")
    found = lots(client)
    assert {each["verdict"] for each in found.values()} == {None}
    assert "pair-board@1 says nothing of lots, or is not kept here" in found["L-1"]["why"]["en"]
    assert "without a specification" in found["L-2"]["why"]["en"]
    assert "No verdict" in text(page(client, "/?lang=en"))
    assert client.post("/specifications", json={"text": SPECIFICATION}, headers=JSON).status_code == 201
    tried = page(client, "/specification?lang=en")  # its newest version, before it is tried
    assert not tried.xpath("//*[@data-plans]")
    form = {"text": SPECIFICATION, "do": "try"}
    tried = html.fromstring(client.post("/specification?lang=en", data=form, headers=HTML).text)
    assert "tightened inspection B, n 3, Ac 0, Re 1" in text(tried.xpath("//*[@data-plans]")[0])
    assert {name: each["verdict"] for name, each in lots(client).items()} == {
        "L-1": "accepted",
        "L-2": None,
        "L-3": None,
    }


def test_an_unknown_lot_is_not_found_with_those_that_there_are(client: FlaskClient, tell: Tell) -> None:
    assert client.get("/lots", headers=JSON).json == {"products": [], "cut": False}
    assert "No board names a lot yet" in text(page(client, "/lot?lang=en"))
    tell("L-1", "a")
    for url in ("/lots/boards?product=pair-board&lot=L-9", "/lot?product=pair-board&lot=L-9"):
        answer = client.get(url, headers=JSON)
        assert answer.status_code == 404
        assert "its newest lots are: L-1" in answer.json["detail"]
    assert client.get("/lots/boards?product=x&lot=L-1", headers=JSON).status_code == 404
    assert client.get("/lots/boards", headers=JSON).status_code == 422


@pytest.mark.usefixtures("kept")
def test_stopped_inspection_is_shown_and_resumed_with_what_was_put_right(client: FlaskClient, tell: Tell) -> None:
    refused = client.post("/lots/resume", json={"product": "pair-board", "reason": "x"}, headers=JSON)
    assert refused.status_code == 404
    for number in range(7):
        tell(f"L-{number}", "raaaa")
    tell("L-8", "aaaaa")
    (standing,) = (each["standing"] for each in client.get("/lots", headers=JSON).json["products"])
    assert (standing["stopped"], standing["inspection"]) == (True, "tightened")
    assert "inspection was stopped" in lots(client)["L-8"]["why"]["en"]
    assert page(client, "/").xpath("//p[@data-standing='stopped']")
    shown = page(client, "/lot?lang=zh")
    assert "检验已停止" in text(shown.xpath("//p[@data-standing='stopped']")[0])
    (form,) = shown.xpath("//form[.//input[@name='reason']]")
    fields = {each.name: each.value for each in form.xpath(".//input")}
    assert client.post(form.get("action"), data=fields | {"reason": " "}, headers=HTML).status_code == 422
    done = client.post(form.get("action"), data=fields | {"reason": "etching bath renewed"}, headers=HTML)
    assert done.status_code == 303
    (standing,) = (each["standing"] for each in client.get("/lots", headers=JSON).json["products"])
    assert (standing["stopped"], standing["inspection"]) == (False, "tightened")
    assert lots(client)["L-8"]["verdict"] is None  # it began while inspection was stopped
    again = client.post("/lots/resume", json={"product": "pair-board", "reason": "x"}, headers=JSON)
    assert (again.status_code, "is not stopped" in again.json["detail"]) == (409, True)


def test_the_samples_are_a_lot_of_their_own(engineer: FlaskClient, line: dict[str, str]) -> None:
    found = lots(engineer)["samples"]
    figures = engineer.get("/line", headers=JSON).json
    assert (found["parts"], found["specification"]) == (len(line), "demo-board@1")
    assert found["nonconforming"] == len(line) - figures["decisions"]["accept"]
    assert found["plan"]["sample_size"] == 50


def test_of_more_boards_than_are_read_only_whole_lots_count(
    client: FlaskClient, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("L-1", "aaa")
    tell("L-2", "aaa")
    monkeypatch.setattr("evident_manufacturing.lot_boards.MOST", 5)
    answer = client.get("/lots", headers=JSON).json
    assert (answer["cut"], list(lots(client))) == (True, ["L-2"])
    assert "are left out" in text(page(client, "/lot?lang=en"))


def test_others_do_not_see_them(client: FlaskClient, engineer: FlaskClient, tell: Tell) -> None:
    tell("mine", "a")
    assert "mine" in lots(client)
    assert "mine" not in lots(engineer)
    assert json.dumps(client.get("/openapi.json").json).count('"/lots') == 3
