"""The API of queued work, by Flask's test client, with a real worker beside it."""

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict

from evident_core.errors import NotFound
from evident_core.services import Vertical
from evident_core.settings import Settings, load
from evident_core.web import job_routes as job_routes_module
from evident_core.web.frame import Frame
from evident_core.web.job_routes import job_routes
from evident_core.web.jobs import Task
from evident_core.web.server import EmbeddedWorker
from evident_core.web.service import create_service


class CountOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slow: float = 0


WORDS = {"en": "Counting", "zh": "计数"}
TASK = Task("counting", "1", "backstage_functions:count_bytes", CountOptions)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")}, web={"max_upload_mib": 1})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    made = create_service(Vertical("counting", WORDS, WORDS, "", ""), settings, blueprints=[job_routes(TASK)])
    yield made
    _frame(made).close()


@pytest.fixture(scope="module")
def _worker(settings: Settings, app: Flask) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "unit"))
        with EmbeddedWorker(settings):
            yield


def _client(app: Flask, name: str = "test") -> FlaskClient:
    """A program with a key of its own: what it uploads no other test sees."""
    key, _ = _frame(app).keys.create(name)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return _client(app)


def _frame(app: Flask) -> Frame:
    return app.extensions["evident"]


def _caller(app: Flask) -> str:
    """The owner that the newest key is."""
    return _frame(app).keys.list()[-1].id


def _upload(client: FlaskClient, *contents: bytes, **fields: Any):
    files = [(io.BytesIO(content), f"{number}.pdf") for number, content in enumerate(contents)]
    return client.post("/jobs", data={"file": files, **fields}, content_type="multipart/form-data")


def _events(client: FlaskClient, address: str, **headers: str) -> list[dict[str, Any]]:
    response = client.get(f"{address}/events", headers=headers)
    assert response.mimetype == "text/event-stream"
    found = []
    for block in response.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append({**lines, "data": json.loads(lines["data"])})
    return found


@pytest.mark.usefixtures("_worker")
def test_upload_follow_fetch_delete(app, client):
    accepted = _upload(client, b"abc", b"four")
    assert accepted.status_code == 202
    address = accepted.headers["Location"]
    assert address == f"/jobs/{accepted.json['id']}"

    events = _events(client, address)
    assert [event["data"]["state"] for event in events if event["event"] == "state"] == [
        "queued",
        "running",
        "done",
    ]
    assert [event["data"]["stage"] for event in events if event["event"] == "progress"] == ["ingest", "perceive"]
    resumed = _events(client, address, **{"Last-Event-ID": events[1]["id"]})
    assert resumed == events[2:]
    rest = client.get(f"{address}/events", headers={"Last-Event-ID": events[-1]["id"]})
    assert rest.status_code == 204

    job = client.get(address).json
    assert (job["state"], job["stage"], job["done"], job["total"]) == ("done", "perceive", 1, 2)
    result = client.get(f"{address}/result")
    assert result.json == {"sizes": [3, 4], "opened": False}
    unchanged = client.get(f"{address}/result", headers={"If-None-Match": result.headers["ETag"]})
    assert unchanged.status_code == 304

    again = _upload(client, b"abc", b"four")
    assert (again.json["id"], again.json["state"]) == (job["id"], "done")
    assert [each["id"] for each in client.get("/jobs").json["jobs"]] == [job["id"]]

    assert client.delete(address).status_code == 204
    for gone in (address, f"{address}/result", f"{address}/events"):
        assert client.get(gone).status_code == 404
    assert client.delete(address).status_code == 404
    frame, caller = _frame(app), _caller(app)
    assert frame.store.inputs(caller) == []
    assert not list((frame.store.folder / "inputs" / hashlib.sha256(caller.encode()).hexdigest()[:32]).rglob("*/*"))
    actions = [line.action for line in frame.audit.lines() if line.actor == caller]
    assert actions == ["job.submit", "job.submit", "job.delete", "input.delete", "input.delete"]
    assert frame.audit.verify().intact


@pytest.mark.usefixtures("_worker")
def test_a_file_that_another_job_reads_is_kept_until_that_goes_too(app, client):
    first, second = (_upload(client, own, b"shared") for own in (b"one", b"two"))
    other = _upload(client, b"one", b"shared", options='{"slow": 0.01}')
    addresses = [each.headers["Location"] for each in (first, second, other)]
    for address in addresses:
        assert _events(client, address)[-1]["data"]["state"] == "done"
    frame, caller = _frame(app), _caller(app)
    names = {hashlib.sha256(content).hexdigest() for content in (b"one", b"two", b"shared")}
    left = [names, names - {hashlib.sha256(b"one").hexdigest()}, set()]
    for address, gone, kept in zip(addresses[::2] + addresses[1:2], (0, 1, 2), left, strict=True):
        before = len(frame.audit.lines())
        result_id = client.get(address).json["result_id"]
        assert client.delete(address).status_code == 204
        assert client.get(address).status_code == 404
        with pytest.raises(NotFound):
            frame.store.result(result_id, caller)
        assert [line.action for line in frame.audit.lines()[before:]] == ["job.delete", *["input.delete"] * gone]
        rows = frame.store.inputs(caller)
        assert {row.sha256 for row in rows} == kept
        assert all(frame.store.input_path(row).is_file() for row in rows)
    assert client.get("/jobs").json == {"jobs": []}


@pytest.mark.usefixtures("_worker")
def test_attempts_at_the_same_work_are_deleted_with_it(app, client):
    cancelled = _upload(client, b"abc", options='{"slow": 599}').headers["Location"]
    client.post(f"{cancelled}/cancel")
    again = _upload(client, b"abc", options='{"slow": 599}').headers["Location"]
    assert again != cancelled
    assert client.delete(again).status_code == 204
    assert client.get(cancelled).status_code == 404
    assert _frame(app).store.inputs(_caller(app)) == []


@pytest.mark.usefixtures("_worker")
def test_cancel(client):
    address = _upload(client, b"abc", options='{"slow": 600}').headers["Location"]
    early = client.get(f"{address}/result")
    assert (early.status_code, early.json["code"]) == (409, "conflict")
    assert client.post(f"{address}/cancel").json["state"] == "cancelled"
    assert _events(client, address)[-1]["data"] == {"state": "cancelled"}
    assert client.post(f"{address}/cancel").status_code == 409


@pytest.mark.usefixtures("_worker")
def test_a_failed_job_says_why(client):
    address = _upload(client, b"abc", password="wrong").headers["Location"]
    last = _events(client, address)[-1]["data"]
    assert (last["state"], last["error"]["code"]) == ("failed", "password_needed")
    result = client.get(f"{address}/result")
    assert (result.status_code, result.json["code"]) == (409, "conflict")
    assert "The password is not the file's." in result.json["detail"]


@pytest.mark.parametrize(
    ("contents", "fields", "status", "message"),
    [
        ((), {}, 422, "There is no file in the form"),
        ((b"abc",), {"options": '{"slwo": 1}'}, 422, "The option slwo is wrong"),
        ((b"abc",), {"options": "{"}, 422, "options"),
        ((b"abc",), {"passwrod": "x"}, 422, "passwrod"),
    ],
)
def test_a_wrong_upload_is_refused_and_nothing_kept(app, client, contents, fields, status, message):
    refused = _upload(client, *contents, **fields)
    assert refused.status_code == status
    assert message in refused.json["detail"]
    assert client.get("/jobs").json == {"jobs": []}
    assert _frame(app).store.inputs(_caller(app)) == []


def test_too_large_an_upload_is_refused_before_it_is_read(client):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + bytes(1 << 20) + b"\r\n--x--"
    )
    refused = client.post("/jobs", data=body, content_type="multipart/form-data; boundary=x")
    assert (refused.status_code, refused.json["code"]) == (413, "too_large")


def test_a_full_queue_answers_429(tmp_path):
    settings = load(store={"data_dir": tmp_path}, jobs={"max_queued": 1})
    app = create_service(Vertical("counting", WORDS, WORDS, "", ""), settings, blueprints=[job_routes(TASK)])
    client = _client(app)
    assert _upload(client, b"a").status_code == 202
    full = _upload(client, b"b")
    assert (full.status_code, full.json["code"]) == (429, "too_many")
    assert 'evident_jobs{service="counting",state="queued"} 1.0' in _metrics(app)
    _frame(app).close()


def test_one_key_s_jobs_are_not_another_s(app, client):
    address = _upload(client, b"abc").headers["Location"]
    stranger = _client(app, "stranger")
    for response in (
        stranger.get(address),
        stranger.get(f"{address}/events"),
        stranger.get(f"{address}/result"),
        stranger.post(f"{address}/cancel"),
        stranger.delete(address),
    ):
        assert response.status_code == 404
    assert stranger.get("/jobs").json == {"jobs": []}
    assert client.get(address).status_code == 200


def test_deleting_ends_a_stream(app, client):
    address = _upload(client, b"abc", options='{"slow": 600}').headers["Location"]
    stream = client.get(f"{address}/events", buffered=False)
    told = iter(stream.response)
    assert b"retry" in next(told)
    assert b"queued" in next(told)
    assert client.delete(address).status_code == 204
    last = b"".join(told).decode().split("\n\n")
    assert "deleted" in last[-2]


def test_more_streams_than_may_stay_are_told_what_is_known_and_end(app, client, monkeypatch):
    monkeypatch.setattr(job_routes_module, "_STREAMS", threading.BoundedSemaphore(1))
    address = _upload(client, b"abc", options='{"slow": 601}').headers["Location"]
    staying = iter(client.get(f"{address}/events", buffered=False).response)
    assert b"retry" in next(staying)
    assert b"queued" in next(staying)
    brief = _events(client, address)
    assert brief[0]["data"] == {"state": "queued"}
    client.delete(address)
    assert b"deleted" in b"".join(staying)
    assert job_routes_module._STREAMS.acquire(blocking=False)  # given back


def _metrics(app: Flask) -> str:
    key, _ = _frame(app).keys.create("prometheus", ("metrics",))
    return app.test_client().get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
