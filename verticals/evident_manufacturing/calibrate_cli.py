"""``evident manufacturing calibrate``: a picture of a target in, the camera's certificate out."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from evident_core.cli import write_whole
from evident_core.errors import Conflict, InvalidInput
from evident_manufacturing.inspection.calibration import Certificate, text_of
from evident_manufacturing.inspection.ingest import Board, quality, read
from evident_manufacturing.inspection.schema import Calibration
from evident_manufacturing.inspection.targets import KnownLength, calibrate_dot_grid, calibrate_known_pitch

_HOLDS: Final = timedelta(days=365)
_path = click.Path(path_type=Path)
_day = click.DateTime(["%Y-%m-%d"])


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(each) for each in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no point; give X,Y in pixels, such as 120.5,80.") from None
    return x, y


@click.command()
@click.argument("image", type=_path)
@click.option("--pitch", type=float, metavar="MM", help="The target is a square grid of dots, so far from dot to dot.")
@click.option(
    "--length",
    "lengths",
    type=(_point, _point, float),
    metavar="X,Y X,Y MM",
    multiple=True,
    help="Two points of the picture, in pixels, and how far they are apart; several are better, in both directions.",
)
@click.option(
    "--uncertainty",
    type=float,
    default=0.0,
    metavar="MM",
    help="Of the pitch or the lengths: one standard deviation, as the target's own certificate says.",
)
@click.option("--camera", default="", help="Its name, as images name it; without, the certificate is of any camera.")
@click.option("--id", "name", help="Of the certificate; by default the camera's or image's name, and the day.")
@click.option("--valid-until", type=_day, help="Last day on which it holds; by default a year from today.")
@click.option("-o", "--output", type=_path, default="calibration.json", show_default=True, help="The certificate.")
@click.option("--force", is_flag=True, help="Replace a certificate that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON and nothing else.")
def calibrate(
    image: Path,
    pitch: float | None,
    lengths: tuple[tuple[tuple[float, float], tuple[float, float], float], ...],
    uncertainty: float,
    camera: str,
    name: str | None,
    valid_until: datetime | None,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Find how large a pixel is on IMAGE, a picture of a target, and write the camera's certificate."""
    if (pitch is None) == (not lengths):
        raise InvalidInput("Give --pitch for a grid of dots, or --length for two known points; one of them.")
    if output.exists() and not force:
        raise Conflict(f"{output} is there already; --force replaces it, and -o names another file.", path=str(output))
    board = read(image)
    today = datetime.now(UTC).date()  # as an inspection reads the calendar
    until = valid_until.date() if valid_until else today + _HOLDS
    certificate = Certificate(name or f"{camera or image.stem}-{today}", today, until, camera)
    if pitch is not None:
        found = calibrate_dot_grid(board.gray, pitch, certificate, pitch_uncertainty_mm=uncertainty)
    else:
        known = [KnownLength(*each) for each in lengths]
        _refuse_outside(known, board)
        found = calibrate_known_pitch(known, certificate, length_uncertainty_mm=uncertainty)
    write_whole(output, text_of(found).encode())
    for note in quality(board):
        click.echo(f"{image.name}: {note.message}.", err=True)
    if as_json:
        click.echo(text_of(found), nl=False)
    else:
        _print(Console(), found, output, today)


def _refuse_outside(lengths: list[KnownLength], board: Board) -> None:
    for number, each in enumerate(lengths, 1):
        for x, y in (each.start, each.end):
            if not (0 <= x <= board.width and 0 <= y <= board.height):
                raise InvalidInput(
                    f"The point {x:g},{y:g} of length {number} is not on {board.input.name}, which has "
                    f"{board.width} x {board.height} pixels; give points in its pixels, from the upper left corner.",
                    number=number,
                )


def _print(console: Console, found: Calibration, output: Path, today: date) -> None:
    x, y = found.mm_per_pixel
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("mm per pixel, x", f"{x:.6g}", f"{1 / x:.5g} px/mm")
    table.add_row("mm per pixel, y", f"{y:.6g}", f"{1 / y:.5g} px/mm")
    table.add_row("residual", f"{found.residual_mm:.2g} mm", f"{found.residual_mm / max(x, y):.2g} px")
    table.add_row(
        "scale uncertainty", f"{100 * found.scale_uncertainty:.2g} %", f"{10 * found.scale_uncertainty:.2g} mm on 10 mm"
    )
    table.add_row("dots" if found.method == "dot_grid" else "known lengths", str(found.points))
    table.add_row("valid until", str(found.valid_until), f"{(found.valid_until - today).days} days")
    table.add_row("camera", found.camera or "any")
    table.add_row("certificate", found.id, str(output))
    console.print(table, highlight=False, markup=False)
