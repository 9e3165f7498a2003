"""An agent made of its settings: each value is looked at before anything is opened, and each refusal names its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.agent.agent import Agent, AgentSettings
from evident_manufacturing.agent.alarms import Alarms
from evident_manufacturing.agent.camera_source import CameraSource
from evident_manufacturing.agent.http_source import HttpSource
from evident_manufacturing.agent.installed import InstalledModels, Kind, open_installed, stores_folder
from evident_manufacturing.agent.models import Inspect
from evident_manufacturing.agent.sources import FolderSource, Source
from evident_manufacturing.agent.watch import CameraWatch, see_calibration
from evident_manufacturing.agent.watchdog import Watchdog
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.courier import Sink
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.inspection import calibration as certificates
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.ingest import Board, read
from evident_manufacturing.inspection.pipeline import Station
from evident_manufacturing.inspection.schema import Inspection, Part
from evident_manufacturing.settings import AgentSection

_BROKER: Final = frozenset({"username", "password", "ca", "certificate", "key"})
_MQTT: Final = _BROKER | {"confirm", "root", "takeover"}
_SPARKPLUG: Final = _BROKER | {"primary_host", "confirm"}
_HTTP: Final = frozenset({"token", "ca", "pictures_mib"})
_TAKES: Final = {
    "": frozenset[str](),
    "http": _HTTP,
    "https": _HTTP,
    "mqtt": _MQTT,
    "mqtts": _MQTT,
    "sparkplug": _SPARKPLUG,
    "sparkplugs": _SPARKPLUG,
    "opc.tcp": frozenset({"certificate", "key", "ca", "confirm"}),
}
"""What each scheme of a sink makes use of."""
_OF_SINKS: Final = frozenset().union(*_TAKES.values())


@contextmanager
def open_agent(section: AgentSection, data_dir: Path) -> Iterator[Agent]:
    """An agent that is ready to run; its outbox is closed at the end.

    Args:
        section: Its settings.
        data_dir: Where outbox and models are that have no place of their own.

    Raises:
        InvalidInput: A setting is missing, wrong, or of no use with the others.
        NotFound: A file or folder that is named does not exist.
        Conflict: Another agent has the outbox open.
        ModelNotReady: No model opens.
    """
    if not section.station:
        raise InvalidInput("An agent needs the name of its station; give --station.", key="manufacturing.agent.station")
    if not section.source:
        raise InvalidInput(
            "An agent needs a source of images; give --source with a folder, an http(s):// address or camera:0.",
            key="manufacturing.agent.source",
        )
    address = _sink_address(section)
    for name in filter(None, (section.ca, section.certificate, section.key)):
        _file(name)  # the sink would go on trying, as for a file that is being renewed
    agent_id = section.id or section.station
    template = read(_file(section.template), allow_blank=True) if section.template else None
    specification = (
        Specification.load((path := _file(section.specification)).read_bytes(), path.name)
        if section.specification
        else None
    )
    calibration = certificates.load(_file(section.calibration)) if section.calibration else None
    kind: Kind = "plain" if template is None else "fused"

    outbox_path = Path(section.outbox) if section.outbox else data_dir / "manufacturing" / "outbox.sqlite3"
    with Outbox(outbox_path, owner=agent_id) as outbox:
        source = _source(section, outbox)
        boards = _boards(section, address, outbox_path)
        sink = _sink(section, address, agent_id, outbox, boards)
        alarms = Alarms(outbox, section.station, events=section.alarms)
        watchdog = Watchdog(section.silence_seconds)
        watch = CameraWatch(alarms, template, live=isinstance(source, CameraSource))

        # Several may be inspected at once; what the camera is watched by has the order of their images.
        pictures: dict[str, Board] = {}

        def keep(board: Board, part: Part) -> None:
            pictures[part.part_id] = board

        def looked(part: Part) -> None:
            if board := pictures.pop(part.part_id, None):
                watch.see(board, part)
            see_calibration(calibration, alarms)

        def load(folder: Path) -> Inspect:
            models = open_installed(
                folder, kind, precision=section.precision, threads=section.threads, runtime=section.runtime
            )
            station = Station(models, template, specification, calibration, on_board=keep)

            def inspect(data: bytes, part: Part) -> Inspection:
                return station.inspect(
                    data,
                    part,
                    name=part.part_id,
                    report=False,
                    facts=boards is not None,  # a page that is sent the board writes its report of them
                    on_progress=lambda _: watchdog.beat(),
                )

            return inspect

        models = InstalledModels(models_folder(section, data_dir), kind, load)
        models.begin()
        see_calibration(calibration, alarms)
        yield Agent(
            AgentSettings(
                station=section.station,
                at_once=section.at_once,
                metrics_port=section.metrics_port or None,
                metrics_host=section.metrics_host,
            ),
            source,
            models,
            outbox,
            sink,
            boards=boards,
            alarms=alarms,
            watchdog=watchdog,
            looked=looked,
        )


def models_folder(section: AgentSection, data_dir: Path) -> Path:
    """Where the installed models are."""
    return Path(section.models) if section.models else stores_folder(data_dir)


def _file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", path=name)
    return path


def _source(section: AgentSection, outbox: Outbox) -> Source:
    scheme, _, rest = section.source.partition(":")
    if scheme in ("http", "https"):
        return HttpSource(section.source, product=section.product)
    if scheme == "camera":
        if not rest:
            raise InvalidInput("camera: names no camera; give its number (camera:0) or its address (camera:rtsp://…).")
        name = section.camera or "camera"
        return CameraSource(
            int(rest) if rest.isdecimal() else rest,
            number=lambda: outbox.count(f"camera {name}"),
            camera=name,
            product=section.product,
        )
    if "://" in section.source:
        raise InvalidInput(f"The source {section.source!r} is no folder, no http(s):// address and no camera.")
    return FolderSource(Path(section.source), product=section.product, camera=section.camera)


def _sink_address(section: AgentSection) -> SplitResult:
    """The sink's address; with ``none`` an empty one."""
    try:
        address = urlsplit("" if section.sink == "none" else section.sink)
        _ = address.port
    except ValueError as error:
        raise InvalidInput(f"The sink {section.sink!r} is no address: {error}.", sink=section.sink) from error
    if address.scheme not in _TAKES or (section.sink != "none" and not address.hostname):
        raise InvalidInput(
            f"The sink {_without_password(section.sink)!r} is not known; give http(s)://HOST/PATH, mqtt(s)://HOST, "
            "sparkplug(s)://HOST/GROUP, opc.tcp://HOST, or none.",
        )
    if address.username is not None:
        raise InvalidInput(
            "A sink's address must not hold a password, which others could read there; set "
            "EVIDENT_MANUFACTURING__AGENT__USERNAME and …PASSWORD, or …TOKEN.",
        )
    defaults = AgentSection()
    for name in sorted(_OF_SINKS - _TAKES[address.scheme]):
        if getattr(section, name) != getattr(defaults, name):
            raise InvalidInput(
                f"The setting manufacturing.agent.{name} is of no use with the sink {section.sink}; unset one of them.",
                key=f"manufacturing.agent.{name}",
            )
    return address


def _boards(section: AgentSection, address: SplitResult, outbox: Path) -> Boards | None:
    """Only over HTTP can a destination ask for boards."""
    if address.scheme not in ("http", "https") or not section.pictures_mib:
        return None
    template = Path(section.template) if section.template else None
    return Boards(outbox.with_name(f"{outbox.stem}-boards"), template=template, max_bytes=section.pictures_mib << 20)


def _sink(
    section: AgentSection, address: SplitResult, agent_id: str, outbox: Outbox, boards: Boards | None
) -> Sink | None:
    scheme, host = address.scheme, address.hostname or ""
    if not scheme:
        return None
    # Each brings a client library, and an agent has one sink: the others would be a twentieth of its start.
    if scheme in ("http", "https"):
        from evident_manufacturing.delivery.rest import RestSettings, RestSink

        token = section.token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"} if token else None
        return RestSink(RestSettings(section.sink, headers=headers, ca=section.ca), boards)
    if scheme == "opc.tcp":
        from evident_manufacturing.delivery.opcua import OpcUaSettings, OpcUaSink

        return OpcUaSink(
            OpcUaSettings(
                section.station,
                host=host,
                port=address.port or 4840,
                certificate=section.certificate,
                key=section.key,
                clients=section.ca,
                confirm="client" if section.confirm == "mes" else "shown",
            )
        )
    from evident_manufacturing.delivery.messages import MqttSettings

    tls = scheme in ("mqtts", "sparkplugs")
    broker = MqttSettings(
        host=host,
        client_id=agent_id,
        port=address.port or (8883 if tls else 1883),
        username=section.username,
        password=section.password.get_secret_value(),
        tls=tls,
        ca=section.ca,
        certificate=section.certificate,
        key=section.key,
    )
    if scheme in ("mqtt", "mqtts"):
        from evident_manufacturing.delivery.mqtt import MqttSink, PlainSettings

        return MqttSink(
            broker,
            PlainSettings(
                section.station,
                outbox.installation,
                root=section.root,
                confirm="mes" if section.confirm == "mes" else "broker",
                takeover=section.takeover,
            ),
        )
    group = address.path.strip("/")
    if not group:
        raise InvalidInput(f"The sink {section.sink} names no group; give sparkplug://{host}/GROUP.", sink=section.sink)
    from evident_manufacturing.delivery.sparkplug import SparkplugSettings, SparkplugSink

    confirm: Literal["broker", "mes"] = "mes" if section.confirm == "mes" else "broker"
    edge = SparkplugSettings(group, agent_id, section.station, section.primary_host, confirm)
    return SparkplugSink(broker, edge, outbox)


def _without_password(address: str) -> str:
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
