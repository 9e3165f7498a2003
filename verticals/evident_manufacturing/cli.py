"""``evident manufacturing``: inspect, watch a folder, measure, train, export, and serve the pages or the agent."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from evident_core.cli import format_of, host_option, port_option, serve_app, web_arguments, write_whole
from evident_core.errors import EvidentError, InvalidInput, MissingExtra, NotFound
from evident_core.settings import load
from evident_manufacturing import terminal
from evident_manufacturing.agent.sources import SUFFIXES, make_part
from evident_manufacturing.agent_cli import agent, models
from evident_manufacturing.calibrate_cli import calibrate
from evident_manufacturing.commands import manufacturing
from evident_manufacturing.inspection import calibration as certificates
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.evaluate import evaluate as measure
from evident_manufacturing.inspection.export import FORMATS, export
from evident_manufacturing.inspection.ingest import read
from evident_manufacturing.inspection.perceive.detector import FOLDER
from evident_manufacturing.inspection.perceive.runtime import NAMES
from evident_manufacturing.inspection.pipeline import Station, open_models
from evident_manufacturing.similar_cli import similar
from evident_manufacturing.training_cli import retrain

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
_template = click.option("--template", type=click.Path(path_type=Path), help="Image of the golden sample.")
_specification = click.option("--spec", type=click.Path(path_type=Path), help="The product's specification, YAML.")
_calibration = click.option("--calibration", type=click.Path(path_type=Path), help="Certificate of the camera, YAML.")
_camera = click.option("--camera", default="", help="The camera's name, where the calibration is of one camera.")
_precision = click.option("--precision", type=click.Choice(["int8", "fp32"]), help="By default int8 where it passed.")
_runtime = click.option("--runtime", type=click.Choice(NAMES), default="onnxruntime", show_default=True)


@manufacturing.command()
@click.argument("image", type=click.Path(path_type=Path))
@_template
@_specification
@_calibration
@_camera
@_precision
@_runtime
@click.option("--part", "part_id", help="The part's id; by default the file's name.")
@click.option("--lot", default="", help="The lot it belongs to.")
@click.option("-o", "--output", multiple=True, type=click.Path(path_type=Path), help=f"Write {', '.join(FORMATS)}.")
@_json
def inspect(
    image: Path,
    template: Path | None,
    spec: Path | None,
    calibration: Path | None,
    camera: str,
    precision: str | None,
    runtime: str,
    part_id: str | None,
    lot: str,
    output: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Inspect one IMAGE and print its defects and verdict."""
    formats = [format_of(path, FORMATS) for path in output]  # before the work, not after it
    part = make_part({"part_id": part_id or image.stem, "lot": lot, "camera": camera}, image.name)
    station = _station(template, spec, calibration, precision, runtime)
    data = _bytes(image)
    inspection = station.inspect(data, part, name=image.name)
    for path, name in zip(output, formats, strict=True):
        write_whole(path, export(inspection, name, data if name == "html" else None))
    if as_json:
        click.echo(export(inspection, "json"))
    else:
        terminal.print_inspection(Console(), inspection)


@manufacturing.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_template
@_specification
@_calibration
@_camera
@_precision
@_runtime
@click.option("--once", is_flag=True, help="End when all that is there is inspected, instead of waiting for more.")
@click.option("--every", default=0.5, show_default=True, help="Seconds between two looks at the folder.")
@_json
def watch(
    folder: Path,
    template: Path | None,
    spec: Path | None,
    calibration: Path | None,
    camera: str,
    precision: str | None,
    runtime: str,
    once: bool,
    every: float,
    as_json: bool,
) -> None:
    """Inspect each image that comes into FOLDER, and print a line for each."""
    import time

    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.", path=str(folder))
    station = _station(template, spec, calibration, precision, runtime)
    console, seen = Console(), set[tuple[Path, int]]()
    sizes: dict[Path, int] = {}
    failed = 0
    while True:
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise InvalidInput(f"{folder} cannot be read any more: {error.strerror}.", path=str(folder)) from error
        for path in paths:
            size, changed = _state(path)
            # A file that is still being written grows: it is taken when it has the size it had at the last look.
            if (path, changed) in seen or (not once and sizes.get(path) != size):
                sizes[path] = size
                continue
            seen.add((path, changed))
            try:
                part = make_part({"part_id": path.stem, "camera": camera}, path.name)
                found = station.inspect(_bytes(path), part, name=path.name, report=False, facts=as_json)
            except EvidentError as error:
                click.echo(f"{path.name}: {error.message}", err=True)
                failed += 1
                continue
            if as_json:
                click.echo(json.dumps(found.model_dump(mode="json"), ensure_ascii=False))
            else:
                colour, whole = terminal.COLOURS[found.verdict.decision], found.milliseconds["whole"]
                console.print(
                    f"{path.name}  [{colour}]{found.verdict.decision}[/]  {len(found.defects)} defects  {whole:.0f} ms",
                    highlight=False,
                )
        if once and failed:
            raise InvalidInput(f"{failed} of {len(seen)} images could not be inspected; the lines above say why.")
        if once:
            return
        time.sleep(every)


@manufacturing.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", default="trainval.txt", show_default=True, help="The split file in FOLDER.")
@click.option("--part", default="all", type=click.Choice(["all", "train", "validation"]), show_default=True)
@_precision
@_json
def evaluate(folder: Path, split: str, part: str, precision: str | None, as_json: bool) -> None:
    """Measure the detector on FOLDER, which has DeepPCB's layout."""
    opened = open_models(precision=precision)
    with terminal.bar("pairs", shown=not as_json) as on_pair:
        found = measure(folder, opened, split=split, part=part, on_pair=on_pair)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        terminal.print_evaluation(Console(), found, split, part)


@manufacturing.command()
@click.option("--sizes", is_flag=True, help="Found defects and errors of sizes, on generated boards of known mm.")
@click.option("--clean", is_flag=True, help="Boards without defects on which one is called.")
@click.option("--speed", is_flag=True, help="Ratios of times; wants the machine for itself.")
@click.option("--boards", default=150, show_default=True, help="Generated boards.")
@click.option("--folder", type=click.Path(path_type=Path), help="Real pairs in DeepPCB's layout, measured as well.")
@click.option("--weights", type=click.Path(path_type=Path), help="A .pt, to set the speed beside Ultralytics' own.")
@_precision
@_json
def figures(
    sizes: bool,
    clean: bool,
    speed: bool,
    boards: int,
    folder: Path | None,
    weights: Path | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Measure sizes, false calls and speed on boards that nobody was trained on."""
    from evident_manufacturing import terminal_figures
    from evident_manufacturing.inspection.evaluate.clean import measure_clean
    from evident_manufacturing.inspection.evaluate.sizes import measure_sizes
    from evident_manufacturing.inspection.evaluate.speed import measure_speed

    if not (sizes or clean or speed):
        raise InvalidInput("Nothing is asked for; give --sizes, --clean, --speed or several.")
    opened, console, found = open_models(precision=precision), Console(), {}
    if sizes:
        with terminal.bar("sizes", shown=not as_json) as told:
            measured = measure_sizes(opened, boards, folder=folder, on_board=told)
        found["sizes"] = measured.model_dump(mode="json")
        if not as_json:
            terminal_figures.print_sizes(console, measured)
    if clean:
        with terminal.bar("clean boards", shown=not as_json) as told:
            false_calls = measure_clean(opened, boards, folder=folder, on_board=told)
        found["clean"] = false_calls.model_dump(mode="json")
        if not as_json:
            terminal_figures.print_clean(console, false_calls)
    if speed:
        with terminal.bar("speed", shown=not as_json) as told:
            ratios = measure_speed(opened, FOLDER / "fused", weights=weights, on_part=told)
        found["speed"] = ratios.model_dump(mode="json")
        if not as_json:
            terminal_figures.print_speed(console, ratios)
    if as_json:
        click.echo(json.dumps(found, indent=1))


@manufacturing.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--epochs", default=80, show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), help="A .pt of this service to go on from.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or the number of a CUDA device.")
@click.option("--batch", default=32, show_default=True)
def train(dataset: Path, output: Path, epochs: int, weights: Path | None, device: str, batch: int) -> None:
    """Train a detector on DATASET (a YAML in Ultralytics' layout) into the folder OUTPUT."""
    if not dataset.is_file():
        raise NotFound(f"There is no dataset {dataset}; give its YAML.", path=str(dataset))
    from evident_manufacturing.inspection import detect

    best = detect.train(dataset, output, epochs=epochs, weights=weights, device=device, batch=batch)
    click.echo(str(best))


@manufacturing.command("export")
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", "data", type=click.Path(path_type=Path), required=True, help="Labelled pairs, for the gates.")
@click.option("--plain", is_flag=True, help="The model looks at the test alone.")
@click.option("--version", default=None, help="What results name the model by.")
def export_model(weights: Path, folder: Path, data: Path, plain: bool, version: str | None) -> None:
    """Export WEIGHTS (.pt) to FOLDER as ONNX, fp32 and int8, each behind its gates."""
    from evident_manufacturing.inspection.evaluate.pairs import divide, entries
    from evident_manufacturing.inspection.evaluate.pairs import read as read_pair

    try:
        from evident_manufacturing.training import gates
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Exporting needs {error.name}, which is not installed: pip install 'evident[training]'", extra="training"
        ) from error
    training, validation = divide(entries(data))
    made = gates.export(
        weights,
        folder,
        [read_pair(entry) for entry in validation],
        [read_pair(entry) for entry in training[::8]],
        version or f"{weights.stem} {datetime.now(UTC):%Y-%m-%d} {uuid.uuid4().hex[:6]}",
        fused=not plain,
    )
    click.echo(made.model_dump_json(indent=1))


@manufacturing.command()
@host_option
@port_option
def serve(host: str | None, port: int | None) -> None:
    """Open the line's pages: dashboard, boards, review, specification, models."""
    from evident_manufacturing.app import create_app  # the web stack is loaded by who serves

    serve_app(load(None, **web_arguments(host, port)), create_app)


manufacturing.add_command(agent)
manufacturing.add_command(calibrate)
manufacturing.add_command(models)
manufacturing.add_command(retrain)
manufacturing.add_command(similar)


def _station(
    template: Path | None, spec: Path | None, calibration: Path | None, precision: str | None, runtime: str
) -> Station:
    return Station(
        models=open_models(precision=precision, runtime=runtime),
        template=read(template, allow_blank=True) if template else None,
        specification=Specification.load(_bytes(spec), spec.name) if spec else None,
        calibration=certificates.load(calibration) if calibration else None,
    )


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; zeros of what cannot be looked at, so that reading it tells why, once."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", path=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
