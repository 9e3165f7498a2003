"""The pages as an agent's destination: the real agent, the real pages, over 127.0.0.1; and what is told in its name."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from werkzeug.serving import make_server

from evident_core.settings import load
from evident_core.web.tables import Job, Result
from evident_manufacturing import arrivals
from evident_manufacturing.agent.assemble import open_agent
from evident_manufacturing.app import create_app
from evident_manufacturing.delivery.events import alarm_of, event_of
from evident_manufacturing.inspection.schema import Inspection
from evident_manufacturing.samples import samples
from evident_manufacturing.settings import AgentSection
from manufacturing_client import HTML, JSON, boards_of, client_of, frame, page, text
from manufacturing_specimen import inspection as specimen

HOSTILE = "<img src=x onerror=alert('板')>"
PARTS = ("SN-1", "SN-2", HOSTILE)
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def url(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/events"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def line(app: Flask, url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[FlaskClient, Path]:
    """A line whose agent has inspected three boards and told of them; also the agent's folder."""
    client = client_of(app, "line")
    key = client.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    folder, sample = tmp_path_factory.mktemp("agent"), samples()["board_1"]
    (folder / "images").mkdir()
    board = cv2.imread(str(sample.board), cv2.IMREAD_GRAYSCALE)
    for number, part in enumerate(PARTS):
        board[10:12, 10 + 20 * number : 14 + 20 * number] ^= 255  # no two frames are alike
        cv2.imwrite(str(folder / "images" / f"{number}.png"), board)
        (folder / "images" / f"{number}.json").write_text(json.dumps({"part_id": part, "lot": HOSTILE}))
    section = AgentSection(
        station="aoi-1",
        source=str(folder / "images"),
        template=str(sample.template),
        specification=str(Path("verticals/evident_manufacturing/inspection/data/specification.yaml").resolve()),
        calibration=str(sample.board.with_name("calibration.json")),
        sink=url,
        token=key,
    )
    with open_agent(section, folder) as agent:
        running = threading.Thread(target=agent.run)
        running.start()
        end = time.monotonic() + 60
        while not (agent.courier and agent.courier.delivered == len(PARTS)):
            assert time.monotonic() < end, agent.courier and agent.courier.problem
            time.sleep(0.05)
        agent.stop()
        running.join()
    return client, folder


def told(**changes: Any) -> dict[str, Any]:
    event = event_of(specimen(), station="aoi-2", inspected=specimen().part.taken)
    return json.loads(event.body) | changes


def count(app: Flask, kind: type[Job] | type[Result], client: FlaskClient) -> int:
    key = client.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    owner = frame(app).keys.caller(key).id
    with frame(app).store.reading() as session:
        return session.scalar(select(func.count()).select_from(kind).where(kind.owner == owner))


# --- an agent and the pages together ----------------------------------------------------------------------------------


def test_an_agent_s_boards_are_on_the_line_with_pictures(line: tuple[FlaskClient, Path]) -> None:
    client, folder = line
    figures = client.get("/line", headers=JSON).json
    assert (figures["boards"], figures["accepted"], figures["failed"]) == (3, 0.0, 0)
    assert [each["part_id"] for each in figures["last"]] == list(PARTS[::-1])
    assert figures["u"]["centre"] >= 6
    assert figures["milliseconds"] > 0
    shown = page(client, "/")
    assert len(shown.xpath("//ul[@class='boards']//img")) == 3
    assert len(shown.xpath("//svg[@class='control-chart']")) == 2
    board = cv2.imread(str(folder / "images" / "done" / "1.png"), cv2.IMREAD_GRAYSCALE)
    sent = client.get(f"/boards/{boards_of(client)['SN-2']}/board.png").data
    assert (cv2.imdecode(np.frombuffer(sent, np.uint8), 0) == board).all()
    assert list((folder / "manufacturing" / "outbox-boards").iterdir()) == []


def test_its_board_has_sizes_template_report_and_station(line: tuple[FlaskClient, Path]) -> None:
    client, _ = line
    address = f"/boards/{boards_of(client)['SN-1']}"
    known = Inspection.model_validate_json(client.get(f"{address}/files/json").data)
    assert known.calibration is not None
    assert known.alignment is not None
    shown = page(client, address)
    assert len(shown.xpath("//a[@data-box]/rect")) == len(known.defects)
    assert len(shown.xpath("//div[@class='pair']/p[@class='zh']")) > 8
    assert shown.xpath("//input[@id='view-blink']")
    assert "aoi-1" in shown.xpath("string(//dl[contains(@class, 'fact-details')])")
    assert client.get(f"{address}/template.png").mimetype == "image/png"
    assert "data:image/png" in client.get(f"{address}/files/html").text
    found = client.post("/specifications/preview", json={"text": _lenient()}, headers=JSON).json
    assert (found["boards"], found["after"]["accept"]) == (3, 3)


def test_its_uncertain_defects_are_in_the_queue_and_can_be_labelled(line: tuple[FlaskClient, Path]) -> None:
    client, _ = line
    questions = client.get("/review/queue", headers=JSON).json["questions"]
    assert {each["part_id"] for each in questions} == set(PARTS)
    job_id = boards_of(client)["SN-1"]
    for each in questions:
        if each["job_id"] == job_id:
            body = {"action": "confirm", "defect": each["defect"]["number"]}
            assert client.post(f"/boards/{job_id}/labels", json=body, headers=JSON).status_code == 200
    assert len(client.get("/labels", headers=JSON).json["boards"]) == 1
    assert client.get("/labels/deeppcb.zip").status_code == 200


def test_a_hostile_part_name_is_shown_as_text(line: tuple[FlaskClient, Path]) -> None:
    client, _ = line
    for address in ("/", "/review", f"/boards/{boards_of(client)[HOSTILE]}"):
        assert "<img src=x" not in client.get(address, headers=HTML).text
    assert page(client, f"/boards/{boards_of(client)[HOSTILE]}").xpath("string(//h1)") == HOSTILE


def test_a_deleted_board_leaves_the_template_to_the_others(line: tuple[FlaskClient, Path]) -> None:
    client, _ = line
    gone, kept = boards_of(client)["SN-2"], boards_of(client)["SN-1"]
    assert client.delete(f"/jobs/{gone}").status_code == 204
    assert client.get(f"/boards/{gone}/board.png", headers=JSON).status_code == 404
    assert client.get(f"/boards/{kept}/template.png").status_code == 200


# --- what is told -----------------------------------------------------------------------------------------------------


def test_an_event_alone_is_a_board_and_counts_once(app: Flask, client: FlaskClient) -> None:
    one, two = told(), told(event_id="00000000-0000-5000-8000-000000000002", part_id="SN-0002")
    first = client.post("/events", json=one).json["results"]
    assert first == [{"event_id": one["event_id"], "status": 201, "wants": ["board", "template"], "detail": ""}]
    body = "\n".join(map(json.dumps, (one, two, two, one)))
    again = client.post("/events", data=body, content_type=LINES).json["results"]
    assert [each["status"] for each in again] == [200, 201, 200, 200]
    assert (count(app, Job, client), count(app, Result, client)) == (2, 2)
    figures = client.get("/line", headers=JSON).json
    assert (figures["boards"], figures["decisions"]["reject"]) == (2, 2)
    address = f"/boards/{figures['last'][0]['job_id']}"
    shown = page(client, address)
    assert len(shown.xpath("//a[@data-box]/rect")) == 3
    assert not shown.xpath("//*[local-name()='image']")
    assert "no report" in shown.text_content()
    for missing, status in (("/board.png", 404), ("/files/html", 422), ("/files/json", 200)):
        assert client.get(address + missing, headers=JSON).status_code == status
    assert not page(client, "/").xpath("//ul[@class='boards']//img")
    assert len(client.get("/review/queue", headers=JSON).json["questions"]) == 6
    assert page(client, "/review").xpath("//article")
    assert client.delete(address, headers=JSON).status_code == 204
    assert count(app, Job, client) == 1


def test_the_golden_sample_itself_may_come_down_the_line(client: FlaskClient) -> None:
    golden = samples()["board_1"].template.read_bytes()
    held = _pictured(golden, golden)
    event = event_of(held, station="aoi-2", inspected=specimen().part.taken)
    client.post("/events", data=event.body, content_type="application/json")
    answer = client.post(f"/events/{event.event_id}/board", data=_form(held, golden, golden))
    assert (answer.status_code, answer.json["status"]) == (200, 201)
    (job_id,) = boards_of(client).values()
    assert client.get(f"/boards/{job_id}/board.png").status_code == 200
    assert client.get(f"/boards/{job_id}", headers=HTML).status_code == 200


def test_labels_given_before_the_picture_came_stay(app: Flask, client: FlaskClient) -> None:
    image, template = (samples()["board_1"].board.read_bytes(), samples()["board_1"].template.read_bytes())
    held = _pictured(image, template)
    event = event_of(held, station="aoi-2", inspected=specimen().part.taken)
    client.post("/events", data=event.body, content_type="application/json")
    (job_id,) = boards_of(client).values()
    client.post(f"/boards/{job_id}/labels", json={"action": "reject", "defect": 2}, headers=JSON)
    form = lambda: _form(held, image, template)  # noqa: E731  # a form's files are read once
    assert client.post(f"/events/{event.event_id}/board", data=form()).json["status"] == 201
    assert client.post(f"/events/{event.event_id}/board", data=form()).json["status"] == 200
    assert client.post("/events", data=event.body, content_type="application/json").json["results"][0]["wants"] == []
    assert [each["defect"] for each in client.get(f"/boards/{job_id}/labels").json["labels"]] == [2]
    assert (count(app, Job, client), count(app, Result, client)) == (1, 1)
    assert client.get(f"/boards/{job_id}/board.png").status_code == 200


@pytest.mark.parametrize("wrong", ["image", "template", "inspection", "nothing", "unknown"])
def test_a_board_that_is_not_the_event_s_is_refused_and_nothing_kept(
    app: Flask, client: FlaskClient, wrong: str
) -> None:
    image, template = (samples()["board_1"].board.read_bytes(), samples()["board_1"].template.read_bytes())
    held = _pictured(image, template)
    event = event_of(held, station="aoi-2", inspected=specimen().part.taken)
    client.post("/events", data=event.body, content_type="application/json")
    form = {
        "image": lambda: _form(held, template, template),
        "template": lambda: _form(held, image, image),
        "inspection": lambda: _form(held.model_copy(update={"defects": ()}), image, template),
        "nothing": dict,
        "unknown": lambda: _form(held, image, template),
    }[wrong]()
    address = (
        "/events/00000000-0000-5000-8000-000000000009/board"
        if wrong == "unknown"
        else f"/events/{event.event_id}/board"
    )
    answer = client.post(address, data=form, content_type="multipart/form-data", headers=JSON)
    assert answer.status_code == (404 if wrong == "unknown" else 422), answer.text
    assert client.get(f"/boards/{next(iter(boards_of(client).values()))}/board.png", headers=JSON).status_code == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"form": "other/1"}, "form"),
        ({"form": "evident.alarm/1"}, "code"),
        ({"event_id": "1"}, "event_id"),
        ({"part_id": "a\u202eb"}, "part_id"),
        ({"part_id": ""}, "part_id"),
        ({"lot": "x" * 200}, "lot"),
        ({"decision": "scrap"}, "decision"),
        ({"inspected": "2025-03-14T09:30:00.000"}, "timezone"),
        ({"milliseconds": {"whole": 1e999}}, "milliseconds"),
        ({"more": 1}, "more"),
        ({"defects_total": 0}, "defects_total"),
    ],
)
def test_what_is_no_event_is_refused(client: FlaskClient, changes: dict[str, Any], said: str) -> None:
    answer = client.post("/events", data=json.dumps(told(**changes)), content_type="application/json", headers=JSON)
    assert (answer.status_code, said in answer.json["detail"]) == (422, True), answer.json
    assert boards_of(client) == {}


def test_one_bad_line_keeps_no_other_out(client: FlaskClient) -> None:
    bad = told(event_id="00000000-0000-5000-8000-000000000003", weak="perhaps")
    body = "\n".join(map(json.dumps, (bad, told())))
    results = client.post("/events", data=body, content_type=LINES).json["results"]
    assert [(each["event_id"], each["status"]) for each in results] == [
        (bad["event_id"], 422),
        (told()["event_id"], 201),
    ]
    assert client.post("/events", data=b"{}\n", content_type=LINES, headers=JSON).status_code == 422
    assert client.post("/events", data=b"{}", content_type="text/plain", headers=JSON).status_code == 415


def test_a_known_event_of_another_picture_is_a_conflict(client: FlaskClient) -> None:
    client.post("/events", json=told())
    other = told(image=told()["image"] | {"sha256": "c3" * 32})
    assert client.post("/events", json=other).json["results"][0]["status"] == 409
    assert len(boards_of(client)) == 1


def test_an_agent_s_alarm_stands_on_the_line_until_it_is_cleared(client: FlaskClient) -> None:
    at = specimen().part.taken
    assert at is not None
    raised, cleared = (
        alarm_of("source_lost", station="aoi-2", number=n, raised=up, message="No <b>camera</b>.", at=at)
        for n, up in ((1, True), (2, False))
    )
    body = raised.body + b"\n" + json.dumps(told()).encode() + b"\n" + raised.body
    results = client.post("/events", data=body, content_type=LINES).json["results"]
    assert [each["status"] for each in results] == [201, 201, 200]
    (alarm,) = client.get("/line", headers=JSON).json["alarms"]
    assert (alarm["code"], alarm["message"]) == ("station_source_lost", "aoi-2: No <b>camera</b>.")
    assert "图像来源中断" in page(client, "/?lang=zh").xpath("string(//p[@data-alarm])")
    assert "<b>camera" not in client.get("/", headers=HTML).text
    client.post("/events", data=cleared.body, content_type="application/json")
    assert client.get("/line", headers=JSON).json["alarms"] == []


def test_what_an_agent_could_not_inspect_is_counted_once(client: FlaskClient) -> None:
    at = specimen().part.taken
    assert at is not None
    told_of = {"code": "image_refused", "station": "aoi-3", "at": at}
    events = [
        alarm_of(**told_of, number=1, raised=True, message="Image 'a.png' could not be inspected: a PDF.", part_id="a"),
        alarm_of(**told_of, number=2, raised=True, message="4 images could not be inspected. The last: x.", images=4),
        alarm_of(**told_of, number=3, raised=False, message="4 images could not be inspected. The last: x."),
    ]
    for event in (events[0], events[0], *events, *events):
        client.post("/events", data=event.body, content_type="application/json")
    client.post("/events", json=told())
    figures = client.get("/line", headers=JSON).json
    assert (figures["failed"], figures["boards"], figures["waiting"]) == (5, 1, 0)
    shown = page(client, "/?lang=zh")
    assert "无法检测：5" in text(shown.xpath("//*[@data-tile='waiting']")[0])
    cards = shown.xpath("//ul[@class='boards']/li[.//*[@class='fine board-error']]")
    assert [text(each.xpath(".//strong")[0]) for each in cards] == ["aoi-3", "a"]
    assert "a PDF" in text(cards[1].xpath(".//span[@lang='en']")[0])
    where = cards[1].xpath("./a/@href")[0]
    failed = page(client, where)
    assert text(failed.xpath("//h1")[0]) == "a"
    assert "a PDF" in text(failed.xpath("//p[@data-problem]")[0])
    assert client.post(f"{where}/delete", headers=HTML).status_code == 303
    assert client.get("/line", headers=JSON).json["failed"] == 4


def test_an_alarm_is_seen_before_the_first_board(client: FlaskClient) -> None:
    at = specimen().part.taken
    assert at is not None
    assert not page(client, "/").xpath("//section[@class='alarms']")
    event = alarm_of("model_not_ready", station="aoi-9", number=0, raised=True, message="No model.", at=at)
    client.post("/events", data=event.body, content_type="application/json")
    shown = page(client, "/")
    assert len(shown.xpath("//p[@data-alarm='station_model_not_ready']")) == 1
    assert not shown.xpath("//ul[@class='boards']")


def test_a_person_takes_an_alarm_off_the_line_whose_agent_is_gone(app: Flask, client: FlaskClient) -> None:
    at = specimen().part.taken
    assert at is not None
    first, second = (
        alarm_of("source_lost", station="aoi-8", number=n, raised=True, message="No camera.", at=at) for n in (1, 2)
    )
    client.post("/events", data=first.body, content_type="application/json")
    (address,) = page(client, "/").xpath("//section[@class='alarms']//form/@action")
    assert client_of(app, "stranger").post(address).status_code == 404
    assert client.post(address).status_code == 303
    assert client.post("/events", data=first.body, content_type="application/json").json["results"][0]["status"] == 200
    assert client.get("/line", headers=JSON).json["alarms"] == []
    assert client.post(address).status_code == 404
    client.post("/events", data=second.body, content_type="application/json")
    assert len(client.get("/line", headers=JSON).json["alarms"]) == 1


def test_the_refusal_of_an_alarm_names_its_form(client: FlaskClient) -> None:
    answer = client.post("/events", json={"form": "evident.alarm/1"}, headers=JSON)
    assert (answer.status_code, "alarm.schema.json" in answer.json["detail"]) == (422, True)


def test_a_body_that_does_not_say_how_long_it_is_has_the_same_limit(url: str, client: FlaskClient) -> None:
    headers = {"Authorization": client.environ_base["HTTP_AUTHORIZATION"], "Content-Type": LINES}
    event = json.dumps(told()).encode()
    chunks = (event[at : at + 100] for at in range(0, len(event), 100))
    assert httpx.post(url, content=chunks, headers=headers).json()["results"][0]["status"] == 201
    blanks = (b"\n" * (1 << 20) for _ in range(9))
    assert httpx.post(url, content=blanks, headers=headers).status_code == 413
    answer = client.post("/events", data=b"\n" * (9 << 20), content_type=LINES, headers=JSON)
    assert answer.status_code == 413, answer.json


def test_a_constraint_that_always_fails_is_an_error_and_no_endless_try(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def constrained(*_: object) -> None:
        tries.append(1)
        if len(tries) > 10:
            pytest.exit("it is tried without end")
        raise IntegrityError("INSERT", {}, ValueError("constraint"))

    monkeypatch.setattr(arrivals, "_receive", constrained)
    assert client.post("/events", json=told(), headers=JSON).status_code == 500
    assert len(tries) == 3


def test_nobody_without_a_key_and_no_foreign_page_tells_of_boards(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    assert app.test_client().post("/events", json=told()).status_code == 401
    alone = create_app(load(store={"data_dir": tmp_path / "alone"}))
    foreign = {"Origin": "http://evil.example"}
    assert alone.test_client().post("/events", json=told(), headers=foreign).status_code == 403
    assert alone.test_client().post("/events", json=told()).status_code == 200
    frame(alone).close()


def _lenient() -> str:
    return "product: demo-board\nversion: 2\ndefault: accept\n"


def _pictured(image: bytes, template: bytes) -> Inspection:
    inputs = {
        name: getattr(specimen(), name).model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        for name, data in (("input", image), ("template", template))
    }
    return specimen(**inputs)


def _form(held: Inspection, image: bytes, template: bytes) -> dict[str, Any]:
    return {
        "inspection": (io.BytesIO(held.model_dump_json().encode()), "inspection.json"),
        "image": (io.BytesIO(image), "image"),
        "template": (io.BytesIO(template), "template"),
    }
