"""``evident manufacturing agent`` beside a line, and ``evident manufacturing models`` for what it inspects with."""

import json
import logging
import signal
from functools import partial
from pathlib import Path
from typing import Any

import click

from evident_core.errors import InvalidInput, NotFound
from evident_core.settings import Settings, load
from evident_manufacturing.agent.assemble import models_folder, open_agent
from evident_manufacturing.agent.installed import KINDS, InstalledModels, Kind, kind_of, open_installed
from evident_manufacturing.agent.models import Inspect
from evident_manufacturing.inspection.perceive.detector import FOLDER, read_manifest
from evident_manufacturing.inspection.perceive.runtime import NAMES
from evident_manufacturing.inspection.pipeline import Station
from evident_manufacturing.inspection.schema import Inspection, Part
from evident_manufacturing.settings import ManufacturingSettings

_SINKS = "http(s)://HOST/PATH, mqtt(s)://HOST, sparkplug(s)://HOST/GROUP, opc.tcp://HOST, or none"
_kind = click.option(
    "--kind", type=click.Choice(KINDS), default="fused", show_default=True, help="With template, or not."
)


@click.command()
@click.option("--station", help="Name of the inspection point; part of each event's id.")
@click.option("--id", "id", help="Of this agent; by default the station's name.")
@click.option("--source", help="A folder, an http(s):// address that gives images, or camera:0.")
@click.option("--template", help="Image of the golden sample.")
@click.option("--spec", "specification", help="The product's specification, YAML.")
@click.option("--calibration", help="Certificate of the camera.")
@click.option("--product", help="Of parts whose image does not say.")
@click.option("--camera", help="The camera's name.")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), help="By default int8 where it passed.")
@click.option("--runtime", type=click.Choice(NAMES), help="What computes the network; by default onnxruntime.")
@click.option("--outbox", help="SQLite file of events; by default in the data folder.")
@click.option("--sink", help=f"Where events go: {_SINKS}.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve /metrics there.")
def agent(**given: Any) -> None:
    """Inspect what comes from a source and deliver its events, until Ctrl-C.

    All options are settings too, and passwords and certificates are only that: [manufacturing.agent] in evident.toml.
    """
    settings = load(None, manufacturing={"agent": {name: value for name, value in given.items() if value is not None}})
    section = _section(settings).agent
    logging.basicConfig(level=settings.web.log_level, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("asyncua").setLevel(logging.ERROR)  # it tells of a thousand nodes, and of each client's reading
    with open_agent(section, _data_dir(settings)) as opened:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: opened.stop())
        waiting = f", {opened.outbox.waiting} events wait" if opened.outbox.waiting else ""
        click.echo(
            f"Station {section.station}: images from {section.source}, events to {section.sink}{waiting} "
            "(Ctrl-C ends it)",
            err=True,
        )
        opened.run()


@click.group()
def models() -> None:
    """The models that an agent inspects with; a running agent takes a change into use at its next board."""


@models.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def install(folder: Path | None) -> None:
    """Check, test and take into use the model in FOLDER, as `export` writes it; by default the ones that ship."""
    for source in [FOLDER / kind for kind in KINDS] if folder is None else [folder]:
        if not source.is_dir():
            raise NotFound(f"There is no folder {source}; give one that `evident manufacturing export` wrote.")
        kind = kind_of(source)
        store = _store(kind)
        in_use = [each.manifest.version for each in store.versions() if each.state == "in use"]
        if folder is None and read_manifest(source).version in in_use:
            click.echo(f"{kind}: {in_use[0]} is in use already.")
        else:
            click.echo(f"{kind}: {store.add(source)} is in use.")


@models.command()
@_kind
@click.option("--reason", default="asked for", show_default=True, help="Kept in the log.")
def rollback(kind: Kind, reason: str) -> None:
    """Go back to the model before."""
    click.echo(f"{kind}: {_store(kind).take_back(reason)} is in use again.")


@models.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="With template, or not; by default both.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_models(kind: Kind | None, as_json: bool) -> None:
    """List what is installed."""
    found = [(which, each) for which in ((kind,) if kind else KINDS) for each in _store(which).versions()]
    if as_json:
        rows = [{"kind": which, "state": each.state, **each.manifest.model_dump()} for which, each in found]
        click.echo(json.dumps({"models": rows}, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("No model is installed; the first start of an agent installs the one that ships.")
        return
    from rich.console import Console  # an agent has no tables, and starts 25 ms sooner
    from rich.table import Table

    table = Table("kind", "version", "precision", "state", box=None, pad_edge=False)
    for which, each in found:
        precisions = " ".join(file.precision for file in each.manifest.files if file.passed)
        table.add_row(which, each.manifest.version, precisions, each.state)
    Console().print(table)


def _store(kind: Kind) -> InstalledModels:
    settings = load()
    folder = models_folder(_section(settings).agent, _data_dir(settings))
    try:
        return InstalledModels(folder, kind, partial(_opened, kind))
    except OSError as error:
        raise InvalidInput(f"The models' folder {folder} cannot be written: {error.strerror}.") from error


def _opened(kind: Kind, folder: Path) -> Inspect:
    """The model, which opening has tested; only an agent inspects parts, with its own template."""
    station = Station(open_installed(folder, kind))

    def inspect(data: bytes, part: Part) -> Inspection:
        return station.inspect(data, part, name=part.part_id, report=False, facts=False)

    return inspect


def _section(settings: Settings) -> ManufacturingSettings:
    return settings.section("manufacturing", ManufacturingSettings)


def _data_dir(settings: Settings) -> Path:
    return settings.store.data_dir.expanduser()
