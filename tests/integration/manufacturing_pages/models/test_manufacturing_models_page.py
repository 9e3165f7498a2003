"""The page of models: candidates compared on labelled boards, promoted and rolled back, and used by what follows."""

import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from evident_core.settings import Settings
from evident_core.web.tables import Job
from evident_manufacturing import retraining, trainings
from evident_manufacturing.inspection.evaluate.pairs import compared_on, held_back
from evident_manufacturing.inspection.perceive.detector import FOLDER, read_manifest
from evident_manufacturing.retraining import candidates_folder
from evident_manufacturing.samples import samples
from evident_manufacturing.training.comparison import Comparison
from manufacturing_candidates import CANDIDATE, SHIPPED, keep_candidate
from manufacturing_client import HTML, JSON, board_form, client_of, frame, inspection, page, text, work


@pytest.fixture
def candidate(app: Flask) -> Iterator[Path]:
    """The shipped network under another version, as a retraining leaves it; compared, and found no worse."""
    folder = keep_candidate(candidates_folder(frame(app).store.folder) / CANDIDATE)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shipped_in_use(app: Flask) -> Iterator[None]:
    yield
    shutil.rmtree(frame(app).store.folder / "manufacturing" / "models", ignore_errors=True)


def model_of(app: Flask, settings: Settings, client: FlaskClient, part_id: str) -> str:
    """Which model inspects a board that is sent now."""
    answer = client.post("/boards", data=board_form("board_5_clean", part_id=part_id), headers=JSON)
    work(app, settings, answer.json["id"])
    return inspection(client, answer.json["id"]).model


@pytest.fixture(scope="module")
def labelled(app: Flask, settings: Settings, chief: FlaskClient) -> dict[str, str]:
    """Boards with all defects confirmed: one that is trained on, one that is chosen on, and one that is compared on."""
    board, found = cv2.imread(str(samples()["board_1"].board), cv2.IMREAD_GRAYSCALE), dict[str, str]()
    for number in range(100):
        board[10:12, 10 + 4 * number : 12 + 4 * number] ^= 255  # another picture, by a speck
        data = cv2.imencode(".png", board)[1].tobytes()
        name = hashlib.sha256(data).hexdigest()[:16]
        part = ("compared" if compared_on(name) else "chosen") if held_back(name) else "trained"
        if part in found:
            continue
        form = board_form(part_id=f"labelled {part}") | {"file": (io.BytesIO(data), "board.png")}
        found[part] = chief.post("/boards", data=form, headers=JSON).json["id"]
        work(app, settings, found[part])
        for defect in inspection(chief, found[part]).defects:
            body = {"action": "confirm", "defect": defect.number}
            assert chief.post(f"/boards/{found[part]}/labels", json=body).status_code == 200
        if len(found) == 3:
            break
    assert set(found) == {"trained", "chosen", "compared"}
    return found


def states(client: FlaskClient) -> dict[str, str]:
    fused = client.get("/models/installed", headers=JSON).json["kinds"][0]["models"]
    return {each["manifest"]["version"]: each["state"] for each in fused}


def test_what_ships_is_in_use_and_shows_its_gates(chief: FlaskClient) -> None:
    assert states(chief) == {SHIPPED: "in use"}
    shown = page(chief, "/models")
    (model,) = shown.xpath(f"//article[@data-version='{SHIPPED}']")
    assert "ships with Evident" in text(model)
    for file in read_manifest(FOLDER / "fused").files:
        assert f"{file.precision} passed" in text(model)
        assert f"{file.measured['map_iou33']:.4g}" in text(model)
    assert "模型" in text(page(chief, "/models?lang=zh").xpath("//h1")[0])


@pytest.mark.usefixtures("candidate", "shipped_in_use")
def test_a_promoted_model_inspects_from_the_next_board_on_and_can_be_taken_back(
    app: Flask, settings: Settings, chief: FlaskClient
) -> None:
    assert model_of(app, settings, chief, "SN-1").startswith(f"{SHIPPED} ")
    shown = page(chief, "/models")
    assert shown.xpath("//p/@data-recommendation") == ["promote"]
    assert "-1" in text(shown.xpath("//td[contains(@class, 'better')]")[0])
    lines = len(frame(app).audit.lines())
    answer = chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=HTML)
    assert (answer.status_code, answer.location) == (303, "/models")
    assert states(chief) == {CANDIDATE: "in use", SHIPPED: "before"}
    # The same board: another model inspects anew.
    assert model_of(app, settings, chief, "SN-1").startswith(f"{CANDIDATE} ")
    again = chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=JSON)
    assert (again.status_code, "in use already" in again.json["detail"]) == (422, True)
    back = chief.post("/models/fused/rollback", data={"reason": "too many calls"}, headers=JSON)
    assert back.status_code == 200
    assert states(chief) == {SHIPPED: "in use", CANDIDATE: "candidate"}
    assert model_of(app, settings, chief, "SN-2").startswith(f"{SHIPPED} ")
    deeds = [
        (each.action, each.subject, each.details)
        for each in frame(app).audit.lines(after=lines)
        if each.action.startswith("model.")
    ]
    assert deeds == [
        ("model.promote", CANDIDATE, {"kind": "fused", "before": SHIPPED}),
        ("model.rollback", SHIPPED, {"kind": "fused", "before": CANDIDATE, "reason": "too many calls"}),
    ]
    first = text(page(chief, "/models").xpath("//section[@aria-labelledby='history']//tbody/tr")[0])
    assert "chief" in first
    assert "too many calls" in first
    assert chief.post("/models/fused/rollback", headers=JSON).status_code == 409


@pytest.mark.usefixtures("shipped_in_use")
def test_a_damaged_candidate_is_refused_and_the_one_in_use_stays(chief: FlaskClient, candidate: Path) -> None:
    (candidate / "model" / "detector.int8.onnx").write_bytes(b"no network")
    answer = chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=JSON)
    assert (answer.status_code, "not the file that its manifest names" in answer.json["detail"]) == (422, True)
    assert states(chief)[SHIPPED] == "in use"
    for version in ("../../etc", "none", ".staging"):
        assert chief.post("/models/fused/promote", data={"version": version}, headers=JSON).status_code == 404


def test_who_has_no_admin_key_may_look_and_change_nothing(client: FlaskClient, candidate: Path) -> None:
    shown = page(client, "/models")
    assert not shown.xpath("//main//form")
    assert "scope admin" in text(shown)
    for action in ("promote", "rollback", "retrain", "compare", "delete"):
        answer = client.post(f"/models/fused/{action}", data={"version": candidate.name}, headers=JSON)
        assert answer.status_code == 403


@pytest.mark.usefixtures("candidate")
def test_a_candidate_is_compared_with_the_one_in_use_on_boards_that_no_training_sees(
    app: Flask, settings: Settings, chief: FlaskClient, labelled: dict[str, str]
) -> None:
    answer = chief.post("/models/fused/compare", data={"version": CANDIDATE}, headers=HTML)
    assert page(chief, answer.location).xpath("//section[@data-job]//li[@data-stage='compare']")
    job_id = answer.location.rpartition("/")[2]
    work(app, settings, job_id)
    compared = Comparison.model_validate_json(chief.get(f"/jobs/{job_id}/result", headers=JSON).data)
    assert (compared.pairs, compared.labels) == (1, len(inspection(chief, labelled["compared"]).defects))
    assert compared.current.by_kind == compared.candidate.by_kind
    assert compared.current.map_iou33 > 0.9
    assert {each.rule for each in compared.findings} == {"too_few_labels"}
    shown = page(chief, "/models")
    assert shown.xpath("//p/@data-recommendation") == ["keep"]
    assert len(shown.xpath("//table[contains(@class, 'figures-compared')]/tbody/tr")) == 6 + len(compared.gains)
    # A comparison is a job, and no board.
    assert job_id not in {each["job_id"] for each in chief.get("/line", headers=JSON).json["last"]}


def test_without_labels_nothing_is_compared_or_trained(
    app: Flask, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "EXTRA", ())
    newcomer = client_of(app, "newcomer", "read", "write", "admin")
    for action in ("compare", "retrain"):
        answer = newcomer.post(f"/models/fused/{action}", data={"version": candidate.name}, headers=JSON)
        assert (answer.status_code, "No board is complete" in answer.json["detail"]) == (422, True)
    assert newcomer.post("/models/fused/compare", data={"version": SHIPPED}, headers=JSON).status_code == 422


def test_a_label_set_that_is_too_small_to_train_on_is_refused_on_the_form(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "EXTRA", ())
    beginner = client_of(app, "beginner", "read", "write", "admin")
    board = beginner.post("/boards", data=board_form("board_5_clean"), headers=JSON).json["id"]
    work(app, settings, board)
    beginner.post(f"/boards/{board}/labels", json={"action": "clean"})
    (form,) = page(beginner, "/models?lang=en").xpath("//details[@id='retrain-fused']")
    assert "has no pair left to" in text(form)
    assert not form.xpath(".//button")
    answer = beginner.post("/models/fused/retrain", headers=JSON)
    assert (answer.status_code, "has no pair left to" in answer.json["detail"]) == (422, True)
    assert not page(beginner, "/models").xpath("//section[@aria-labelledby='running']")


@pytest.mark.usefixtures("candidate", "labelled")
def test_the_limits_for_strangers_files_are_not_those_of_long_work(
    app: Flask, settings: Settings, chief: FlaskClient
) -> None:
    hasty = settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"wall_seconds": 0.001})})
    board = chief.post("/boards", data=board_form("board_2"), headers=JSON).json["id"]
    work(app, hasty, board)
    assert chief.get(f"/jobs/{board}", headers=JSON).json["error"]["code"] == "resource_exceeded"
    chief.post(f"/boards/{board}/delete", headers=HTML)
    body = {"action": "clean"}  # another label set, so that this is another job
    sent = chief.post("/boards", data=board_form("board_3"), headers=JSON).json["id"]
    work(app, settings, sent)
    chief.post(f"/boards/{sent}/labels", json=body)
    long = chief.post("/models/fused/compare", data={"version": CANDIDATE}, headers=JSON).json["id"]
    work(app, hasty, long)
    assert chief.get(f"/jobs/{long}", headers=JSON).json["state"] == "done"


@pytest.mark.usefixtures("candidate", "shipped_in_use")
def test_what_inspects_is_not_deleted(chief: FlaskClient, candidate: Path) -> None:
    chief.post("/models/fused/promote", data={"version": CANDIDATE}, headers=JSON)
    answer = chief.post("/models/fused/delete", data={"version": CANDIDATE}, headers=JSON)
    assert (answer.status_code, candidate.is_dir()) == (409, True)


@pytest.mark.usefixtures("labelled")
def test_a_candidate_goes_with_its_weights_and_its_label_set(
    app: Flask, chief: FlaskClient, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "EXTRA", ())
    (candidate / "weights.pt").write_bytes(b"weights")
    version, delete = {"version": CANDIDATE}, "/models/fused/delete"
    # A training of another label set than other tests ask for, which would have made the candidate.
    job_id = next(iter(chief.get("/labels", headers=JSON).json["boards"]))["job_id"]
    chief.post(f"/boards/{job_id}/labels", json={"action": "add", "kind": "spur", "bbox": [1, 1, 9, 9]}, headers=JSON)
    training = chief.post("/models/fused/retrain", headers=JSON).json
    with frame(app).store.session() as session:
        job = session.get(Job, training["id"])
        job.options = job.options | version
    zipped = frame(app).store.input_path(frame(app).store.input(training["input_ids"][0], chief_id(app)))
    assert zipped.is_file()
    assert page(chief, "/models").xpath(f"//article[@data-version='{CANDIDATE}']//form[@action='{delete}']")
    assert chief.post(delete, data=version, headers=HTML).location == "/models"
    assert not candidate.exists()
    assert not zipped.exists()
    assert chief.get(f"/jobs/{training['id']}", headers=JSON).status_code == 404
    assert states(chief) == {SHIPPED: "in use"}
    shown = page(chief, "/models?lang=en").xpath("//section[@aria-labelledby='history']//tbody/tr")
    assert f"deleted {CANDIDATE}" in text(shown[0])
    for none in (CANDIDATE, SHIPPED, "..", "."):
        assert chief.post(delete, data={"version": none}, headers=JSON).status_code == 404


def test_the_page_says_what_a_retraining_goes_on_from(
    app: Flask, chief: FlaskClient, labelled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert labelled
    monkeypatch.setattr(retraining, "EXTRA", ())
    begins = "//details[@id='retrain-fused']"
    assert f"Goes on from {SHIPPED}." in text(page(chief, "/models?lang=en").xpath(begins)[0])
    monkeypatch.setattr(trainings, "fp32_file", lambda _: None)
    assert "has no fp32 file" in text(page(chief, "/models?lang=en").xpath(begins)[0])


def test_without_the_extra_the_page_says_the_command(
    app: Flask, chief: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "EXTRA", ("torch_of_nobody",))
    assert "pip install 'evident[training]'" in text(page(chief, "/models").xpath("//details[@id='retrain-fused']")[0])
    answer = chief.post("/models/fused/retrain", headers=JSON)
    assert "pip install 'evident[training]'" in answer.json["detail"]
    assert answer.json["code"] == "missing_extra"


@pytest.mark.usefixtures("labelled")
def test_a_retraining_is_a_job_of_the_label_set_and_its_settings(
    app: Flask, chief: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "EXTRA", ())
    history = "//section[@aria-labelledby='history']"
    before = text(page(chief, "/models?lang=en").xpath(history)[0])
    answer = chief.post("/models/fused/retrain", data={"epochs": 3}, headers=JSON)
    assert answer.status_code == 202
    (sent,) = answer.json["input_ids"]
    zipped = chief.get("/labels/deeppcb.zip").data
    assert frame(app).store.input(sent, chief_id(app)).sha256 == hashlib.sha256(zipped).hexdigest()
    # A label that is taken back changes the set of now, and none that was trained on.
    board = next(iter(chief.get("/labels", headers=JSON).json["boards"]))
    undo = {"action": "undo", "undoes": board["labels"]}
    chief.post(f"/boards/{board['job_id']}/labels", json=undo, headers=JSON)
    assert chief.get("/labels/deeppcb.zip").data != zipped
    assert frame(app).store.input_path(frame(app).store.input(sent, chief_id(app))).read_bytes() == zipped
    shown = page(chief, answer.headers["Location"])
    assert [each.get("data-stage") for each in shown.xpath("//li[@data-stage]")] == list(retraining.TRAINING)
    assert page(chief, "/models").xpath("//section[@aria-labelledby='running']//a")
    assert chief.post(f"{answer.headers['Location']}/cancel", headers=HTML).status_code == 303
    # What made no model is no change.
    assert text(page(chief, "/models?lang=en").xpath(history)[0]) == before
    assert chief.post("/models/fused/retrain", data={"epochs": 0}, headers=JSON).status_code == 422


def chief_id(app: Flask) -> str:
    return next(each.id for each in frame(app).keys.list() if each.name == "chief")
