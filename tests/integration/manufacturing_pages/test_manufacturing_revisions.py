"""What the pages say of boards that agents tell of: revisions of a part, why a size decides, names, added boxes."""

import csv
import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings
from evident_manufacturing.delivery.events import alarm_of, event_of
from evident_manufacturing.inspection.schema import Decision, Part, Verdict
from evident_manufacturing.samples import samples
from manufacturing_client import HTML, JSON, Inspect, inspection, page, text, work
from manufacturing_specimen import defect, size
from manufacturing_specimen import inspection as specimen

BEGAN = datetime(2025, 3, 14, 9, tzinfo=UTC)
Tell = Callable[..., str]


@pytest.fixture
def tell(client: FlaskClient) -> Tell:
    """Tell of a board, one a minute; the id of its job."""
    clock = iter(range(1000))

    def told(part_id: str, *, revision: int = 1, decision: str = "", **changes: Any) -> str:
        made = specimen(part=Part(part_id=part_id, product="demo-board"), **changes)
        if decision:
            made = made.model_copy(update={"verdict": Verdict(decision=Decision(decision))})
        at = BEGAN + timedelta(minutes=next(clock))
        body = event_of(made, station="aoi-1", inspected=at, revision=revision).body
        assert client.post("/events", data=body, content_type="application/json").json["results"][0]["status"] == 201
        return str(client.get("/line", headers=JSON).json["last"][0]["job_id"])

    return told


def test_a_part_that_was_inspected_again_shows_its_revisions_and_the_highest_counts(
    client: FlaskClient, tell: Tell
) -> None:
    other, first = tell("SN-2"), tell("SN-1", decision="reject")
    asked = {each["job_id"] for each in client.get("/review/queue", headers=JSON).json["questions"]}
    assert asked == {other, first}
    again = tell("SN-1", revision=3, decision="accept")
    between = tell("SN-1", revision=2, decision="reject")  # its event was told late
    figures = client.get("/line", headers=JSON).json
    assert (figures["boards"], figures["decisions"]) == (2, {"accept": 1, "rework": 0, "reject": 1})
    assert [(each["job_id"], each["revision"], each["superseded"]) for each in figures["last"]] == [
        (between, 2, True), (again, 3, False), (first, 1, True), (other, 1, False),
    ]  # fmt: skip
    tiles = page(client, "/?lang=en").xpath("//ul[@class='boards']/li")
    said = [text(each.xpath(".//*[@data-revision]")[0]) for each in tiles[:3]]
    assert said == ["revision 2 · superseded", "revision 3", "revision 1 · superseded"]
    assert not tiles[3].xpath(".//*[@data-revision]")
    assert {each["job_id"] for each in client.get("/review/queue", headers=JSON).json["questions"]} == {other, again}

    shown = page(client, f"/boards/{first}?lang=en")
    (revisions,) = shown.xpath("//p[@class='revisions']")
    assert text(revisions.xpath("./span")[0]) == "revision 1"
    assert revisions.xpath("./a/@href") == [f"/boards/{between}", f"/boards/{again}"]
    assert "revision 3 is this part's result" in text(shown.xpath("//article")[0])
    assert not page(client, f"/boards/{other}").xpath("//p[@class='revisions']")
    assert inspection(client, again).part.revision == 3
    (row, *_) = csv.DictReader(io.StringIO(client.get(f"/boards/{again}/files/csv").data.decode("utf-8-sig")))
    assert row["revision"] == "3"


def test_a_file_s_name_says_the_revision_here_as_it_does_in_a_folder(
    app: Flask, settings: Settings, client: FlaskClient
) -> None:
    data = samples()["board_5_clean"].board.read_bytes()
    by_content = hashlib.sha256(data).hexdigest()[:12]
    for name, stated, expected in (
        ("SN-1.rev2.png", "", ("SN-1", 2)),
        ("SN-1.rev2.png", "mine", ("mine", 1)),
        ("  .png", " ", (by_content, 1)),
    ):
        form = {"file": (io.BytesIO(data), name), "part_id": stated}
        answer = client.post("/boards", data=form, headers=JSON)
        work(app, settings, answer.json["id"])
        part = inspection(client, answer.json["id"]).part
        assert (part.part_id, part.revision) == expected


def test_why_says_what_could_not_be_measured(client: FlaskClient, tell: Tell) -> None:
    in_pixels = {"size": size("20", "6", "44", None, unit="px", uncertainty="1.1")}
    bites = [defect(n, **in_pixels) for n in (1, 2)] + [defect(4, size=None, mask_rle=None)]
    job_id = tell("SN-1", calibration=None, defects=(*bites, defect(5, "open", size=None)))
    reasons = {
        language: {
            text(each.xpath("./code")[0]): text(each)
            for each in page(client, f"/boards/{job_id}?lang={language}").xpath("//ul[@class='reasons']/li[code]")
        }
        for language in ("en", "zh")
    }
    length = next(rule for rule in reasons["en"] if rule.startswith("mousebite.") and "length" in rule)
    assert "could not be measured in mm: defects 1, 2 and 4" in reasons["en"][length]
    assert "无法以 mm 测量：缺陷 1、2 和 4" in reasons["zh"][length]
    (opened,) = (said for rule, said in reasons["en"].items() if rule.startswith("open."))
    assert "– defect 5 " in opened
    assert "measured" not in opened
    beyond = tell("SN-2", defects=(defect(1, size=size("0.90")), defect(2, size=None, mask_rle=None)))
    said = text(page(client, f"/boards/{beyond}?lang=en").xpath("//ul[@class='reasons']")[0])
    assert "could not be measured: defect 2" in said
    assert "– defect 1 " in said


def test_units_and_numbers_are_written_as_people_write_them(client: FlaskClient, tell: Tell) -> None:
    job_id = tell("SN-1", defects=(defect(1, "copper", size=size("0.9", "0.7", "0.62")),))
    shown = page(client, f"/boards/{job_id}?lang=en")
    said = text(shown.xpath("//article")[0])
    assert "mm²" in text(shown.xpath("//ul[@class='reasons']")[0])
    assert "mm2" not in said
    assert "1 defect" in (tile := text(page(client, "/?lang=en").xpath("//ul[@class='boards']/li")[0]))
    assert "1 defects" not in tile


def test_a_part_with_a_name_of_nothing_can_still_be_opened(client: FlaskClient, tell: Tell) -> None:
    job_id = tell("   ")
    named = page(client, "/?lang=en").xpath(f"//a[@href='/boards/{job_id}']/strong")
    assert [text(each) for each in named] == ["(blank)"]
    assert text(page(client, f"/boards/{job_id}?lang=zh").xpath("//h1")[0]) == "（空白）"
    answer = client.post("/boards", data={"file": (io.BytesIO(b"x"), "a.png"), "part_id": "SN\n1"}, headers=JSON)
    assert "SN␊1" in text(page(client, f"/boards/{answer.json['id']}").xpath("//h1")[0])


def test_what_could_not_be_inspected_is_a_list_that_the_line_leads_to(
    app: Flask, settings: Settings, client: FlaskClient, tell: Tell
) -> None:
    answer = client.post("/boards", data={"file": (io.BytesIO(b"%PDF-1.7"), "a.png"), "part_id": "SN-9"}, headers=JSON)
    work(app, settings, answer.json["id"])
    failed = page(client, f"/boards/{answer.json['id']}")
    assert text(failed.xpath("//h1")[0]) == "SN-9"
    assert "a.png" in text(failed.xpath("//h1/following-sibling::p")[0])
    told = {"code": "image_refused", "station": "aoi-3", "at": BEGAN, "raised": True, "message": "4 images: <b>"}
    client.post("/events", data=alarm_of(**told, number=1, images=4).body, content_type="application/json")
    for number in range(13):
        tell(f"SN-{number + 20}")
    shown = page(client, "/")
    assert "SN-9" not in text(shown.xpath("//ul[@class='boards']")[0])
    (where,) = shown.xpath("//*[@data-tile='waiting']//a/@href")
    rows = [[text(cell) for cell in row.xpath("./td")] for row in page(client, where).xpath("//tbody/tr")]
    assert {(row[0], row[2]) for row in rows} == {("SN-9", "1"), ("aoi-3", "4")}
    assert any("4 images: <b>" in row[1] for row in rows)


def test_a_red_point_without_an_alarm_is_explained(client: FlaskClient) -> None:
    made = {count: specimen(defects=tuple(defect(n) for n in range(1, count + 1))) for count in (1, 2, 9)}
    bodies = []
    for number in range(22):
        count = 9 if number == 9 else (1, 2, 2)[number % 3]
        board = made[count].model_copy(update={"part": Part(part_id=f"SN-{number}")})
        at = BEGAN + timedelta(minutes=number)
        bodies.append(event_of(board, station="aoi-1", inspected=at).body)
    client.post("/events", data=b"\n".join(bodies), content_type="application/x-ndjson")
    shown = page(client, "/?sample=1&lang=en")
    assert len(shown.xpath("//circle[@class='point signal']")) == 1
    assert not shown.xpath("//section[@class='alarms']/*[@data-alarm]")
    assert "these are earlier ones" in text(shown.xpath("//section[@class='alarms']")[0])
    assert "red point" not in text(page(client, "/?sample=11&lang=en").xpath("//section[@class='alarms']")[0])


def test_an_added_defect_is_drawn_named_and_linked(client: FlaskClient, tell: Tell) -> None:
    job_id = tell("SN-1")
    for number, kind in enumerate(("open", "spur")):
        body = {"action": "add", "kind": kind, "bbox": [100, 100 + 50 * number, 140, 130.5 + 50 * number]}
        assert client.post(f"/boards/{job_id}/labels", json=body, headers=JSON).status_code == 200
    shown = page(client, f"/boards/{job_id}?lang=en")
    first, second = shown.xpath("//a[contains(@class, 'box added')]")
    assert [text(each.xpath("./title")[0]) for each in (first, second)] == ["added 1: open", "added 2: spur"]
    assert first.xpath("./rect/@height") == ["30.5"]
    (row,) = shown.xpath("//*[@id=$id]", id=first.get("href")[1:])
    assert "added 1: open at 100 100 140 130.5" in text(row)
    assert row.xpath(f".//a[@href='#{first.get('id')}']")
    client.post(f"/boards/{job_id}/label", data={"action": "undo", "undoes": 1, "back": "board"}, headers=HTML)
    (left,) = page(client, f"/boards/{job_id}?lang=zh").xpath("//a[contains(@class, 'box added')]")
    assert text(left.xpath("./title")[0]) == "补充 1：毛刺"


def test_a_contradiction_shows_what_a_person_added(client: FlaskClient, inspect: Inspect) -> None:
    clean, called = inspect("board_5_clean", part_id="SN-1"), inspect("board_5_clean", part_id="SN-2")
    client.post(f"/boards/{clean}/labels", json={"action": "clean"}, headers=JSON)
    body = {"action": "add", "kind": "spur", "bbox": [10, 20, 40, 50]}
    client.post(f"/boards/{called}/labels", json=body, headers=JSON)
    (picture,) = page(client, "/review?lang=en").xpath("//section[@aria-labelledby='contradictions']/ul")
    drawn = {text(card.xpath(".//strong")[0]): card.xpath(".//*[@class='box added']/rect") for card in picture}
    assert {part: len(boxes) for part, boxes in drawn.items()} == {"SN-1": 0, "SN-2": 1}
    assert "added 1: spur (10 20 40 50)" in text(picture)
