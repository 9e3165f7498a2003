"""The live line: what it counts, shows and warns of; and the API of the pages as a whole."""

import io
import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from evident_core.settings import Settings
from evident_manufacturing import desk
from evident_manufacturing.samples import samples
from manufacturing_client import HTML, JSON, Inspect, inspection, page, text, work


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
    for number in range(5):
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
