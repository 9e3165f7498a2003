"""The API of queued work, by Flask's test client, with a real worker beside it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evident_core.services import Vertical
from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.job_routes import job_routes
from evident_core.web.jobs import Task
from evident_core.web.server import EmbeddedWorker
from evident_core.web.service import create_service
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel, ConfigDict


class CountOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slow: float = 0


TASK = Task("counting", "1", "backstage_functions:count_bytes", CountOptions)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path}, web={"max_upload_mib": 1})


@pytest.fixture
def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "unit"))
    words = {"en": "Counting", "zh": "计数"}
    made = create_service(Vertical("counting", words, words, "", ""), settings, blueprints=[job_routes(TASK)])
    yield made
    _frame(made).close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A program with a key: forms of browsers need a token as well."""
    key, _ = _frame(app).keys.create("test")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def _frame(app: Flask) -> Frame:
    return app.extensions["evident"]


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


def test_upload_follow_fetch_delete(app, client, settings):
    with EmbeddedWorker(settings):
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
    frame = _frame(app)
    assert [path for path in (settings.store.data_dir / "inputs").rglob("*") if path.is_file()] == []
    actions = [line.action for line in frame.audit.lines()]
    assert actions == ["key.create", "job.submit", "job.submit", "input.delete", "input.delete"]
    assert frame.audit.verify().intact


def test_cancel(client, settings):
    with EmbeddedWorker(settings):
        address = _upload(client, b"abc", options='{"slow": 600}').headers["Location"]
        early = client.get(f"{address}/result")
        assert (early.status_code, early.json["code"]) == (409, "conflict")
        assert client.post(f"{address}/cancel").json["state"] == "cancelled"
        assert _events(client, address)[-1]["data"] == {"state": "cancelled"}
        assert client.post(f"{address}/cancel").status_code == 409


def test_a_failed_job_says_why(client, settings):
    with EmbeddedWorker(settings):
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
    caller = _frame(app).keys.list()[0].id
    assert _frame(app).store.inputs(caller) == []


def test_too_large_an_upload_is_refused_before_it_is_read(client):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + bytes(1 << 20) + b"\r\n--x--"
    )
    refused = client.post("/jobs", data=body, content_type="multipart/form-data; boundary=x")
    assert (refused.status_code, refused.json["code"]) == (413, "too_large")


def test_a_full_queue_answers_429(tmp_path, monkeypatch):
    settings = load(store={"data_dir": tmp_path}, jobs={"max_queued": 1})
    words = {"en": "Counting", "zh": "计数"}
    app = create_service(Vertical("counting", words, words, "", ""), settings, blueprints=[job_routes(TASK)])
    key, _ = _frame(app).keys.create("test")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    assert _upload(client, b"a").status_code == 202
    full = _upload(client, b"b")
    assert (full.status_code, full.json["code"]) == (429, "too_many")
    assert 'evident_jobs{service="counting",state="queued"} 1.0' in _metrics(app)
    _frame(app).close()


def test_one_key_s_jobs_are_not_another_s(app, client):
    address = _upload(client, b"abc").headers["Location"]
    other, _ = _frame(app).keys.create("other")
    stranger = app.test_client()
    stranger.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {other}"
    for response in (
        stranger.get(address),
        stranger.get(f"{address}/events"),
        stranger.get(f"{address}/result"),
        stranger.post(f"{address}/cancel"),
        stranger.delete(address),
    ):
        assert response.status_code == 404
    assert stranger.get("/jobs").json == {"jobs": []}
    assert client.get(address).json["state"] == "queued"


def test_deleting_ends_a_stream(app, client):
    address = _upload(client, b"abc").headers["Location"]
    stream = client.get(f"{address}/events", buffered=False)
    told = iter(stream.response)
    assert b"retry" in next(told)
    assert b"queued" in next(told)
    assert client.delete(address).status_code == 204
    assert b"deleted" in next(told)
    assert list(told) == []


def _metrics(app: Flask) -> str:
    key, _ = _frame(app).keys.create("prometheus", ("metrics",))
    return app.test_client().get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
