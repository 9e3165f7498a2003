"""What tests of the inspection pages share: clients with keys, forms, real workers, and pages read as HTML."""

import io
import re
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from lxml import html

from evident_core.settings import Settings
from evident_core.web.frame import Frame
from evident_core.web.worker import Worker
from evident_manufacturing import desk
from evident_manufacturing.inspection.schema import Inspection
from evident_manufacturing.samples import samples

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
Inspect = Callable[..., str]


def frame(app: Flask) -> Frame:
    """What the app's requests reach."""
    return app.extensions["evident"]


def client_of(app: Flask, name: str, *scopes: str) -> FlaskClient:
    """A program with a key of its own: what it uploads no other test sees."""
    key, _ = frame(app).keys.create(name, scopes or ("read", "write"))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def work(app: Flask, settings: Settings, job_id: str) -> None:
    """Do a job, as a worker does it."""
    Worker(frame(app).jobs, settings, threading.Event()).look(job_id)


def board_form(name: str = "board_1", *, template: bool = True, **fields: Any) -> dict[str, Any]:
    """The form of a sample board."""
    sample = samples()[name]
    files: dict[str, Any] = {"file": (io.BytesIO(sample.board.read_bytes()), sample.board.name)}
    if template:
        files["template"] = (io.BytesIO(sample.template.read_bytes()), sample.template.name)
    return files | fields


def certificate() -> tuple[io.BytesIO, str]:
    """The sample boards' certificate, as a file of a form."""
    return io.BytesIO(samples()["board_1"].board.with_name("calibration.json").read_bytes()), "calibration.json"


def document(text: str | None = None) -> tuple[io.BytesIO, str]:
    """A specification, as a file of a form."""
    return io.BytesIO((text or desk.shipped_specification()).encode()), "specification.yaml"


def page(client: FlaskClient, url: str) -> html.HtmlElement:
    """A page that is there, read."""
    answer = client.get(url, headers=HTML)
    assert answer.status_code == 200, answer.text
    return html.fromstring(answer.text)


def text(element: html.HtmlElement) -> str:
    """What a person reads of an element."""
    return re.sub(r"\s+", " ", element.text_content()).strip()


def inspection(client: FlaskClient, job_id: str) -> Inspection:
    """What is known of a board."""
    return Inspection.model_validate_json(client.get(f"/boards/{job_id}/files/json").data)


def boards_of(client: FlaskClient) -> dict[str, str]:
    """The last boards: part id -> job id."""
    return {each["part_id"]: each["job_id"] for each in client.get("/line", headers=JSON).json["last"]}
