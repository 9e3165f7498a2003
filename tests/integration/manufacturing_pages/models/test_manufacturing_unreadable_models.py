"""Candidates that cannot be read: the page is there, says which and why, and deletes one after a question."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.web.tables import Job
from evident_manufacturing.retraining import RETRAIN, candidates_folder
from manufacturing_candidates import CANDIDATE, SHIPPED, keep_candidate
from manufacturing_client import HTML, JSON, client_of, frame, page, text

DELETE = "/models/unreadable/delete"


@pytest.fixture
def folder(app: Flask) -> Iterator[Path]:
    """Where candidates are; empty before and after."""
    made = candidates_folder(frame(app).store.folder)
    made.mkdir(parents=True)
    yield made
    shutil.rmtree(made)
    shutil.rmtree(frame(app).store.folder / "manufacturing" / "models", ignore_errors=True)


def installed(client: FlaskClient) -> tuple[dict[str, str], dict[str, str]]:
    """State of each fused model by version, and the reason of each that cannot be read."""
    answer = client.get("/models/installed", headers=JSON).json
    models = answer["kinds"][0]["models"]
    return {each["manifest"]["version"]: each["state"] for each in models}, answer["unreadable"]


def damaged(folder: Path, version: str = "fused-older-1") -> Path:
    """A candidate of whose note the better part is missing, with its weights."""
    made = folder / version
    made.mkdir()
    (made / "candidate.json").write_text(json.dumps({"kind": "fused", "version": version}))
    (made / "weights.pt").write_bytes(b"weights")
    return made


def test_what_cannot_be_read_is_left_out_and_the_page_is_there(app: Flask, chief: FlaskClient, folder: Path) -> None:
    keep_candidate(folder / CANDIDATE)
    chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=JSON)
    damaged(folder)
    store = frame(app).store.folder / "manufacturing" / "models" / "fused"
    pointer = json.loads((store / "current.json").read_bytes())
    (store / "current.json").write_text(json.dumps(pointer | {"previous": "gone-1"}))
    assert installed(chief)[0] == {CANDIDATE: "in use", SHIPPED: "candidate"}
    page(chief, "/models")


def test_each_of_them_is_shown_with_the_reason(chief: FlaskClient, folder: Path) -> None:
    damaged(folder)
    (folder / "fused-torn-1").mkdir()
    (folder / "fused-torn-1" / "candidate.json").write_bytes(b'{"kind": "fu')
    shutil.copytree(keep_candidate(folder / CANDIDATE), folder / "fused-copy-1")
    (keep_candidate(folder / "fused-bare-1") / "model" / "manifest.json").unlink()
    (folder / "fused-running-1").mkdir()  # a training has no note before its end
    states, unreadable = installed(chief)
    assert states == {SHIPPED: "in use", CANDIDATE: "candidate"}
    for version, said in {
        "fused-older-1": "candidate.json cannot be read: labels: Field required",
        "fused-torn-1": "candidate.json cannot be read: Invalid JSON",
        "fused-copy-1": f"says that it is of '{CANDIDATE}'",
        "fused-bare-1": "manifest",
    }.items():
        assert said in unreadable.pop(version)
    assert unreadable == {}
    shown = page(chief, "/models?lang=en").xpath("//section[@aria-labelledby='unreadable']")[0]
    assert len(shown.xpath(".//article")) == 4
    assert "labels: Field required" in text(shown)


def test_one_is_deleted_after_a_question_with_its_training(app: Flask, chief: FlaskClient, folder: Path) -> None:
    older = damaged(folder)
    keep_candidate(folder / CANDIDATE)
    owner = next(each.id for each in frame(app).keys.list() if each.name == "chief")
    store = frame(app).store
    sent = store.put_input(b"a label set", name="labels.zip", owner=owner, media_type="application/zip")
    options = {"kind": "fused", "version": older.name, "labels": "a" * 64, "epochs": 1, "device": "cpu"}
    job = frame(app).jobs.submit(RETRAIN, [sent.id], owner=owner, options=options)
    zipped = store.input_path(sent)
    (question,) = page(chief, "/models?lang=en").xpath(
        f"//article[@data-unreadable='{older.name}']//details[@class='confirm']"
    )
    assert "go for good" in text(question)
    (form,) = question.xpath(f".//form[@action='{DELETE}']")
    values = {each.get("name"): each.get("value") for each in form.xpath(".//input")}

    looker = client_of(app, "looker", "read", "write")
    assert not page(looker, "/models").xpath("//main//form")
    assert looker.post(DELETE, data=values, headers=JSON).status_code == 403
    assert older.is_dir()

    assert chief.post(DELETE, data=values, headers=HTML).location == "/models"
    assert not older.exists()
    assert not zipped.exists()
    with store.reading() as session:
        assert session.get(Job, job.id) is None
    shown = page(chief, "/models?lang=en")
    assert not shown.xpath("//section[@aria-labelledby='unreadable']")
    assert f"deleted {older.name}" in text(shown.xpath("//section[@aria-labelledby='history']//tbody/tr")[0])
    # What can be read goes by its kind, after the same question; and what is not there, or in use, does not go.
    assert shown.xpath(f"//article[@data-version='{CANDIDATE}']//details[@class='confirm']//form/@action") == [
        "/models/fused/delete"
    ]
    for version in (CANDIDATE, SHIPPED, older.name, "..", "."):
        assert chief.post(DELETE, data={"version": version}, headers=JSON).status_code == 404
    assert (folder / CANDIDATE).is_dir()


def test_the_note_of_what_inspects_may_be_damaged_and_its_folder_stays(chief: FlaskClient, folder: Path) -> None:
    made = keep_candidate(folder / CANDIDATE)
    chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=JSON)
    (made / "candidate.json").write_bytes(b"")
    states, unreadable = installed(chief)
    assert (states[CANDIDATE], list(unreadable)) == ("in use", [CANDIDATE])
    answer = chief.post(DELETE, data={"version": CANDIDATE}, headers=JSON)
    assert (answer.status_code, made.is_dir()) == (409, True)
