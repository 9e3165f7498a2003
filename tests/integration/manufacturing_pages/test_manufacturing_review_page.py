"""The review: the queue, labels, and the versioned set that training reads."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings
from evident_manufacturing import label_sets, line, review
from evident_manufacturing.inspection.evaluate import pairs
from evident_manufacturing.inspection.schema import KINDS
from manufacturing_client import HTML, JSON, Inspect, board_form, certificate, document, inspection, page, text, work
from pcb_boards import generate

DESCRIBED = """product: demo-board
version: 7
kinds:
  missing_hole:
    description:
      en: [the hole of a pad is filled with copper, an entire opening is not there; there is copper in its place]
      zh: 焊盘的孔被铜填满
"""


def test_the_least_certain_defects_are_asked_first(engineer: FlaskClient, line: dict[str, str]) -> None:
    questions = engineer.get("/review/queue", headers=JSON).json["questions"]
    order = [(not each["disagreement"], each["distance"]) for each in questions]
    assert order == sorted(order)
    assert len(questions) == sum(len(inspection(engineer, job_id).defects) for job_id in line.values())
    for each in questions:
        assert each["disagreement"] is (each["defect"]["seen"] != "both")
        assert each["distance"] == pytest.approx(abs(each["defect"]["score"] - each["threshold"]))
    first = page(engineer, "/review").xpath("//article[@class='question']/@id")[0]
    assert first == f"question-{questions[0]['job_id']}-{questions[0]['defect']['number']}"


def test_labels_become_a_versioned_set_that_training_reads(
    client: FlaskClient, inspect: Inspect, tmp_path: Path
) -> None:
    job_id = inspect("board_3", calibration=certificate(), specification=document())
    defects = inspection(client, job_id).defects
    empty = client.get("/labels", headers=JSON).json
    assert empty["boards"] == []
    assert client.get("/labels/deeppcb.zip", headers=JSON).status_code == 422
    other = next(kind for kind in KINDS if kind != defects[1].kind)
    for defect in defects[2:]:
        form = {"action": "confirm", "defect": defect.number}
        assert client.post(f"/boards/{job_id}/label", data=form, headers=HTML).location == "/review"
    client.post(f"/boards/{job_id}/label", data={"action": "reject", "defect": 1}, headers=HTML)
    assert client.get("/labels", headers=JSON).json["incomplete"] == 1
    client.post(f"/boards/{job_id}/label", data={"action": "relabel", "defect": 2, "kind": other}, headers=HTML)
    assert client.get("/review/queue", headers=JSON).json["questions"] == []
    added = client.post(
        f"/boards/{job_id}/labels", json={"action": "add", "kind": "spur", "bbox": [10, 20, 40, 50]}, headers=JSON
    )
    assert [each["number"] for each in added.json["labels"]] == list(range(1, len(defects) + 2))
    held = client.get("/labels", headers=JSON).json
    assert held["version"] != empty["version"]
    assert len(held["boards"][0]["entries"]) == len(defects)

    answer = client.get("/labels/deeppcb.zip")
    assert answer.data == client.get("/labels/deeppcb.zip").data
    zipfile.ZipFile(io.BytesIO(answer.data)).extractall(tmp_path)
    (entry,) = pairs.entries(tmp_path)
    pair = pairs.read(entry)
    expected = [(*defect.bbox, KINDS.index(defect.kind)) for defect in defects[2:]]
    expected += [(*defects[1].bbox, KINDS.index(other)), (10, 20, 40, 50, KINDS.index("spur"))]
    read = [(*box, kind) for box, kind in zip(pair.boxes.tolist(), pair.classes.tolist(), strict=True)]
    assert sorted(read) == sorted(map(tuple, expected))
    assert pair.test.shape == pair.template.shape == (640, 640)
    assert json.loads((tmp_path / "labels.json").read_text())["version"] == held["version"]

    # Said again, the set is the same one; said otherwise, another; and nothing that was said is lost.
    client.post(f"/boards/{job_id}/labels", json={"action": "confirm", "defect": 3}, headers=JSON)
    assert client.get("/labels", headers=JSON).json["version"] == held["version"]
    client.post(f"/boards/{job_id}/labels", json={"action": "reject", "defect": 3}, headers=JSON)
    assert client.get("/labels", headers=JSON).json["version"] != held["version"]
    assert len(client.get(f"/boards/{job_id}/labels", headers=JSON).json["labels"]) == len(defects) + 3
    assert "relabelled" in text(page(client, f"/boards/{job_id}").xpath("//section[@id='section-labels']")[0])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"action": "confirm", "defect": 99}, 404, "no defect 99"),
        ({"action": "confirm"}, 422, "needs the number"),
        ({"action": "clean", "defect": 1}, 422, "said of the whole board"),
        ({"action": "relabel", "defect": 1, "kind": "gnome"}, 422, "'gnome' is no kind"),
        ({"action": "add", "kind": "spur", "bbox": [5, 5, 1, 1]}, 422, "swapped"),
        ({"action": "add", "kind": "spur", "bbox": [0, 0, 9000, 10]}, 422, "does not lie on the board"),
        (
            {"action": "add", "kind": "spur", "bbox": [100, 100, 100.5, 120]},
            422,
            "0.5 x 20 pixels; give one",
        ),
        ({"action": "praise", "defect": 1}, 422, "action"),
        ({"action": "confirm", "defect": 1, "after": 7}, 409, "7"),
    ],
)
def test_what_is_no_label_is_refused(
    engineer: FlaskClient, line: dict[str, str], body: dict[str, Any], status: int, said: str
) -> None:
    url = f"/boards/{line['board_1']}/labels"
    answer = engineer.post(url, json=body, headers=JSON)
    assert (answer.status_code, said in answer.json["detail"]) == (status, True), answer.json
    assert engineer.get(url, headers=JSON).json["labels"] == []


def test_a_wrong_form_is_a_problem_and_no_defect_of_the_service(engineer: FlaskClient, line: dict[str, str]) -> None:
    url = f"/boards/{line['board_1']}/label"
    for form in ({}, {"action": "add", "kind": "spur", "box": "1 2 three 4"}, {"action": "confirm", "defect": "x"}):
        assert engineer.post(url, data=form, headers=HTML).status_code == 422


def test_a_clean_board_is_an_empty_label_file_of_the_set(client: FlaskClient, inspect: Inspect, tmp_path: Path) -> None:
    clean, called = inspect("board_5_clean", part_id="SN-1"), inspect("board_1", part_id="SN-2")
    assert inspection(client, clean).defects == ()
    queue = client.get("/review/queue", headers=JSON).json
    assert [each["job_id"] for each in queue["quiet"]] == [clean]
    assert page(client, "/review").xpath("//section[@aria-labelledby='quiet']//button[@value='clean']")
    assert client.post(f"/boards/{clean}/label", data={"action": "clean"}, headers=HTML).location == "/review"
    # From the queue the form is about a defect; what is said is of the whole board all the same.
    number = len(inspection(client, called).defects)
    client.post(f"/boards/{called}/label", data={"action": "clean", "defect": 1, "kind": "open"}, headers=HTML)
    queue = client.get("/review/queue", headers=JSON).json
    assert (queue["quiet"], queue["questions"], queue["labelled"]) == ([], [], number)
    held = client.get("/labels", headers=JSON).json
    assert [each["entries"] for each in held["boards"]] == [[], []]
    zipfile.ZipFile(io.BytesIO(client.get("/labels/deeppcb.zip").data)).extractall(tmp_path)
    found = pairs.entries(tmp_path)
    assert [entry.labels.read_bytes() for entry in found] == [b"", b""]
    assert [pairs.read(entry).boxes.shape for entry in found] == [(0, 4), (0, 4)]

    # Said otherwise of one defect, that one holds, and the others stay as they were said to be.
    client.post(f"/boards/{called}/labels", json={"action": "confirm", "defect": 2}, headers=JSON)
    changed = client.get("/labels", headers=JSON).json
    assert changed["version"] != held["version"]
    assert sorted(len(each["entries"]) for each in changed["boards"]) == [0, 1]
    client.post(f"/boards/{called}/labels", json={"action": "add", "kind": "spur", "bbox": [1, 1, 9, 9]}, headers=JSON)
    client.post(f"/boards/{called}/labels", json={"action": "clean"}, headers=JSON)
    assert client.get("/labels", headers=JSON).json["version"] == held["version"]
    shown = page(client, f"/boards/{called}")
    assert text(shown.xpath("//section[@id='section-labels']")[0]).count("clean: nothing here") == 2
    assert text(shown.xpath("//tr[@id='defect-2']")[0]).count("no defect") == 1


def test_a_version_without_clean_boards_is_the_version_it_was(client: FlaskClient, inspect: Inspect) -> None:
    job_id = inspect("board_4_small_defects")
    defects = inspection(client, job_id).defects
    for each in defects:
        client.post(f"/boards/{job_id}/labels", json={"action": "confirm", "defect": each.number}, headers=JSON)
    (held,) = (found := client.get("/labels", headers=JSON).json)["boards"]
    entries = [
        {"kind": each.kind, "bbox": list(each.bbox)}
        for each in sorted(defects, key=lambda one: (one.bbox[1], one.bbox[0]))
    ]
    said = json.dumps([[held["image"], held["template"], entries]], sort_keys=True)
    assert found["version"] == hashlib.sha256(said.encode()).hexdigest()


def test_the_board_s_page_takes_a_box_that_is_typed_or_drawn(engineer: FlaskClient, line: dict[str, str]) -> None:
    shown = page(engineer, f"/boards/{line['board_1']}")
    (details,) = shown.xpath("//details[@data-draws]")
    assert shown.xpath(f"//*[@id='{details.get('data-draws')}']")
    assert details.xpath(".//input[@name='box' and @required]")
    assert {each.get("hidden") for each in shown.xpath("//button[@data-draw]")} == {""}


def test_a_label_stays_in_the_set_however_many_boards_come_after(
    client: FlaskClient, inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = inspect("board_5_clean", part_id="SN-1")
    client.post(f"/boards/{labelled}/labels", json={"action": "clean"}, headers=JSON)
    held = client.get("/labels", headers=JSON).json
    assert [each["job_id"] for each in held["boards"]] == [labelled]
    client.post("/boards", data=board_form("board_2", part_id="SN-2"), headers=JSON)
    # The line's page looks at one board now, and that is the other one.
    monkeypatch.setattr(review, "window", lambda *_: line.window(1))
    assert client.get("/labels", headers=JSON).json == held
    shown = page(client, "/review").xpath("//section[@aria-labelledby='set']")[0]
    assert held["version"][:16] in text(shown)
    assert shown.xpath(".//a[@download]")


def test_a_kind_that_was_described_is_taught_as_what_the_detector_took_it_for(
    app: Flask, settings: Settings, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = generate(52_000_003, kinds=("missing_hole",), defects=3)
    files = {
        name: (io.BytesIO(cv2.imencode(".png", gray)[1].tobytes()), f"{name}.png")
        for name, gray in (("file", made.test), ("template", made.template))
    }
    form = board_form(specification=document(DESCRIBED)) | files
    job_id = client.post("/boards", data=form, headers=JSON).json["id"]
    work(app, settings, job_id)
    defects = inspection(client, job_id).defects
    assert {each.kind for each in defects} == {"missing_hole"}
    for each in defects:
        client.post(f"/boards/{job_id}/labels", json={"action": "confirm", "defect": each.number}, headers=JSON)
    (held,) = client.get("/labels", headers=JSON).json["boards"]
    taken = [each.naming.instead_of for each in defects if each.naming]
    assert len(taken) == len(defects)
    assert sorted(each["kind"] for each in held["entries"]) == sorted(taken)
    # A detector without those kinds cannot be taught them; that there is nothing, it must not be taught.
    monkeypatch.setattr(label_sets, "KINDS", ("open",))
    left = client.get("/labels", headers=JSON).json
    assert (left["boards"], left["other_kind"]) == ([], 1)
    assert "does not have" in text(page(client, "/review").xpath("//section[@aria-labelledby='set']")[0])
