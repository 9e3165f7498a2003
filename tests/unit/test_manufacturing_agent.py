"""The parts of the agent: sources, watchdog, metrics, and the models that are changed while the line runs."""

import hashlib
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from evident_core.errors import Conflict, InvalidInput, ModelNotReady, NotFound
from evident_core.evidence import InputRef, Report
from evident_manufacturing.agent.alarms import CODES
from evident_manufacturing.agent.camera_source import CameraSource
from evident_manufacturing.agent.metrics import BUCKETS, Metrics, quantile
from evident_manufacturing.agent.models import Inspect, ModelStore, check, read_pointer
from evident_manufacturing.agent.sources import FolderSource, Taken, Unusable
from evident_manufacturing.agent.watchdog import EXIT_CODE, Watchdog
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.inspection.perceive.detector import FOLDER, Manifest, ModelFile, name_beside, write_manifest
from evident_manufacturing.inspection.schema import Decision, Inspection, Part, Verdict

PART = Part(part_id="B-1")


def inspection(data: bytes, part: Part, model: str = "m") -> Inspection:
    return Inspection(
        part=part,
        input=InputRef(sha256=hashlib.sha256(data).hexdigest(), name="image"),
        template=None,
        width=1,
        height=1,
        alignment=None,
        calibration=None,
        defects=(),
        facts=(),
        claims=(),
        verdict=Verdict(decision=Decision.ACCEPT),
        report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
        model=model,
        version="1",
    )


# --- the folder -----------------------------------------------------------------------------------------------------


def given(source: FolderSource) -> Taken:
    taken = source.next()
    assert taken is not None
    return taken


def test_a_file_is_taken_once_nobody_writes_to_it(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, product="demo", camera="top")
    image = tmp_path / "板-1.PNG"
    image.write_bytes(b"half")
    assert source.next() is None
    image.write_bytes(b"half and half")
    assert source.next() is None
    taken = given(source)
    assert (taken.data, taken.part) == (b"half and half", Part(part_id="板-1", product="demo", camera="top"))
    source.done(taken)
    assert source.next() is source.next() is None
    assert (tmp_path / "done" / "板-1.PNG").read_bytes() == b"half and half"


def test_what_was_not_said_to_be_safe_is_given_again(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    for _ in range(2):
        source = FolderSource(tmp_path)
        assert source.next() is None
        assert given(source).part.part_id == "a"
    assert given(source).part.part_id == "a"


def test_files_come_by_name_with_the_part_that_lies_beside_them(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "link.png").symlink_to("/etc/passwd")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "b.json").write_bytes('\ufeff{"part_id": "SN 7/9", "lot": "L"}'.encode())
    source = FolderSource(tmp_path)
    source.next()
    first, second = given(source), given(source)
    assert (first.part.part_id, second.part.part_id, second.part.lot) == ("a", "SN 7/9", "L")
    source.done(second)
    assert (tmp_path / "done" / "b.json").is_file()
    source.done(first)
    assert source.next() is None


def test_a_name_that_comes_twice_hides_neither_file(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    for content in (b"first", b"second"):
        (tmp_path / "a.png").write_bytes(content)
        source.next()
        source.done(given(source))
    assert {(tmp_path / "done" / name).read_bytes() for name in ("a.png", "a.2.png")} == {b"first", b"second"}


@pytest.mark.parametrize(
    ("beside", "size", "said"),
    [
        ("{not json", 1, "a.json cannot be read"),
        ("[1]", 1, "a.json cannot be read"),
        ("", 100, "100 bytes; at most 10"),
    ],
)
def test_what_cannot_be_used_is_named_and_put_aside_with_the_reason(
    tmp_path: Path, beside: str, size: int, said: str
) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * size)
    if beside:
        (tmp_path / "a.json").write_text(beside)
    source = FolderSource(tmp_path, max_bytes=10)
    source.next()
    with pytest.raises(Unusable, match=said) as caught:
        source.next()
    source.failed(caught.value.token, str(caught.value))
    assert said in (tmp_path / "failed" / "a.png.txt").read_text()
    assert source.next() is source.next() is None


def test_a_part_id_that_is_too_long_is_unusable(tmp_path: Path) -> None:
    (tmp_path / f"{'a' * 200}.png").write_bytes(b"1")
    source = FolderSource(tmp_path)
    source.next()
    with pytest.raises(Unusable, match="at most 128 characters"):
        source.next()


def test_a_folder_that_goes_away_is_said_and_comes_back(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    source = FolderSource(images)
    assert (source.next(), source.problem) == (None, "")
    images.rename(tmp_path / "away")
    assert source.next() is None
    assert "cannot be read" in source.problem
    (tmp_path / "away").rename(images)
    assert (source.next(), source.problem) == (None, "")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no folder .*absent"):
        FolderSource(tmp_path / "absent")


# --- the camera -----------------------------------------------------------------------------------------------------


def test_each_frame_is_a_part_of_its_own_also_after_a_restart(tmp_path: Path) -> None:
    film = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(film, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for shade in (0, 80, 160, 240):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    seen = []
    triggers = iter([False, True])
    for _ in range(2):
        with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
            source = CameraSource(
                film, number=partial(outbox.count, "camera top"), trigger=lambda: next(triggers, True), camera="top"
            )
            if not seen:
                assert source.next() is None
            while (taken := source.next()) is not None:
                assert source.next() is taken
                frame = cv2.imdecode(np.frombuffer(taken.data, np.uint8), cv2.IMREAD_COLOR)
                assert frame is not None
                seen.append((taken.part.part_id, round(float(frame.mean()) / 80)))
                source.done(taken)
            source.close()
    assert [part for part, _ in seen] == [f"top-{n:08d}" for n in range(8)]
    assert [shade for _, shade in seen] == [0, 1, 2, 3] * 2


def test_a_camera_that_is_not_there_gives_nothing_and_is_not_asked_all_the_time(tmp_path: Path) -> None:
    source = CameraSource(str(tmp_path / "absent.avi"), number=lambda: 0, retry_seconds=60)
    assert source.next() is None
    (tmp_path / "absent.avi").write_bytes(b"")
    assert source.next() is None
    source.close()


# --- the watchdog ---------------------------------------------------------------------------------------------------


def test_silence_is_noticed_and_a_beat_puts_it_off() -> None:
    silences: list[float] = []
    with Watchdog(0.4, silences.append) as watchdog:
        for _ in range(8):
            time.sleep(0.1)
            watchdog.beat()
        assert silences == []
        end = time.monotonic() + 10
        while not silences and time.monotonic() < end:
            time.sleep(0.05)
    assert silences[0] > 0.4


def test_a_process_that_hangs_is_ended_and_says_where() -> None:
    code = "import time; from evident_manufacturing.agent.watchdog import Watchdog\nwith Watchdog(0.3): time.sleep(60)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=50, check=False)
    assert ended.returncode == EXIT_CODE
    assert b"time.sleep" in ended.stderr or b"<string>" in ended.stderr


# --- metrics --------------------------------------------------------------------------------------------------------


def test_quantiles_come_from_the_histogram() -> None:
    raised = {"half_scan": "why"}
    metrics = Metrics(lambda: 3, lambda: 1, raised)
    assert math.isnan(metrics.quantile(0.5))
    for milliseconds in range(1, 1001):
        metrics.seconds.labels("inspect").observe(milliseconds / 1000)
    for q in (0.5, 0.9, 0.99):
        assert metrics.quantile(q) == pytest.approx(q, rel=0.05)
        told = {"step": "inspect", "quantile": str(q)}
        assert metrics.registry.get_sample_value("evident_step_quantile_seconds", told) == (
            pytest.approx(metrics.quantile(q)) if q != 0.9 else None
        )
    assert metrics.registry.get_sample_value("evident_outbox_waiting") == 3
    alarms = {code: metrics.registry.get_sample_value("evident_alarm", {"code": code}) for code in CODES}
    assert alarms == {code: float(code in raised) for code in CODES}
    metrics.use_model("7")
    metrics.use_model("8")
    assert metrics.registry.get_sample_value("evident_model_info", {"version": "7"}) is None
    assert metrics.registry.get_sample_value("evident_model_info", {"version": "8"}) == 1


def test_a_port_of_metrics_that_is_taken_is_told_in_one_sentence() -> None:
    metrics = Metrics(lambda: 0, lambda: 0, {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"127.0.0.1:{port} cannot be listened on for /metrics"):
            metrics.serve(port)


def test_a_quantile_beyond_the_last_bucket_is_its_lower_bound() -> None:
    assert quantile(0.99, {1.0: 1.0, math.inf: 10.0}) == 1.0
    assert quantile(0.0, {1.0: 0.0, 2.0: 4.0, math.inf: 4.0}) == 1.0
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert BUCKETS[0] == 0.001
    within = [edge for edge in BUCKETS if edge <= 6.1]
    assert within[-1] > 5
    assert max(upper / lower for lower, upper in itertools.pairwise(within)) < 1.27


# --- models ---------------------------------------------------------------------------------------------------------


def make_model(folder: Path, version: str, content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    file = ModelFile(name="model.onnx", sha256=hashlib.sha256(content).hexdigest(), precision="fp32", passed=True)
    write_manifest(folder, Manifest(version=version, kinds=("short",), files=(file,)))
    return folder


def load(folder: Path) -> Inspect:
    """A model whose file says how it behaves: after so many good inspections it fails."""
    content = (folder / "model.onnx").read_bytes().decode()
    if content == "broken":
        raise ValueError("no network")
    good = iter(range(int(content.removeprefix("good for ")))) if content.startswith("good for") else None

    def inspect(data: bytes, part: Part) -> Inspection:
        if data == b"not an image":
            raise InvalidInput("That is no image.")
        if good is not None and next(good, None) is None:
            raise RuntimeError("out of range")
        return inspection(data, part, model=content)

    return inspect


def self_test(inspect: Inspect) -> None:
    if inspect(b"known board", PART).verdict.decision is not Decision.ACCEPT:
        raise ValueError("the known board was not accepted")


@pytest.mark.parametrize("kind", ["fused", "plain"])
def test_what_ships_is_what_its_manifest_says_to_the_last_file(kind: str) -> None:
    manifest = check(FOLDER / kind)
    there = {path.name for path in (FOLDER / kind).iterdir()} - {"manifest.json"}
    assert {file.name for file in manifest.files if file.passed} | set(manifest.beside) <= there
    assert there <= {file.name for file in manifest.files} | set(manifest.beside)
    assert set(manifest.beside) == ({"arbiter.json"} if kind == "fused" else set())


def test_a_network_that_failed_its_gates_may_be_missing_and_must_not_be_another(tmp_path: Path) -> None:
    source = make_model(tmp_path / "model", "1")
    failed = ModelFile(name="failed.onnx", sha256="0" * 64, precision="int8", passed=False)
    manifest = check(source)
    write_manifest(source, manifest.model_copy(update={"files": (failed, *manifest.files)}))
    assert check(source).files[0] == failed
    (source / "failed.onnx").write_bytes(b"another")
    with pytest.raises(InvalidInput, match=r"failed\.onnx is not the file"):
        check(source)


def test_what_lies_beside_the_networks_has_its_hash_too(tmp_path: Path) -> None:
    source = make_model(tmp_path / "model", "1")
    (source / "arbiter.json").write_text("{}")
    with pytest.raises(InvalidInput, match="not in the manifest"):
        check(source)
    name_beside(source, "arbiter.json")
    check(source)
    (source / "arbiter.json").write_text("{ }")
    with pytest.raises(InvalidInput, match="is not the file that its manifest names"):
        check(source)
    (source / "arbiter.json").unlink()
    with pytest.raises(ModelNotReady, match="is missing"):
        check(source)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", load, self_test)


def test_a_new_model_takes_over_and_the_old_one_is_kept(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelNotReady, match="none is installed"):
        store.start()
    for version in ("1", "2", "3"):
        store.install(make_model(tmp_path / version, version, f"v{version}".encode()))
    assert store(b"x", PART).model == "v3"
    assert (store.pointer.current, store.pointer.previous) == ("3", "2")
    assert sorted(each.name for each in store.folder.iterdir()) == ["2", "3", "current.json"]
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert (again(b"x", PART).model, again.notice) == ("v3", "")
    assert again.rollback() == "2"
    assert again(b"x", PART).model == "v2"
    with pytest.raises(ModelNotReady, match="no model before 2"):
        again.rollback()


def tamper(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"other")


def lose(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def smuggle(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"\x80\x04")


def link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


def climb(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"x")
    file = ModelFile(name="../outside", sha256=hashlib.sha256(b"x").hexdigest(), precision="fp32", passed=True)
    write_manifest(folder, Manifest(version="2", kinds=(), files=(file,)))


def empty(folder: Path) -> None:
    write_manifest(folder, Manifest(version="2", kinds=(), files=()))


def rename(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": "../2"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (tamper, "is not the file that its manifest names"),
        (lose, "is missing"),
        (smuggle, "'extra.pkl' .* is not in the manifest"),
        (link, "which is not a file in it"),
        (climb, "which is not a file in it"),
        (empty, "names no file"),
        (rename, "cannot be the name of a folder"),
    ],
)
def test_a_model_that_is_not_its_manifest_is_refused_and_the_old_one_stays(
    store: ModelStore, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    source = make_model(tmp_path / "b", "2", b"v2")
    spoil(source)
    with pytest.raises((InvalidInput, ModelNotReady), match=said):
        store.install(source)
    assert store(b"x", PART).model == "v1"
    assert sorted(each.name for each in store.folder.iterdir()) == ["1", "current.json"]


@pytest.mark.parametrize(("content", "said"), [(b"broken", "no network"), (b"good for 0", "out of range")])
def test_a_model_that_fails_its_self_test_is_refused_and_the_old_one_stays(
    store: ModelStore, tmp_path: Path, content: bytes, said: str
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    with pytest.raises(InvalidInput, match=f"failed its self-test .*{said}.*; 1 stays in use"):
        store.install(make_model(tmp_path / "b", "2", content))
    assert store(b"x", PART).model == "v1"
    assert sorted(each.name for each in store.folder.iterdir()) == ["1", "current.json"]


def test_a_new_model_that_fails_on_the_line_is_taken_back_and_the_part_inspected(
    store: ModelStore, tmp_path: Path
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"good for 2"))
    assert store(b"x", PART).model == "good for 2"
    for _ in range(2):
        with pytest.raises(RuntimeError):
            store(b"x", PART)
    assert store(b"x", PART).model == "v1"
    assert "model 2 was taken back: 3 failures, the last: out of range" in store.notice


def test_a_bad_image_is_not_the_models_fault(store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"v2"))
    for _ in range(10):
        with pytest.raises(InvalidInput, match="no image"):
            store(b"not an image", PART)
    assert store.pointer.current == "2"


def test_a_model_that_has_proved_itself_is_not_taken_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models", load, self_test, probation=4)
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"good for 5"))
    for _ in range(4):
        store(b"x", PART)
    for _ in range(5):
        with pytest.raises(RuntimeError):
            store(b"x", PART)
    assert store.pointer.current == "2"


def test_a_model_damaged_on_disk_gives_way_to_the_one_before_at_the_next_start(
    store: ModelStore, tmp_path: Path
) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    store.install(make_model(tmp_path / "b", "2", b"v2"))
    (store.folder / "2" / "model.onnx").write_bytes(b"")
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert again(b"x", PART).model == "v1"
    assert "Model 1 is in use, because the newer one does not open" in again.notice


def test_a_stop_in_the_middle_of_a_change_leaves_the_old_model(store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    make_model(store.folder / ".staging", "2", b"half")
    make_model(store.folder / "2", "2", b"v2")
    (store.folder / "current.json.new").write_text("{")
    again = ModelStore(store.folder, load, self_test)
    again.start()
    assert again(b"x", PART).model == "v1"
    again.install(make_model(tmp_path / "b", "2", b"v2"))
    assert again(b"x", PART).model == "v2"


def test_of_two_that_change_a_store_the_second_waits(store: ModelStore, tmp_path: Path) -> None:
    first, second = (make_model(tmp_path / version, version) for version in "12")
    other, done = ModelStore(store.folder, load, self_test), list[str]()  # as another process has it
    waiting = threading.Thread(target=lambda: done.append(other.install(second)))
    with store.changing():
        waiting.start()
        waiting.join(0.2)
        done.append(store.install(first))
    waiting.join(10)
    assert done == ["1", "2"]
    # What was changed meanwhile is not taken back by who does not know of it.
    with pytest.raises(ModelNotReady, match="Model 2 is in use meanwhile"):
        store.rollback()
    assert read_pointer(store.folder).current == "2"


def test_the_version_in_use_is_not_written_over(store: ModelStore, tmp_path: Path) -> None:
    store.install(make_model(tmp_path / "a", "1", b"v1"))
    with pytest.raises(InvalidInput, match="Model 1 is in use already"):
        store.install(make_model(tmp_path / "b", "1", b"other"))
    assert store(b"x", PART).model == "v1"


def test_the_agent_does_not_import_torch() -> None:
    code = (
        "import sys, evident_manufacturing.agent.agent, evident_manufacturing.delivery.mqtt, "
        "evident_manufacturing.delivery.sparkplug, evident_manufacturing.delivery.opcua, "
        "evident_manufacturing.delivery.rest; print({'torch', 'ultralytics', 'flask'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout.strip() == "set()"
