"""The inspection pages and API by Flask's test client; each job is done by a real worker, with the models that ship."""

import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html
from openapi_spec_validator import validate

from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.worker import Worker
from evident_manufacturing import desk
from evident_manufacturing.app import create_app
from evident_manufacturing.inspection.evaluate import pairs
from evident_manufacturing.inspection.schema import KINDS, Inspection
from evident_manufacturing.pictures import THUMBNAIL
from evident_manufacturing.samples import samples

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
Inspect = Callable[..., str]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    frame(made).close()


def frame(app: Flask) -> Frame:
    return app.extensions["evident"]


def client_of(app: Flask, name: str) -> FlaskClient:
    """A program with a key of its own: what it uploads no other test sees."""
    key, _ = frame(app).keys.create(name)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture
def client(app: Flask, request: pytest.FixtureRequest) -> FlaskClient:
    return client_of(app, request.node.originalname)


def work(app: Flask, settings: Settings, job_id: str) -> None:
    Worker(frame(app).jobs, settings, threading.Event()).look(job_id)


def board_form(name: str = "board_1", *, template: bool = True, **fields: Any) -> dict[str, Any]:
    sample = samples()[name]
    files: dict[str, Any] = {"file": (io.BytesIO(sample.board.read_bytes()), sample.board.name)}
    if template:
        files["template"] = (io.BytesIO(sample.template.read_bytes()), sample.template.name)
    return files | fields


def certificate() -> tuple[io.BytesIO, str]:
    return io.BytesIO(samples()["board_1"].board.with_name("calibration.json").read_bytes()), "calibration.json"


def document(text: str | None = None) -> tuple[io.BytesIO, str]:
    return io.BytesIO((text or desk.shipped_specification()).encode()), "specification.yaml"


@pytest.fixture
def inspect(app: Flask, settings: Settings, client: FlaskClient) -> Inspect:
    """Send a board and inspect it to the end; returns the job's id."""

    def send(name: str = "board_1", **fields: Any) -> str:
        answer = client.post("/boards", data=board_form(name, **fields), headers=JSON)
        assert answer.status_code == 202, answer.text
        work(app, settings, answer.json["id"])
        return str(answer.json["id"])

    return send


@pytest.fixture(scope="module")
def engineer(app: Flask) -> FlaskClient:
    return client_of(app, "engineer")


@pytest.fixture(scope="module")
def line(app: Flask, settings: Settings, engineer: FlaskClient) -> dict[str, str]:
    """All sample boards, inspected: part id -> job id."""
    assert engineer.post("/samples", headers=HTML).status_code == 303
    jobs = [job["id"] for job in engineer.get("/jobs", headers=JSON).json["jobs"]]
    for job_id in jobs:
        work(app, settings, job_id)
    last = engineer.get("/line", headers=JSON).json["last"]
    assert {each["state"] for each in last} == {"done"}
    return {each["part_id"]: each["job_id"] for each in last}


def page(client: FlaskClient, url: str) -> html.HtmlElement:
    answer = client.get(url, headers=HTML)
    assert answer.status_code == 200, answer.text
    return html.fromstring(answer.text)


def text(element: html.HtmlElement) -> str:
    return re.sub(r"\s+", " ", element.text_content()).strip()


def inspection(client: FlaskClient, job_id: str) -> Inspection:
    return Inspection.model_validate_json(client.get(f"/boards/{job_id}/files/json").data)


# --- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_counts_what_was_decided(engineer: FlaskClient, line: dict[str, str]) -> None:
    figures = engineer.get("/line", headers=JSON).json
    decided = [inspection(engineer, job_id).verdict.decision for job_id in line.values()]
    assert figures["boards"] == len(line) == len(samples())
    assert sum(figures["decisions"].values()) == figures["boards"]
    assert figures["accepted"] == pytest.approx(decided.count("accept") / len(decided))
    defects = sum(len(inspection(engineer, job_id).defects) for job_id in line.values())
    assert sum(each["defects"] for each in figures["samples"]) == defects
    assert figures["u"]["centre"] == pytest.approx(defects / len(line))
    assert figures["milliseconds"] > 0
    one_by_one = engineer.get("/line?sample=1", headers=JSON).json
    assert len(one_by_one["p"]["points"]) == len(line)
    assert engineer.get("/line?sample=0", headers=JSON).status_code == 422


def test_the_home_page_works_without_javascript(engineer: FlaskClient, line: dict[str, str]) -> None:
    shown = page(engineer, "/")
    assert len(shown.xpath("//ul[@class='boards']/li")) == len(line)
    assert len(shown.xpath("//svg[@class='control-chart']")) == 2
    assert shown.xpath("//form[@data-dropzone]//input[@name='template']")
    assert not shown.xpath("//*[@style or starts-with(@href, 'http') or starts-with(@src, 'http')]")
    part = engineer.get("/line.html", headers=HTML)
    assert "board_1" in part.text
    assert "<html" not in part.text
    chinese = page(engineer, "/?lang=zh")
    assert "产线现况" in text(chinese)


def test_a_camera_that_sends_one_frame_again_is_an_alarm(client: FlaskClient, inspect: Inspect) -> None:
    for number in range(3):
        assert not client.get("/line", headers=JSON).json["alarms"]
        inspect("board_5_clean", part_id=f"SN-{number}", camera="cam-7")
    (alarm,) = client.get("/line", headers=JSON).json["alarms"]
    assert (alarm["code"], alarm["level"]) == ("frozen_camera", "alarm")
    assert "cam-7" in alarm["message"]
    assert page(client, "/").xpath("//p[@data-alarm='frozen_camera']")


def test_a_part_inspected_again_counts_once(client: FlaskClient, inspect: Inspect) -> None:
    inspect("board_1", part_id="SN-1")
    inspect("board_5_clean", part_id="SN-1")
    figures = client.get("/line", headers=JSON).json
    assert (figures["boards"], len(figures["last"]), figures["accepted"]) == (1, 2, 1.0)


# --- a board ----------------------------------------------------------------------------------------------------------


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


# --- the review -------------------------------------------------------------------------------------------------------


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
        ({"action": "relabel", "defect": 1, "kind": "gnome"}, 422, "'gnome' is no kind"),
        ({"action": "add", "kind": "spur", "bbox": [5, 5, 1, 1]}, 422, "swapped"),
        ({"action": "add", "kind": "spur", "bbox": [0, 0, 9000, 10]}, 422, "does not lie on the board"),
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


# --- the specification ------------------------------------------------------------------------------------------------


def changed(version: int, old: str, new: str) -> str:
    shipped = desk.shipped_specification()
    assert old in shipped
    return shipped.replace("version: 1", f"version: {version}").replace(old, new)


def test_the_shipped_specification_would_decide_as_it_did(engineer: FlaskClient, line: dict[str, str]) -> None:
    body = {"text": desk.shipped_specification()}
    found = engineer.post("/specifications/preview", json=body, headers=JSON).json
    assert found["boards"] == len(line)
    assert found["before"] == found["after"]
    assert found["changes"] == []


def test_a_preview_names_the_boards_that_would_change(engineer: FlaskClient, line: dict[str, str]) -> None:
    lenient = "product: demo-board\nversion: 2\ndefault: accept\n"
    found = engineer.post("/specifications/preview", json={"text": lenient}, headers=JSON).json
    before = {part: inspection(engineer, job_id).verdict.decision for part, job_id in line.items()}
    assert found["after"] == {"accept": len(line), "rework": 0, "reject": 0}
    assert {each["part_id"] for each in found["changes"]} == {part for part, was in before.items() if was != "accept"}
    assert all(each["no_longer"] for each in found["changes"])
    shown = html.fromstring(engineer.post("/specification", data={"text": lenient, "do": "try"}, headers=HTML).text)
    counts = [cell.text for cell in shown.xpath("//tr[@data-counts='after']/td")]
    assert counts == [str(len(line)), "0", "0"]
    assert shown.xpath("//textarea")[0].text.strip() == lenient.strip()
    foreign = engineer.post("/specifications/preview", json={"text": "product: other\nversion: 1\n"}, headers=JSON)
    assert foreign.json["boards"] == 0
    assert engineer.get("/specifications", headers=JSON).json["documents"] == []


def test_a_version_is_kept_and_never_changed(client: FlaskClient) -> None:
    text_of_2 = changed(2, "length_max: 0.50 mm", "length_max: 0.60 mm")
    answer = client.post("/specification", data={"text": text_of_2.replace("\n", "\r\n"), "do": "keep"}, headers=HTML)
    assert answer.status_code == 303
    assert page(client, answer.location).xpath("//textarea")[0].text.strip() == text_of_2.strip()
    assert client.post("/specifications", json={"text": text_of_2}, headers=JSON).status_code == 201
    other = client.post("/specifications", json={"text": changed(2, "0.60 mm", "0.70 mm")}, headers=JSON)
    assert (other.status_code, other.json["code"]) == (409, "conflict")
    assert "demo-board@2" in other.json["detail"]
    assert [each["name"] for each in client.get("/specifications", headers=JSON).json["documents"]] == ["demo-board@2"]
    assert set(page(client, "/specification").xpath("//nav[@class='versions']/a/text()")) == {
        "demo-board@2",
        "demo-board@1",
    }


@pytest.mark.parametrize("do", ["try", "keep"])
def test_a_mistake_is_shown_at_its_line_and_the_text_stays(client: FlaskClient, do: str) -> None:
    wrong = changed(3, "length_max: 0.50 mm", "length_max: 0.50 inch")
    answer = client.post("/specification", data={"text": wrong, "do": do}, headers=HTML)
    assert answer.status_code == 422
    shown = html.fromstring(answer.text)
    (line_shown,) = shown.xpath("//li[@class='wrong']")
    assert "0.50 inch" in text(line_shown)
    number = line_shown.get("id")[1:]
    assert f"line {number}" in text(shown.xpath("//div[@role='alert']")[0])
    assert wrong.splitlines()[int(number) - 1].strip() == text(line_shown)
    assert "0.50 inch" in shown.xpath("//textarea")[0].text
    assert client.get("/specification?name=no@1", headers=JSON).status_code == 404


# --- the API ----------------------------------------------------------------------------------------------------------


def test_the_api_is_described_whole(engineer: FlaskClient) -> None:
    described = engineer.get("/openapi.json").json
    validate(described)
    assert {"/boards", "/line", "/review/queue", "/labels", "/labels/deeppcb.zip", "/specifications"} <= set(
        described["paths"]
    )
    assert {"/specifications/preview", "/boards/{job_id}/labels", "/jobs"} <= set(described["paths"])
    assert engineer.get("/readyz").status_code == 200
    assert engineer.get("/docs").status_code == 200


def test_the_queue_takes_a_board_and_its_template_as_two_files(
    app: Flask, settings: Settings, client: FlaskClient
) -> None:
    sample = samples()["board_2"]
    options = {"part_id": "SN-9", "specification": desk.shipped_specification()}
    files = [(io.BytesIO(path.read_bytes()), path.name) for path in (sample.board, sample.template)]
    answer = client.post("/jobs", data={"file": files, "options": json.dumps(options)}, headers=JSON)
    assert answer.status_code == 202, answer.text
    work(app, settings, answer.json["id"])
    known = inspection(client, answer.json["id"])
    assert (known.part.part_id, known.verdict.specification) == ("SN-9", "demo-board@1")
    assert known.template is not None
    bad = client.post("/jobs", data={"file": (io.BytesIO(b"x"), "a.png"), "options": '{"specification": "a: ["}'})
    assert bad.status_code == 422
    assert "line 1" in bad.json["detail"]
