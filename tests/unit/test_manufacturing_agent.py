"""The parts of the agent: sources, watchdog, metrics, start."""

import gc
import itertools
import math
import os
import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from evident_core.errors import Conflict, NotFound
from evident_manufacturing import commands
from evident_manufacturing.agent import starting
from evident_manufacturing.agent.camera_source import CameraSource
from evident_manufacturing.agent.metrics import BUCKETS, Metrics, quantile
from evident_manufacturing.agent.sources import FolderSource, Taken, Unusable
from evident_manufacturing.agent.watchdog import EXIT_CODE, Watchdog
from evident_manufacturing.delivery.events import ALARM_CODES
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.inspection.schema import Part

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
        metrics.observe("inspect", milliseconds / 1000)
    for q in (0.5, 0.9, 0.99):
        assert metrics.quantile(q) == pytest.approx(q, rel=0.05)
        told = {"step": "inspect", "quantile": str(q)}
        assert metrics.registry.get_sample_value("evident_step_quantile_seconds", told) == (
            pytest.approx(metrics.quantile(q)) if q != 0.9 else None
        )
    assert metrics.registry.get_sample_value("evident_outbox_waiting") == 3
    alarms = {code: metrics.registry.get_sample_value("evident_alarm", {"code": code}) for code in ALARM_CODES}
    assert alarms == {code: float(code in raised) for code in ALARM_CODES}
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


def test_the_agent_does_not_import_torch() -> None:
    code = (
        "import sys, evident_manufacturing.agent.agent, evident_manufacturing.delivery.mqtt, "
        "evident_manufacturing.delivery.sparkplug, evident_manufacturing.delivery.opcua, "
        "evident_manufacturing.delivery.rest; print({'torch', 'ultralytics', 'flask'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout.strip() == "set()"


def test_an_agent_starts_without_what_it_does_not_use() -> None:
    code = (
        "import sys; from evident_manufacturing.commands import manufacturing; "
        "assert manufacturing.get_command(None, 'agent').name == 'agent'; "
        "print({'httpx', 'jinja2', 'paho', 'prometheus_client', 'rich', 'PIL.TiffImagePlugin', "
        "'evident_manufacturing.cli', 'evident_manufacturing.inspection.assess.reading'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout.strip() == "set()"


def test_the_start_turns_the_garbage_collector_on_again_and_keeps_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    on = []

    def fail() -> None:
        with starting():
            on.append(gc.isenabled())
            raise ModuleNotFoundError

    with pytest.raises(ModuleNotFoundError):
        fail()
    gc.unfreeze()
    assert on == [False]
    assert gc.isenabled()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_the_group_of_commands_knows_the_agent_beside_all_others() -> None:
    told = CliRunner().invoke(commands.manufacturing, ["--help"])
    assert told.exit_code == 0, told.output
    for name in ("agent", "evaluate", "inspect", "models", "retrain", "serve", "similar", "train", "watch"):
        assert re.search(rf"^  {name} ", told.output, re.MULTILINE), name
    refused = CliRunner().invoke(commands.manufacturing, ["agents"])
    assert refused.exit_code == 2
