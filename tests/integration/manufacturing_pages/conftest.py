"""One app for all tests of the inspection pages; each test has a key of its own, and sees nothing of the others."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings, load
from evident_manufacturing.app import create_app
from manufacturing_client import HTML, JSON, Inspect, board_form, client_of, frame, work


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")})


@pytest.fixture(scope="session")
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    frame(made).close()


@pytest.fixture
def client(app: Flask, request: pytest.FixtureRequest) -> FlaskClient:
    return client_of(app, request.node.originalname)


@pytest.fixture
def inspect(app: Flask, settings: Settings, client: FlaskClient) -> Inspect:
    """Send a board and inspect it to the end; returns the job's id."""

    def send(name: str = "board_1", **fields: object) -> str:
        answer = client.post("/boards", data=board_form(name, **fields), headers=JSON)
        assert answer.status_code == 202, answer.text
        work(app, settings, answer.json["id"])
        return str(answer.json["id"])

    return send


@pytest.fixture(scope="session")
def engineer(app: Flask) -> FlaskClient:
    return client_of(app, "engineer")


@pytest.fixture(scope="session")
def line(app: Flask, settings: Settings, engineer: FlaskClient) -> dict[str, str]:
    """All sample boards, inspected: part id -> job id."""
    assert engineer.post("/samples", headers=HTML).status_code == 303
    jobs = [job["id"] for job in engineer.get("/jobs", headers=JSON).json["jobs"]]
    for job_id in jobs:
        work(app, settings, job_id)
    last = engineer.get("/line", headers=JSON).json["last"]
    assert {each["state"] for each in last} == {"done"}
    return {each["part_id"]: each["job_id"] for each in last}
