"""``evident manufacturing agent`` as it is started beside a line: real boards, real models, and a MES that counts."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

from evident_core.errors import InvalidInput, ModelNotReady  # noqa: E402
from evident_core.settings import load  # noqa: E402
from evident_manufacturing.agent.agent import Agent  # noqa: E402
from evident_manufacturing.agent.assemble import open_agent  # noqa: E402
from evident_manufacturing.agent.installed import InstalledModels, bundle, open_installed  # noqa: E402
from evident_manufacturing.cli import manufacturing  # noqa: E402
from evident_manufacturing.delivery.outages import free_port  # noqa: E402
from evident_manufacturing.delivery.simulator import Faults, Simulator  # noqa: E402
from evident_manufacturing.inspection.ingest import read  # noqa: E402
from evident_manufacturing.inspection.perceive.detector import FOLDER, Detector, read_manifest  # noqa: E402
from evident_manufacturing.inspection.pipeline import Station  # noqa: E402
from evident_manufacturing.inspection.schema import Inspection, Part  # noqa: E402
from evident_manufacturing.settings import AgentSection, ManufacturingSettings  # noqa: E402

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data" / "manufacturing"
BOARDS = sorted(SAMPLES.glob("board_*_test.png"))
CARD = ROOT / "verticals" / "evident_manufacturing" / "README.md"
EVIDENT = (sys.executable, "-c", "from evident_core.cli import main; main()", "manufacturing")


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIDENT_STORE__DATA_DIR", str(tmp_path / "data"))
    for name in [each for each in os.environ if each.startswith("EVIDENT_MANUFACTURING")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "板"
    images.mkdir()
    return images


@pytest.fixture
def mes() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


def evident(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EVIDENT, *arguments], capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The agent as a process; at the end it is asked to stop, and must end well."""
    process = subprocess.Popen([*EVIDENT, "agent", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.communicate()


def until(done: Callable[[], object], process: subprocess.Popen[str], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def drop(image: Path, folder: Path, name: str) -> None:
    """As a camera's software does: written elsewhere, then moved in whole."""
    partial = folder / f".{name}.partial"
    shutil.copyfile(image, partial)
    partial.rename(folder / name)


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""  # it is still starting


def test_each_sample_board_is_counted_once_whatever_the_mes_and_a_restart_do(folder: Path, mes: Simulator) -> None:
    for board in BOARDS[:4]:
        drop(board, folder, board.name)
    mes.fail(Faults(times=2, cut="after"))  # counted, and the agent does not learn it
    arguments = ("--station", "aoi-1", "--source", str(folder), "--sink", mes.url)
    with running(*arguments) as agent:
        until(lambda: mes.count.booked == 4 and len(list((folder / "done").iterdir())) == 4, agent)
    for board in [*BOARDS[4:], BOARDS[0]]:  # the last one comes a second time
        drop(board, folder, board.name)
    with running(*arguments) as agent:
        until(lambda: len(list((folder / "done").iterdir())) == 7 and mes.count.booked == 6, agent)
    assert len(BOARDS) == 6
    assert mes.ledger.parts() == {board.stem for board in BOARDS}
    assert (mes.count.booked, mes.count.doubled, mes.count.out_of_order, mes.count.unreadable) == (6, 0, 0, 0)
    assert not (folder / "failed").exists()


def test_with_a_template_a_board_is_judged_in_mm_and_one_of_another_product_is_put_aside(
    folder: Path, mes: Simulator, tmp_path: Path
) -> None:
    drop(SAMPLES / "board_1_test.png", folder, "flawed.png")
    drop(SAMPLES / "board_1_template.png", folder, "sound.png")
    drop(SAMPLES / "board_2_test.png", folder, "foreign.png")
    port = free_port()
    (tmp_path / "evident.toml").write_text(
        f"[manufacturing.agent]\nstation = 'aoi-2'\nsource = {str(folder)!r}\nmetrics_port = {port}\n"
        f"template = {str(SAMPLES / 'board_1_template.png')!r}\ncalibration = {str(SAMPLES / 'calibration.json')!r}\n"
    )
    with running("--sink", mes.url) as agent:
        until(lambda: mes.count.booked == 2 and (folder / "failed" / "foreign.png.txt").exists(), agent)
        until(lambda: "evident_delivered_events_total 4.0" in metrics(port), agent)
        told = metrics(port)
    assert 'evident_parts_total{decision="accept"} 1.0' in told
    assert 'evident_parts_total{decision="reject"} 1.0' in told
    assert f'evident_model_info{{version="{read_manifest(FOLDER / "fused").version}"}} 1.0' in told
    assert mes.ledger.parts() == {"flawed", "sound"}
    assert mes.ledger.alarms == [("image_refused", "raised"), ("image_refused", "cleared")]
    assert (folder / "failed" / "foreign.png.txt").read_text().strip()


def test_without_a_sink_events_wait_and_go_out_later(folder: Path, mes: Simulator) -> None:
    drop(BOARDS[0], folder, "one.png")
    arguments = ("--station", "aoi-3", "--source", str(folder))
    with running(*arguments) as agent:
        until(lambda: (folder / "done" / "one.png").exists(), agent)
    assert mes.count.received == 0
    with running(*arguments, "--sink", mes.url) as agent:
        until(lambda: mes.count.booked == 1, agent)
    assert mes.ledger.parts() == {"one"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"sink": "mqtts://broker.local", "username": "u", "password": "p", "confirm": "mes"},
            {"host": "broker.local", "port": 8883, "tls": True, "client_id": "edge-7", "confirm": "mes"},
        ),
        (
            {"sink": "sparkplug://broker.local:1884/plant", "primary_host": "scada"},
            {
                "port": 1884,
                "tls": False,
                "group": "plant",
                "node": "edge-7",
                "device": "aoi-1",
                "primary_host": "scada",
            },
        ),
        (
            {"sink": "opc.tcp://127.0.0.1", "confirm": "mes"},
            {"host": "127.0.0.1", "port": 4840, "station": "aoi-1", "confirm": "client"},
        ),
        ({"sink": "https://mes/events"}, {"url": "https://mes/events"}),
    ],
)
def test_a_sinks_address_becomes_its_settings(
    given: dict[str, str], told: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    section = AgentSection.model_validate({"station": "aoi-1", "id": "edge-7", "source": str(folder), **given})
    with open_agent(section, tmp_path) as agent:
        assert agent.courier is not None
        sink: Any = agent.courier.sink
        known = asdict(sink.settings) | (asdict(sink.broker) if hasattr(sink, "broker") else {})
    assert {name: known[name] for name in told} == told


def renamed(tmp_path: Path, version: str) -> Path:
    """The fused model that ships, under another version."""
    source = tmp_path / version
    shutil.copytree(FOLDER / "fused", source)
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps(manifest | {"version": version}))
    return source


def test_a_running_agent_takes_an_installed_model_into_use_and_gives_it_back(
    folder: Path, mes: Simulator, tmp_path: Path
) -> None:
    port, shipped = free_port(), read_manifest(FOLDER / "fused").version
    template = str(SAMPLES / "board_1_template.png")
    given = ("--station", "a", "--source", str(folder), "--template", template, "--sink", mes.url)
    with running(*given, "--metrics-port", str(port)) as agent:

        def inspected_with(version: str, number: int) -> None:
            drop(SAMPLES / "board_1_test.png", folder, f"board-{number}.png")
            until(lambda: mes.count.booked == number, agent)
            until(lambda: f'version="{version}"' in metrics(port), agent)

        inspected_with(shipped, 1)
        done = evident("models", "install", str(renamed(tmp_path, "trained-2")))
        assert (done.returncode, done.stdout) == (0, "fused: trained-2 is in use.\n"), done.stderr
        inspected_with("trained-2", 2)
        listed = json.loads(evident("models", "list", "--json").stdout)["models"]
        assert {(each["version"], each["state"]) for each in listed} == {("trained-2", "in use"), (shipped, "before")}
        done = evident("models", "rollback")
        assert (done.returncode, done.stdout) == (0, f"fused: {shipped} is in use again.\n"), done.stderr
        inspected_with(shipped, 3)
    assert mes.count.doubled == 0


def test_a_model_that_another_process_installed_is_on_probation(tmp_path: Path) -> None:
    template, data = SAMPLES / "board_1_template.png", (SAMPLES / "board_1_test.png").read_bytes()

    def opened_or_broken(opened: Path) -> Callable[[bytes, Part], Inspection]:
        station = Station(open_installed(opened, "fused"), read(template))

        def inspect(data: bytes, part: Part) -> Inspection:
            if opened.name == "breaks":
                raise RuntimeError("the new model breaks")
            return station.inspect(data, part, name=part.part_id, report=False)

        return inspect

    def as_elsewhere(opened: Path) -> Callable[[bytes, Part], Inspection]:
        return opened_or_broken(FOLDER / "fused")

    agent = InstalledModels(tmp_path / "models", "fused", opened_or_broken)
    agent.add(FOLDER / "fused")
    InstalledModels(tmp_path / "models", "fused", as_elsewhere).add(renamed(tmp_path, "breaks"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the new model breaks"):
            agent(data, Part(part_id="p"))
    assert agent(data, Part(part_id="p")).part.part_id == "p"  # the third failure takes it back
    assert "taken back: 3 failures" in agent.notice
    assert agent.pointer.current == read_manifest(FOLDER / "fused").version


def test_a_model_is_refused_that_is_changed_or_failed_its_gates_or_sees_nothing(tmp_path: Path) -> None:
    changed = renamed(tmp_path, "changed")
    weights = changed / read_manifest(changed).files[0].name
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    done = evident("models", "install", str(changed))
    assert done.returncode == 1
    assert "is not the file that its manifest names" in done.stderr

    failed = renamed(tmp_path, "failed")
    manifest = json.loads((failed / "manifest.json").read_text())
    for file in manifest["files"]:
        file["passed"] = False
    (failed / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelNotReady, match="passed its gates"):
        bundle(failed, tmp_path)

    outside = renamed(tmp_path, "outside")
    manifest["files"] = [{**manifest["files"][0], "passed": True, "name": "../evident.toml"}]
    (outside / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="not a file in it"):
        bundle(outside, tmp_path)

    # The plain network in place of the fused one is a sound file and cannot see differences.
    blind = renamed(tmp_path, "blind")
    plain = FOLDER / "plain"
    for file in read_manifest(blind).files:
        (blind / file.name).unlink()
    shutil.copyfile(plain / Detector(plain).file.name, blind / "detector.onnx")
    digest = hashlib.sha256((blind / "detector.onnx").read_bytes()).hexdigest()
    entry = {"name": "detector.onnx", "sha256": digest, "precision": "fp32", "passed": True}
    manifest |= {"version": "blind", "files": [entry]}
    (blind / "manifest.json").write_text(json.dumps(manifest))
    done = evident("models", "install", str(blind))
    assert done.returncode == 1
    assert "known" in done.stderr
    assert json.loads(evident("models", "list", "--json").stdout) == {"models": []}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs the name of its station"),
        ({"station": "a"}, "needs a source of images"),
        ({"station": "a", "source": "/nowhere/at/all"}, "There is no folder /nowhere/at/all"),
        ({"station": "a", "source": "ftp://host/images"}, "is no folder, no http"),
        ({"station": "a", "source": "camera:"}, "names no camera"),
        ({"station": "a", "source": ".", "sink": "ftp://host"}, "The sink 'ftp://host' is not known"),
        ({"station": "a", "source": ".", "sink": "mqtt:"}, "The sink 'mqtt:' is not known"),
        ({"station": "a", "source": ".", "sink": "mqtt://host:99999"}, "is no address"),
        ({"station": "a", "source": ".", "sink": "https://me:secret@mes/events"}, "must not hold a password"),
        ({"station": "a", "source": ".", "sink": "https://mes", "primary_host": "h"}, "primary_host is of no use"),
        ({"station": "a", "source": ".", "sink": "sparkplug://host"}, "names no group"),
        ({"station": "a+b", "source": ".", "sink": "mqtt://host"}, "cannot be in a topic"),
        ({"station": "a", "source": ".", "sink": "mqtts://host", "ca": "no.pem"}, "no.pem"),
        ({"station": "a", "source": ".", "sink": "opc.tcp://0.0.0.0:4841"}, "without a certificate"),
        ({"station": "a", "source": ".", "template": "no.png"}, "There is no file no.png"),
        ({"station": "a", "source": ".", "specification": "no.yaml"}, "There is no file no.yaml"),
        ({"station": "a", "source": ".", "precision": "int4"}, "manufacturing.agent.precision is wrong"),
        ({"station": "a", "source": ".", "metrics_port": "x"}, "manufacturing.agent.metrics_port is wrong"),
        ({"statoin": "a"}, "did you mean EVIDENT_MANUFACTURING__AGENT__STATION"),
    ],
)
def test_a_bad_setting_is_told_in_one_sentence(
    given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evident_core.cli import main

    monkeypatch.setattr(Agent, "run", lambda agent: pytest.fail("it started"))  # else what is not refused never ends
    for name, value in given.items():
        monkeypatch.setenv(f"EVIDENT_MANUFACTURING__AGENT__{name.upper()}", value)
    with pytest.raises(SystemExit) as ended:
        main(["manufacturing", "agent"])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert message in said
    assert "Traceback" not in said
    assert "secret" not in said


def test_a_second_agent_with_the_same_outbox_is_told_whose_it_is(folder: Path, mes: Simulator) -> None:
    drop(BOARDS[0], folder, "one.png")
    arguments = ("--station", "aoi-1", "--source", str(folder), "--sink", mes.url)
    with running(*arguments) as agent:
        until(lambda: mes.count.booked == 1, agent)
        second = evident("agent", *arguments, "--id", "other")
    assert second.returncode == 1
    assert "is in use by agent aoi-1" in second.stderr


def test_the_example_file_names_every_setting_of_an_agent_with_its_default() -> None:
    path = ROOT / "deploy" / "evident.example.toml"
    assert set(tomllib.loads(path.read_text())["manufacturing"]["agent"]) == set(AgentSection.model_fields)
    assert load(path).section("manufacturing", ManufacturingSettings).agent == AgentSection()


def test_what_is_deployed_is_an_agent_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["agent"]
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "k8s" / "agent" / "agent.yaml").read_text()))
    (stateful,) = [each for each in documents if each["kind"] == "StatefulSet"]
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {
        "compose": (compose["command"], compose["environment"]),
        "k8s": (container["args"], {each["name"]: each["value"] for each in container["env"]}),
    }
    for command, variables in given.values():
        assert command == ["evident", "manufacturing", "agent"]
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", str(value)))
            agent = load().section("manufacturing", ManufacturingSettings).agent
        assert agent.station
        assert agent.source
        assert agent.metrics_host == "0.0.0.0"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert stateful["spec"]["replicas"] == 1  # an outbox has one agent
    claims = {each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]}
    known = claims | {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} <= known


def test_the_commands_and_links_of_the_card_exist() -> None:
    text = CARD.read_text("utf-8")
    names = set(re.findall(r"evident manufacturing ([a-z]+)", text))
    assert {"inspect", "watch", "evaluate", "serve", "agent"} <= names <= set(manufacturing.commands)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (CARD.parent / target).exists(), target


def test_only_one_module_imports_what_is_under_the_agpl() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("core", "kernels", "verticals")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(from|import) ultralytics\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert found == {"verticals/evident_manufacturing/inspection/detect.py"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bringing = {name for name, needed in extras.items() if any(each.startswith("ultralytics") for each in needed)}
    assert bringing == {"training"}
    for document in (ROOT / "NOTICE", CARD):
        text = " ".join(document.read_text("utf-8").split())
        assert "AGPL-3.0" in text
        assert "inspection/detect.py" in text
