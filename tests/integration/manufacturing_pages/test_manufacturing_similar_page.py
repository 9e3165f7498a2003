"""Similar past defects on a board's page, and kinds that a specification describes in the editor and on a board."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html

from evident_core.settings import Settings
from evident_core.web.frame import current_frame
from evident_manufacturing import likeness
from evident_manufacturing.inspection.perceive import aligner
from evident_manufacturing.samples import samples
from manufacturing_client import HTML, JSON, certificate, client_of, document, inspection, work
from pcb_boards import Sample, generate

DESCRIBED = """product: demo-board
version: {version}
kinds:
  missing_hole:
    description:
      en: [{en}, an entire opening is not there; there is copper in its place]
      zh: 焊盘的孔被铜填满
classes:
  missing_hole: {{rework: {{length_max: 0.10 mm}}}}
default: reject
"""
FILLED = DESCRIBED.format(version=7, en="the hole of a pad is filled with copper")


@pytest.fixture(scope="module")
def holes() -> Sample:
    """A board on which holes were not drilled, and nothing else is wrong."""
    return generate(52_000_003, kinds=("missing_hole",), defects=3)


def png(gray: np.ndarray) -> bytes:
    return cv2.imencode(".png", gray)[1].tobytes()


def send(
    app: Flask, settings: Settings, client: FlaskClient, test: bytes, template: bytes | None, **fields: Any
) -> str:
    """Inspect a board to the end; the job's id."""
    form: dict[str, Any] = {"file": (io.BytesIO(test), "test.png"), **fields}
    if template:
        form["template"] = (io.BytesIO(template), "template.png")
    job = client.post("/boards", data=form, headers=JSON)
    assert job.status_code == 202, job.text
    work(app, settings, job.json["id"])
    return str(job.json["id"])


@pytest.fixture(scope="module")
def inspector(app: Flask) -> FlaskClient:
    return client_of(app, "inspector")


@pytest.fixture(scope="module")
def sent(app: Flask, settings: Settings, inspector: FlaskClient) -> dict[str, str]:
    """Two boards of the line, and the first once more, mirrored: job ids."""
    jobs = {}
    for name in ("board_1", "board_2"):
        pair = samples()[name]
        jobs[name] = send(app, settings, inspector, pair.board.read_bytes(), pair.template.read_bytes(), part_id=name)
    pair = samples()["board_1"]
    turned = [png(np.ascontiguousarray(cv2.imread(str(path), 0)[:, ::-1])) for path in (pair.board, pair.template)]
    jobs["mirrored"] = send(app, settings, inspector, *turned, part_id="mirrored")
    return jobs


def test_the_same_defect_of_another_board_comes_first_with_what_a_person_decided(
    inspector: FlaskClient, sent: dict[str, str]
) -> None:
    mine, other = (inspection(inspector, sent[name]) for name in ("board_1", "mirrored"))
    hits = 0
    for defect in mine.defects:
        found = inspector.get(f"/boards/{sent['board_1']}/defects/{defect.number}/similar", headers=JSON).json[
            "similar"
        ]
        assert len(found) == 5
        assert [each["likeness"] for each in found] == sorted((each["likeness"] for each in found), reverse=True)
        assert sent["board_1"] not in {each["job_id"] for each in found}
        left, top = defect.bbox[:2]
        twin = min(other.defects, key=lambda each: abs(640 - each.bbox[2] - left) + abs(each.bbox[1] - top))
        hits += (found[0]["job_id"], found[0]["defect"]["number"]) == (sent["mirrored"], twin.number)
    assert hits >= len(mine.defects) - 1
    first = inspector.get(f"/boards/{sent['board_1']}/defects/1/similar", headers=JSON).json["similar"][0]
    assert (first["label"], first["part_id"], first["decision"]) == (None, "mirrored", "reject")
    body = {"action": "relabel", "defect": first["defect"]["number"], "kind": "spur"}
    assert inspector.post(f"/boards/{first['job_id']}/labels", json=body, headers=JSON).status_code == 200
    again = inspector.get(f"/boards/{sent['board_1']}/defects/1/similar", headers=JSON).json["similar"][0]
    assert (again["label"]["action"], again["label"]["kind"]) == ("relabel", "spur")
    shown = html.fromstring(inspector.get(f"/boards/{sent['board_1']}?defect=1", headers=HTML).text)
    cards = shown.xpath("//section[@id='similar']//li")
    assert len(cards) == 5
    assert "relabelled: spur" in cards[0].text_content()
    assert cards[0].xpath(".//image/@href") == [f"/boards/{sent['mirrored']}/board.png"]
    assert "not reviewed" in cards[1].text_content()
    rows = len(mine.defects)
    assert len(shown.xpath("//td//a[contains(@href, '#similar')]")) == rows
    assert not html.fromstring(inspector.get(f"/boards/{sent['board_1']}", headers=HTML).text).xpath(
        "//*[@id='similar']"
    )


def test_only_ones_own_boards_are_searched_and_a_deleted_one_is_gone(
    app: Flask, settings: Settings, inspector: FlaskClient, sent: dict[str, str]
) -> None:
    stranger, sample = client_of(app, "stranger"), samples()["board_1"]
    job_id = send(app, settings, stranger, sample.board.read_bytes(), sample.template.read_bytes())
    url = f"/boards/{job_id}/defects/1/similar"
    assert stranger.get(url, headers=JSON).json == {"similar": []}
    assert inspector.get(url, headers=JSON).status_code == 404
    assert "No defect on another board to compare with" in stranger.get(f"/boards/{job_id}?defect=1", headers=HTML).text
    other = samples()["board_2"]
    second = send(app, settings, stranger, other.board.read_bytes(), other.template.read_bytes())
    assert {each["job_id"] for each in stranger.get(url, headers=JSON).json["similar"]} == {second}
    assert stranger.delete(f"/boards/{second}", headers=JSON).status_code == 204
    assert stranger.get(url, headers=JSON).json == {"similar": []}


def test_what_cannot_be_compared_says_why(
    app: Flask, settings: Settings, inspector: FlaskClient, sent: dict[str, str]
) -> None:
    assert inspector.get(f"/boards/{sent['board_1']}/defects/99/similar", headers=JSON).status_code == 404
    job_id = send(app, settings, inspector, samples()["board_3"].board.read_bytes(), None)
    answer = inspector.get(f"/boards/{job_id}/defects/1/similar", headers=JSON)
    assert (answer.status_code, "needs its picture and its template" in answer.json["detail"]) == (422, True)
    assert inspector.get(f"/boards/{job_id}?defect=1", headers=HTML).status_code == 200


@pytest.mark.parametrize("defects", [0, 5, 60])
def test_the_index_reads_what_a_record_begins_with_however_many_defects_there_are(app: Flask, defects: int) -> None:
    vectors = aligner.whole(np.random.default_rng(0).standard_normal((defects, 512)).astype(np.float32))
    body = f'{{"vectors":"{aligner.pack(vectors.astype(np.float32))}","inspection":{{"vectors":"no"}}}}'.encode()
    with app.test_request_context():
        store, owner = current_frame().store, current_frame().caller.id
        with store.session() as session:
            row = store.put_result(
                session, body, owner=owner, service="s", version="v", key=f"{defects}", options={}, input_ids=[]
            )
        assert np.array_equal(likeness.vectors_of([row.id])[row.id], vectors)


# --- described kinds on the pages -------------------------------------------------------------------------------------


def test_the_editor_takes_described_kinds_tries_them_on_past_boards_and_refuses_unclear_ones(
    app: Flask, settings: Settings, holes: Sample
) -> None:
    client = client_of(app, "specifier")
    plain = "product: demo-board\nversion: 6\n"
    fields = {"specification": document(plain), "calibration": certificate()}
    job_id = send(app, settings, client, png(holes.test), png(holes.template), part_id="SN-1", **fields)
    assert inspection(client, job_id).verdict.decision == "reject"
    tried = client.post("/specifications/preview", json={"text": FILLED}, headers=JSON).json
    assert [(each["before"], each["after"]) for each in tried["changes"]] == [("reject", "rework")]
    assert "missing_hole.rework.length_max 0.10 mm" in tried["changes"][0]["reasons"]
    assert client.post("/specifications", json={"text": FILLED}, headers=JSON).status_code == 201
    for text, said in (
        (FILLED.replace("焊盘的孔被铜填满", "''"), "empty description"),
        (
            "product: demo-board\nversion: 8\nkinds:\n"
            "  scratch: {description: {en: a long thin line of missing copper}}\n"
            "  crack: {description: {en: a long thin line of copper missing}}\n",
            "read alike",
        ),
        (DESCRIBED.format(version=8, en="copper is missing").replace("焊盘的孔被铜填满", "多余的铜"), "contradict"),
    ):
        answer = client.post("/specifications", json={"text": text}, headers=JSON)
        assert (answer.status_code, said in answer.json["detail"]) == (422, True), answer.json
        page = client.post("/specification", data={"text": text, "do": "try"}, headers=HTML)
        assert page.status_code == 422
        assert said in html.fromstring(page.text).xpath("//*[@role='alert']")[0].text_content()
    named = send(
        app, settings, client, png(holes.test), png(holes.template), specification_name="demo-board@7", part_id="SN-2"
    )
    shown = html.fromstring(client.get(f"/boards/{named}", headers=HTML).text)
    assert "by its description" in shown.xpath("//tr[@id='defect-1']")[0].text_content()
    assert "alone" in shown.xpath("//ul[@class='reasons']")[0].text_content()
    cited = shown.xpath("//a[@data-evidence='defect.1.kind']/@title")
    assert cited
