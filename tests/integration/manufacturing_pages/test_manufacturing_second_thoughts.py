"""What a reviewer can do about labels: take them back, settle what contradicts, say a kind of the product's own."""

import io
import json
import zipfile
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html

from evident_manufacturing.inspection.schema import KINDS
from manufacturing_client import HTML, JSON, Inspect, document, frame, inspection, page, text

OWN_KINDS = """product: demo-board
version: 8
kinds:
  missing_hole:
    description: {en: the hole of a pad is filled with copper, zh: 焊盘的孔被铜填满}
  crater: {}
"""


def say(client: FlaskClient, job_id: str, **body: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/boards/{job_id}/labels", json=body, headers=JSON)
    assert answer.status_code == 200, answer.text
    return list(answer.json["labels"])


def confirm_all(client: FlaskClient, job_id: str) -> int:
    """Confirm each defect of a board; returns how many there are."""
    defects = inspection(client, job_id).defects
    for each in defects:
        say(client, job_id, action="confirm", defect=each.number)
    return len(defects)


def label_set(client: FlaskClient) -> dict[str, Any]:
    return dict(client.get("/labels", headers=JSON).json)


def manifest(client: FlaskClient) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(client.get("/labels/deeppcb.zip").data)) as packed:
        return dict(json.loads(packed.read("labels.json")))


def last_said(client: FlaskClient) -> Any:
    """The form on the review page that takes the last decision back; None: there is nothing to take back."""
    found = page(client, "/review?lang=en").xpath("//*[@data-undo]")
    return found[0] if found else None


def press_undo(client: FlaskClient) -> str:
    """Take the last decision back as the page's own form does; returns where that leads."""
    (form,) = last_said(client).xpath(".//form")
    values = {each.get("name"): each.get("value") for each in form.xpath(".//input | .//button")}
    answer = client.post(form.get("action"), data=values, headers=HTML)
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def test_the_last_decision_is_taken_back_and_asked_first_again(
    app: Flask, client: FlaskClient, inspect: Inspect
) -> None:
    first, second = inspect("board_1", part_id="SN-1"), inspect("board_2", part_id="SN-2")
    assert last_said(client) is None
    asked = client.get("/review/queue", headers=JSON).json["questions"]
    client.post(f"/boards/{first}/label", data={"action": "confirm", "defect": 2}, headers=HTML)
    client.post(f"/boards/{second}/label", data={"action": "reject", "defect": 3}, headers=HTML)
    assert "SN-2 · No. 3: no defect" in text(last_said(client))
    audited = len(frame(app).audit.lines())

    where = press_undo(client)
    assert where == f"/review?board={second}&defect=3"
    assert page(client, where).xpath("//article[@class='question']/@id")[0] == f"question-{second}-3"
    # Pressed again, it is the decision before that one.
    assert "SN-1 · No. 2: confirmed" in text(last_said(client))
    press_undo(client)
    assert last_said(client) is None
    assert client.get("/review/queue", headers=JSON).json["questions"] == asked

    labels = client.get(f"/boards/{second}/labels", headers=JSON).json["labels"]
    assert [(each["action"], each["defect"], each["undoes"]) for each in labels] == [
        ("reject", 3, None),
        ("undo", 3, 1),
    ]
    shown = page(client, f"/boards/{second}?lang=en").xpath("//section[@id='section-labels']")[0]
    assert [text(each) for each in shown.xpath(".//del")] == ["No. 3: no defect"]
    assert "took back label 1" in text(shown)
    lines = [each for each in frame(app).audit.lines(after=audited) if each.action == "defect.label"]
    assert [(each.subject, each.details) for each in lines] == [
        (job_id, {"defect": number, "label": "undo", "number": 2, "undoes": 1})
        for job_id, number in ((second, 3), (first, 2))
    ]


def test_what_a_taken_back_label_covered_holds_again(client: FlaskClient, inspect: Inspect) -> None:
    job_id = inspect("board_5_clean")
    empty = label_set(client)
    say(client, job_id, action="add", kind="spur", bbox=[10, 20, 40, 50])
    added = label_set(client)
    say(client, job_id, action="clean")
    assert [each["entries"] for each in label_set(client)["boards"]] == [[]]
    say(client, job_id, action="undo", undoes=2)
    assert label_set(client)["version"] == added["version"]
    labels = say(client, job_id, action="undo", undoes=1)
    # All of it taken back is nothing said: the board is asked about as before, and not in the set.
    assert label_set(client) == empty
    assert [each["job_id"] for each in client.get("/review/queue", headers=JSON).json["quiet"]] == [job_id]
    # Twice is once, as when a key is pressed too long.
    assert say(client, job_id, action="undo", undoes=1) == labels
    url = f"/boards/{job_id}/labels"
    for body, status, said in (
        ({"action": "undo", "undoes": 9}, 404, "no label 9"),
        ({"action": "undo", "undoes": 3}, 422, "takes back another"),
        ({"action": "undo"}, 422, "number of the label"),
        ({"action": "clean", "undoes": 1}, 422, "nothing else"),
    ):
        answer = client.post(url, json=body, headers=JSON)
        assert (answer.status_code, said in answer.json["detail"]) == (status, True), answer.json


def test_parts_of_one_picture_that_contradict_are_shown_and_kept_out(client: FlaskClient, inspect: Inspect) -> None:
    one, other, third = inspect("board_1", part_id="SN-1"), inspect("board_1", part_id="SN-2"), inspect("board_2")
    number = confirm_all(client, one)
    confirm_all(client, third)
    alone = label_set(client)
    assert confirm_all(client, other) == number
    assert label_set(client)["version"] == alone["version"]  # said twice alike, it is one board of the set

    # Another model's box of it would be a little off, and is the same defect.
    boxes = [each["bbox"] for each in client.get(f"/boards/{other}/labels", headers=JSON).json["labels"]]
    say(client, other, action="reject", defect=1)
    kind = client.get(f"/boards/{other}/labels", headers=JSON).json["labels"][0]["kind"]
    say(client, other, action="add", kind=kind, bbox=[boxes[0][0] + 1, *boxes[0][1:]])
    again = label_set(client)
    assert (again["contradictions"], len(again["boards"])) == ([], 2)
    press_undo(client)
    disputed = label_set(client)
    (contradiction,) = disputed["contradictions"]
    assert {each["part_id"]: len(each["entries"]) for each in contradiction["boards"]} == {
        "SN-1": number,
        "SN-2": number - 1,
    }
    assert [each["job_id"] for each in disputed["boards"]] == [third]
    review = page(client, "/review?lang=en")
    assert "2 parts have the picture of another" in text(review.xpath("//a[@href='#contradictions']")[0])
    shown = review.xpath("//section[@aria-labelledby='contradictions']")[0]
    (differs,) = shown.xpath(".//strong[@title]")
    assert text(differs.xpath("./ancestor::li//strong")[0]) == "SN-1"
    assert {each.get("href").partition("#")[0] for each in shown.xpath(".//li/a")} == {
        f"/boards/{one}",
        f"/boards/{other}",
    }
    told = manifest(client)
    assert [(each["reason"], each["boards"]) for each in told["left_out"]] == [("contradiction", 2)]
    assert "job_id" not in json.dumps(told)

    # A person settles it, on one of the two, and can take that back too.
    client.post(f"/boards/{other}/label", data={"action": "leave_out"}, headers=HTML)
    settled = label_set(client)
    assert (settled["version"], settled["contradictions"], settled["by_person"]) == (alone["version"], [], 1)
    assert [each["reason"] for each in manifest(client)["left_out"]] == ["by_person"]
    press_undo(client)
    assert label_set(client) == disputed
    say(client, other, action="confirm", defect=1)
    assert label_set(client)["version"] == alone["version"]


def test_of_a_part_that_was_inspected_again_the_newer_labels_hold(client: FlaskClient, inspect: Inspect) -> None:
    first = inspect("board_1", part_id="SN-1")
    number = confirm_all(client, first)
    again = inspect("board_1", part_id="SN-1", lot="second look")
    assert again != first
    say(client, again, action="clean")
    held = label_set(client)
    assert ([each["job_id"] for each in held["boards"]], held["contradictions"]) == ([again], [])
    say(client, again, action="undo", undoes=1)
    held = label_set(client)
    assert [(each["job_id"], len(each["entries"])) for each in held["boards"]] == [(first, number)]


def test_a_kind_of_the_product_s_own_can_be_said_and_is_left_out_of_the_set(
    client: FlaskClient, inspect: Inspect
) -> None:
    plain, own = inspect("board_2"), inspect("board_1", specification=document(OWN_KINDS))
    questions = client.get("/review/queue", headers=JSON).json["questions"]
    assert {each["job_id"]: each["kinds"] for each in questions} == {
        plain: list(KINDS),
        own: [*KINDS, "missing_hole", "crater"],
    }
    first = page(client, f"/review?board={own}&defect=1").xpath("//article[@class='question']")[0]
    assert first.xpath(".//option[@value='missing_hole']/@data-key") == ["7"]
    assert page(client, f"/boards/{own}").xpath("//details[@id='missed']//option[@value='missing_hole']")
    refused = client.post(
        f"/boards/{plain}/labels", json={"action": "relabel", "defect": 1, "kind": "missing_hole"}, headers=JSON
    )
    assert (refused.status_code, "no kind of defect of this board" in refused.json["detail"]) == (422, True)

    confirm_all(client, plain)
    confirm_all(client, own)
    assert len(label_set(client)["boards"]) == 2
    client.post(f"/boards/{own}/label", data={"action": "relabel", "defect": 1, "kind": "missing_hole"}, headers=HTML)
    say(client, own, action="add", kind="crater", bbox=[10, 20, 40, 50])
    held = label_set(client)
    assert [each["job_id"] for each in held["boards"]] == [plain]
    assert (held["other_kind"], held["other_kinds"]) == (1, {"crater": 1, "missing_hole": 1})
    left = manifest(client)["left_out"]
    assert [(each["reason"], each["boards"]) for each in left] == [("other_kind", 1)]
    assert "kinds that the detector does not have" in left[0]["why"]
    shown = text(page(client, "/review?lang=en").xpath("//section[@aria-labelledby='set']")[0])
    assert "1 (crater 1, missing_hole 1)" in shown


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ("600 600 700 660", "does not lie on the board of 640 x 640 pixels"),
        ("60 50 20 20", "swapped"),
        ("1 2 three 4", "'1 2 three 4' is no box"),
    ],
)
def test_a_box_that_is_refused_is_shown_again_as_it_was_drawn(
    engineer: FlaskClient, line: dict[str, str], box: str, said: str
) -> None:
    job_id = line["board_3"]
    form = {"action": "add", "back": "board", "kind": "spur", "box": box}
    answer = engineer.post(f"/boards/{job_id}/label", data=form, headers=HTML)
    assert answer.status_code == 422
    (details,) = html.fromstring(answer.text).xpath("//details[@id='missed']")
    assert details.get("open") is not None
    assert details.xpath(".//input[@name='box']/@value") == [box]
    assert details.xpath(".//option[@selected]/@value") == ["spur"]
    assert said in text(details.xpath(".//*[@role='alert']")[0])
    assert engineer.get(f"/boards/{job_id}/labels", headers=JSON).json["labels"] == []
