"""An agent made of its settings, end to end with each sink: boards in a folder, real models, and a MES that counts."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

from evident_manufacturing.agent.agent import Agent
from evident_manufacturing.agent.assemble import open_agent
from evident_manufacturing.agent.watchdog import Watchdog
from evident_manufacturing.delivery.listeners import MqttListener, SparkplugListener
from evident_manufacturing.delivery.messages import MqttSettings
from evident_manufacturing.delivery.outages import MOSQUITTO, Broker, free_port
from evident_manufacturing.delivery.simulator import Ledger, Simulator
from evident_manufacturing.inspection import perceive as perceiving
from evident_manufacturing.settings import AgentSection

SAMPLES = Path(__file__).parents[2] / "sample_data" / "manufacturing"
BOARDS = {"flawed": "board_1_test.png", "sound": "board_1_template.png"}
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")


def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models that ship are installed by the first agent, for all."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A camera's folder with a flawed board, a sound one and half a scan."""
    import cv2

    images = tmp_path / "images"
    images.mkdir()
    for name, sample in BOARDS.items():
        shutil.copyfile(SAMPLES / sample, images / f"{name}.png")
    half = cv2.imread(str(SAMPLES / BOARDS["sound"]), cv2.IMREAD_GRAYSCALE)
    half[half.shape[0] // 2 :] = 0
    cv2.imwrite(str(images / "half.png"), half)
    return images


def section_of(folder: Path, models: Path, **given: object) -> AgentSection:
    return AgentSection.model_validate(
        {
            "station": "aoi-1",
            "source": str(folder),
            "template": str(SAMPLES / BOARDS["sound"]),
            "models": str(models),
            "threads": 1,
            **given,
        }
    )


@contextmanager
def running(folder: Path, models: Path, **given: object) -> Iterator[Agent]:
    with open_agent(section_of(folder, models, **given), folder.parent / "data") as agent:
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            thread.join(60)
            assert not thread.is_alive()


def assert_each_board_and_the_alarm_once(ledger: Ledger, agent: Agent) -> None:
    until(lambda: ledger.count.booked == 2 and ledger.count.alarms == 4)
    until(lambda: agent.outbox.waiting == 0)
    assert ledger.parts() == {"flawed", "sound"}
    for code in ("half_scan", "image_refused"):
        assert [state for each, state in ledger.alarms if each == code] == ["raised", "cleared"]
    assert (ledger.count.doubled, ledger.count.unreadable) == (0, 0)


def test_over_http(folder: Path, models: Path) -> None:
    with Simulator() as mes, running(folder, models, sink=mes.url) as agent:
        assert_each_board_and_the_alarm_once(mes.ledger, agent)


def test_an_inspection_that_takes_long_has_beats_all_along(
    folder: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []
    monkeypatch.setattr(perceiving, "WHOLE", 0)  # each board is inspected in bands
    with open_agent(section_of(folder, models), folder.parent / "data") as agent:
        monkeypatch.setattr(Watchdog, "beat", lambda _: beats.append(time.monotonic()))
        while not agent.outbox.waiting:  # step() itself has none
            agent.step()
        agent.source.close()
    assert len(beats) > 6


@needs_broker
def test_over_mqtt(folder: Path, models: Path, tmp_path: Path) -> None:
    with (
        Broker(tmp_path) as broker,
        MqttListener(MqttSettings("127.0.0.1", "mes", broker.port), "aoi-1", confirm=True) as mes,
        running(folder, models, sink=f"mqtt://127.0.0.1:{broker.port}", confirm="mes") as agent,
    ):
        assert_each_board_and_the_alarm_once(mes.ledger, agent)


@needs_broker
def test_over_sparkplug(folder: Path, models: Path, tmp_path: Path) -> None:
    sparkplug = {"confirm": "mes", "primary_host": "scada", "id": "edge-1"}
    with (
        Broker(tmp_path) as broker,
        SparkplugListener(MqttSettings("127.0.0.1", "mes", broker.port), "plant", host="scada", confirm=True) as mes,
    ):
        with running(folder, models, sink=f"sparkplug://127.0.0.1:{broker.port}/plant", **sparkplug) as agent:
            assert_each_board_and_the_alarm_once(mes.ledger, agent)
            folder.rename(folder.with_name("away"))
            until(lambda: mes.dead == {"plant/edge-1/aoi-1"})
            until(lambda: mes.ledger.alarms[4:] == [("source_lost", "raised")])
            folder.with_name("away").rename(folder)
            until(lambda: not mes.dead and mes.ledger.alarms[5:] == [("source_lost", "cleared")])
        until(lambda: mes.heard["NDEATH"] == 1)
        assert mes.dead == {"plant/edge-1/aoi-1"}
        assert mes.gaps == 0


class OpcUaClient:
    """A MES that reads results and alarms, counts them, and acknowledges results."""

    def __init__(self, url: str) -> None:
        self.ledger = Ledger()
        self._url, self._stop, self.listens = url, threading.Event(), threading.Event()
        self._shown: list[str] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()))

    def __enter__(self) -> "OpcUaClient":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def event_notification(self, event: Any) -> None:
        if hasattr(event, "ResultContent"):
            self.ledger.book(event.ResultContent.encode())
            self._shown.append(event.ResultId)
        else:
            self.ledger.alarms.append((event.Code, event.State))
            self.ledger.count.alarms += 1

    async def _read(self) -> None:
        from asyncua import Client

        from evident_manufacturing.delivery.opcua import NAMESPACE

        async with Client(self._url, timeout=30) as client:
            await client.load_data_type_definitions()
            space = await client.get_namespace_index(NAMESPACE)
            station = await client.nodes.objects.get_child([f"{space}:aoi-1"])
            management = await station.get_child([f"{space}:ResultManagement"])
            subscription = await client.create_subscription(20, self)
            for kind in ("ResultReadyEventType", "StationAlarmEventType"):
                await subscription.subscribe_events(
                    station, await client.nodes.base_event_type.get_child([f"{space}:{kind}"])
                )
            self.listens.set()
            while not self._stop.is_set():
                shown, self._shown = self._shown, []
                if shown:
                    await management.call_method(f"{space}:AcknowledgeResults", shown)
                await asyncio.sleep(0.02)


def test_over_opc_ua(folder: Path, models: Path) -> None:
    url, away = f"opc.tcp://127.0.0.1:{free_port()}/evident/", folder.with_name("away")
    boards = sorted(folder.iterdir())
    away.mkdir()
    for board in boards:
        board.rename(away / board.name)
    with running(folder, models, sink=url.removesuffix("/evident/"), confirm="mes") as agent:
        assert agent.courier is not None
        until(lambda: "_server" in vars(agent.courier.sink) and vars(agent.courier.sink)["_server"] is not None)
        with OpcUaClient(url) as mes:
            until(mes.listens.is_set)
            for board in boards:
                (away / board.name).rename(board)
            assert_each_board_and_the_alarm_once(mes.ledger, agent)


def test_the_frames_of_a_camera_that_shows_one_scene_are_an_alarm(folder: Path, models: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    film = tmp_path / "film.avi"
    board = cv2.imread(str(SAMPLES / BOARDS["sound"]), cv2.IMREAD_GRAYSCALE)
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"FFV1"), 5, board.shape[::-1], isColor=False)
    noise = np.random.default_rng(1)
    for _ in range(6):
        writer.write(np.clip(board * 0.7 + 30 + noise.normal(0, 3, board.shape), 0, 255).astype(np.uint8))
    writer.release()
    with Simulator() as mes:
        with running(folder, models, sink=mes.url, source=f"camera:{film}"):
            until(lambda: mes.ledger.alarms)
        assert ("frozen_camera", "raised") in mes.ledger.alarms
