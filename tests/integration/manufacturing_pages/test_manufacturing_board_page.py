"""A board's page, its pictures and exports, and what is refused of a board."""

import io
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html

from evident_core.settings import Settings
from evident_manufacturing import desk
from evident_manufacturing.pictures import THUMBNAIL
from evident_manufacturing.samples import samples
from manufacturing_client import (
    HTML,
    JSON,
    Inspect,
    board_form,
    certificate,
    client_of,
    document,
    inspection,
    page,
    text,
    work,
)


def test_a_board_shows_each_defect_with_its_size_and_box(engineer: FlaskClient, line: dict[str, str]) -> None:
    job_id = line["board_1"]
    known = inspection(engineer, job_id)
    shown = page(engineer, f"/boards/{job_id}")
    assert len(known.defects) >= 6
    assert known.calibration is not None
    assert len(shown.xpath("//a[@data-box]/rect")) == len(known.defects)
    for defect in known.defects:
        row = text(shown.xpath(f"//tr[@id='defect-{defect.number}']")[0])
        assert defect.size is not None
        assert f"{defect.size.length.value} ± {defect.size.length.uncertainty}" in row
    assert shown.xpath("//p[@class='verdict']//@data-decision") == [known.verdict.decision]
    assert len(shown.xpath("//ul[@class='reasons']/li")) == len(known.verdict.reasons)


def test_why_is_said_in_words_and_the_count_of_all_once(engineer: FlaskClient, line: dict[str, str]) -> None:
    known = inspection(engineer, line["board_1"])
    assert "any.rework.count_max" in {each.rule for each in known.verdict.reasons}
    shown = page(engineer, f"/boards/{line['board_1']}?lang=zh")
    reasons = {text(each.xpath("./code")[0]): each for each in shown.xpath("//ul[@class='reasons']/li")}
    assert set(reasons) == {each.rule for each in known.verdict.reasons}
    assert "短路：不得多于 0 处" in text(reasons["short.reject.count_max"])
    assert not reasons["any.rework.count_max"].xpath(".//a")
    assert "全部缺陷合计导致" in text(shown.xpath("//p[@class='together']")[0])
    by_number = {each.number: each for each in known.defects}
    own = {number: {} for number in by_number}
    for reason in known.verdict.reasons[::-1]:
        for number in () if reason.rule.startswith("any.") else reason.defects:
            own[number] = reason.decision
    for number, decision in own.items():
        assert shown.xpath(f"//tr[@id='defect-{number}']//@data-decision") == [decision or "accept"]


def test_a_zone_outside_the_template_refuses_the_board_and_says_why(
    app: Flask, settings: Settings, client: FlaskClient
) -> None:
    shipped = desk.shipped_specification().replace("version: 1", "version: 2")
    off = shipped.replace("rectangle: [0, 560, 640, 640]", "rectangle: [0, 660, 640, 740]")
    job_id = client.post("/boards", data=board_form(specification=document(off)), headers=JSON).json["id"]
    work(app, settings, job_id)
    shown = page(client, f"/boards/{job_id}?lang=zh")
    assert "输入无效" in text(shown.xpath("//main")[0])
    said = text(shown.xpath("//p[@data-problem][@lang='en']")[0])
    assert "demo-board@2: zone fingers lies outside the board" in said
    assert "y 660…740 px, and the board is 640 x 640 px" in said


def test_each_sentence_leads_to_its_box_in_both_languages(engineer: FlaskClient, line: dict[str, str]) -> None:
    shown = page(engineer, f"/boards/{line['board_1']}")
    boxes = set(shown.xpath("//a[@data-box]/@id"))
    for language in ("en", "zh"):
        sentences = shown.xpath(f"//div[@class='pair']/p[@class='{language}']")
        cited = shown.xpath(f"//div[@class='pair']/p[@class='{language}']//a[@data-evidence]")
        assert len(sentences) > 8
        assert {each.get("href")[1:] for each in cited if each.get("data-defects")} == boxes
        assert all(each.get("title") for each in cited)
    limit = shown.xpath("//a[starts-with(@data-evidence, 'rule.') and contains(@href, '#L')]/@href")[0]
    address, _, anchor = limit.partition("#")
    assert page(engineer, address).xpath(f"//li[@id='{anchor}']")
    assert page(engineer, f"/boards/{line['board_1']}?mode=zh").xpath("//article[contains(@class, 'lang-zh')]")
    assert engineer.get(f"/boards/{line['board_1']}?mode=fr", headers=JSON).status_code == 422


def test_the_template_is_laid_under_a_displaced_board(engineer: FlaskClient, line: dict[str, str]) -> None:
    job_id = line["board_6_displaced"]
    board, laid = (
        cv2.imdecode(np.frombuffer(engineer.get(f"/boards/{job_id}/{which}.png").data, np.uint8), 0)
        for which in ("board", "template")
    )
    sample = samples()["board_6_displaced"]
    raw = cv2.imread(str(sample.template), 0)
    assert np.array_equal(board, cv2.imread(str(sample.board), 0))
    apart, together = (float(np.mean(np.abs(board.astype(int) - other) > 128)) for other in (raw, laid))
    assert together < 0.2 * apart
    small = engineer.get(f"/boards/{job_id}/board.png?small=1")
    assert max(cv2.imdecode(np.frombuffer(small.data, np.uint8), 0).shape) == THUMBNAIL
    assert "immutable" in small.headers["Cache-Control"]


def test_the_exports_agree(engineer: FlaskClient, line: dict[str, str]) -> None:
    job_id = line["board_2"]
    known = inspection(engineer, job_id)
    rows = engineer.get(f"/boards/{job_id}/files/csv").data.decode("utf-8-sig").splitlines()
    assert len(rows) == 1 + len(known.defects)
    whole = html.fromstring(engineer.get(f"/boards/{job_id}/files/html").text)
    assert whole.xpath("//*[@id='verdict']/@data-decision") == [known.verdict.decision]
    assert len(whole.xpath("//rect")) == len(known.defects)
    assert "data:image/png;base64" in html.tostring(whole).decode()
    assert engineer.get(f"/boards/{job_id}/files/docx", headers=JSON).status_code == 422


def test_without_template_calibration_or_specification_the_verdict_says_so(
    client: FlaskClient, inspect: Inspect
) -> None:
    job_id = inspect("board_1", template=False)
    known = inspection(client, job_id)
    assert known.verdict.weak
    assert {each.rule for each in known.verdict.reasons} >= {"template_missing", "calibration_missing"}
    shown = page(client, f"/boards/{job_id}")
    assert "No template" in text(shown.xpath("//ul[@class='reasons']")[0])
    assert not shown.xpath("//input[@id='view-blink']")
    missing = client.get(f"/boards/{job_id}/template.png", headers=JSON)
    assert (missing.status_code, missing.json["code"]) == (404, "not_found")


def test_what_was_sent_once_can_be_named_later(client: FlaskClient, inspect: Inspect) -> None:
    inspect("board_1", part_id="SN-1", calibration=certificate(), specification=document())
    shown = page(client, "/")
    chosen = {
        name: shown.xpath(f"//select[@name='{name}']/option[@selected]/@value")[0]
        for name in ("template_id", "calibration_name", "specification_name")
    }
    assert (chosen["calibration_name"], chosen["specification_name"]) == ("EVIDENT-SAMPLE-0001", "demo-board@1")
    again = inspection(client, inspect("board_1", template=False, part_id="SN-2", **chosen))
    assert again.template is not None
    assert again.calibration is not None
    assert again.verdict.specification == "demo-board@1"
    assert again.part.product == "demo-board"


def test_hostile_names_are_shown_as_text(client: FlaskClient, inspect: Inspect) -> None:
    name = "<script>alert('板')</script>"
    job_id = inspect("board_5_clean", part_id=name, lot='"><img src=x>')
    for url in ("/", f"/boards/{job_id}", "/review"):
        answer = client.get(url, headers=HTML).text
        assert "<script>alert" not in answer
        assert "<img src=x>" not in answer
    assert text(page(client, f"/boards/{job_id}").xpath("//h1")[0]) == name


def test_a_download_is_named_by_its_part_in_any_script(client: FlaskClient, inspect: Inspect) -> None:
    job_id = inspect("board_5_clean", part_id="板子")
    for file_format in ("json", "csv", "html"):
        answer = client.get(f"/boards/{job_id}/files/{file_format}")
        assert answer.status_code == 200
        named = answer.headers["Content-Disposition"]
        assert named == f"attachment; filename=__.{file_format}; filename*=UTF-8''{quote('板子')}.{file_format}"


def test_what_cannot_be_undone_is_asked_first(engineer: FlaskClient, line: dict[str, str]) -> None:
    shown = page(engineer, f"/boards/{line['board_1']}")
    assert shown.xpath("//details[@id='delete'][not(@open)]//form[contains(@action, '/delete')]//button")
    assert shown.xpath("//details[@id='clean'][not(@open)]//button[@value='clean']")
    assert not page(engineer, f"/boards/{line['board_5_clean']}").xpath("//details[@id='clean']")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"GIF89a", "is a GIF"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot be read to its end"),
    ],
)
def test_a_bad_picture_fails_with_its_reason(
    app: Flask, settings: Settings, client: FlaskClient, data: bytes, said: str
) -> None:
    answer = client.post("/boards", data={"file": (io.BytesIO(data), "样板.png")}, headers=HTML)
    assert answer.status_code == 303
    work(app, settings, answer.location.rpartition("/")[2])
    assert said in text(page(client, answer.location).xpath("//p[@data-problem]")[0])
    assert said in text(page(client, "/").xpath("//ul[@class='boards']")[0])
    assert client.get(f"{answer.location}/files/json", headers=JSON).status_code == 409
    assert client.get("/line", headers=JSON).json["failed"] == 1


def test_another_boards_template_is_refused(app: Flask, settings: Settings, client: FlaskClient) -> None:
    other = samples()["board_2"].template
    form = board_form("board_1", template=False) | {"template": (io.BytesIO(other.read_bytes()), other.name)}
    job_id = client.post("/boards", data=form, headers=JSON).json["id"]
    work(app, settings, job_id)
    job = client.get(f"/jobs/{job_id}", headers=JSON).json
    assert (job["state"], job["error"]["code"]) == ("failed", "invalid_input")


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        (
            {"specification": document("product: a\nversion: 1\nclasses: {open: {reject: {length_max: 1 inch}}}")},
            422,
            "line 3",
        ),
        ({"specification": (io.BytesIO(b"\xff\xfe"), "s.yaml")}, 422, "UTF-8"),
        ({"calibration": (io.BytesIO(b"mm_per_pixel: [48, 48]"), "c.yaml")}, 422, "c"),
        ({"calibration_name": "CAL-0"}, 404, "CAL-0"),
        ({"specification_name": "x@9"}, 404, "x@9"),
        ({"template_id": "0" * 32}, 404, "There is no input"),
        ({"part_id": "x" * 200}, 422, "part_id"),
    ],
)
def test_what_a_board_cannot_be_judged_by_is_refused_at_once(
    client: FlaskClient, fields: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/boards", data=board_form(template=False) | fields, headers=JSON)
    assert (answer.status_code, said in answer.json["detail"]) == (status, True), answer.json
    assert client.get("/jobs", headers=JSON).json["jobs"] == []


def test_a_board_that_is_its_own_template_is_refused(client: FlaskClient) -> None:
    sample = samples()["board_1"].board
    form = board_form(template=False) | {"template": (io.BytesIO(sample.read_bytes()), "golden.png")}
    answer = client.post("/boards", data=form, headers=JSON)
    assert answer.status_code == 422
    assert "same file" in answer.json["detail"]
    assert client.post("/boards", data={}, headers=JSON).status_code == 422


def test_a_deleted_board_leaves_its_template_to_the_others(client: FlaskClient, inspect: Inspect) -> None:
    first = inspect("board_1", part_id="SN-1")
    template = inspection(client, first).template
    shown = page(client, "/").xpath("//select[@name='template_id']/option[@selected]/@value")[0]
    form = board_form("board_1", template=False, part_id="SN-2", template_id=shown)
    form["file"] = (
        io.BytesIO(cv2.imencode(".bmp", cv2.imread(str(samples()["board_1"].board), 0))[1]),
        "copy.bmp",
    )
    second = client.post("/boards", data=form, headers=JSON).json["id"]
    assert client.delete(f"/boards/{first}", headers=JSON).status_code == 204
    assert client.get(f"/boards/{first}", headers=JSON).status_code == 404
    assert client.get(f"/boards/{second}", headers=JSON).status_code == 200
    assert template is not None
    assert client.get(f"/boards/{second}/template.png").mimetype == "image/png"


def test_a_stranger_sees_nothing(app: Flask, line: dict[str, str]) -> None:
    stranger = client_of(app, "stranger")
    job_id = line["board_1"]
    for url in ("", "/board.png", "/files/json", "/labels"):
        assert stranger.get(f"/boards/{job_id}{url}", headers=JSON).status_code == 404
    body = {"action": "confirm", "defect": 1}
    assert stranger.post(f"/boards/{job_id}/labels", json=body, headers=JSON).status_code == 404
    assert stranger.get("/line", headers=JSON).json["boards"] == 0
