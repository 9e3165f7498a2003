"""``evident manufacturing similar``: the defects of other boards that look most like those of one."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from evident_core.errors import EvidentError, InvalidInput, NotFound
from evident_manufacturing.agent.sources import SUFFIXES
from evident_manufacturing.inspection.ingest import Board, read
from evident_manufacturing.inspection.perceive import Models, perceive
from evident_manufacturing.inspection.perceive.aligner import Vectors
from evident_manufacturing.inspection.perceive.naming import cut_crops, embed
from evident_manufacturing.inspection.perceive.naming import similar as most_alike
from evident_manufacturing.inspection.pipeline import open_models
from evident_manufacturing.inspection.schema import Defect

_path = click.Path(path_type=Path)


@click.command()
@click.argument("image", type=_path)
@click.option("--template", type=_path, required=True, help="Image of the golden sample, of IMAGE and of all others.")
@click.option("--among", type=_path, required=True, help="Folder with images of boards; IMAGE itself is left out.")
@click.option("--defect", type=int, help="Number of one defect of IMAGE; by default all of them.")
@click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="How many for each defect.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def similar(image: Path, template: Path, among: Path, defect: int | None, top: int, as_json: bool) -> None:
    """Find the defects on other boards that look most like those on IMAGE."""
    if not among.is_dir():
        raise NotFound(f"There is no folder {among}.", path=str(among))
    models, golden = open_models(), read(template, allow_blank=True)
    board = read(image, allow_blank=True)
    mine, queries = _defects(board, golden, models)
    if defect is not None and defect not in {each.number for each in mine}:
        raise NotFound(f"{image.name} has no defect {defect}; it has {len(mine)}.", defect=defect)
    # A copy under another name is the same picture, and a picture that is there twice is one board.
    seen = {board.input.sha256, golden.input.sha256}
    others = sorted(each for each in among.iterdir() if each.suffix.lower() in SUFFIXES)
    places: list[tuple[Path, Defect]] = []
    vectors: list[Vectors] = []
    for path in track(others, "boards", console=Console(stderr=True), disable=as_json):
        try:
            other = read(path, allow_blank=True)
            if other.input.sha256 in seen:
                continue
            seen.add(other.input.sha256)
            found, held = _defects(other, golden, models)
        except EvidentError as error:
            click.echo(f"{path.name}: {error.message}", err=True)
            continue
        places += [(path, each) for each in found]
        vectors.append(held)
    if not places:
        raise InvalidInput(
            f"There is no defect on another board to compare with; in {among} are {len(seen) - 2} boards other than "
            f"{image.name} and its template.",
            boards=len(seen) - 2,
        )
    past = np.concatenate(vectors)
    answers = [
        (each, [(*places[row], likeness) for row, likeness in most_alike(query, past, top)])
        for each, query in zip(mine, queries, strict=True)
        if defect in (None, each.number)
    ]
    if as_json:
        click.echo(json.dumps([_as_json(*each) for each in answers], ensure_ascii=False, indent=1))
    else:
        _print(answers)


def _defects(board: Board, golden: Board, models: Models) -> tuple[tuple[Defect, ...], Vectors]:
    seen = perceive(board, golden, models)
    return seen.defects, embed(cut_crops(board.gray, golden.gray, seen.defects, alignment=seen.alignment))


def _as_json(defect: Defect, found: list[tuple[Path, Defect, float]]) -> dict[str, Any]:
    return {
        "defect": defect.number,
        "kind": defect.kind,
        "similar": [
            {
                "image": path.name,
                "defect": each.number,
                "kind": each.kind,
                "bbox": each.bbox,
                "likeness": round(score, 4),
            }
            for path, each, score in found
        ],
    }


def _print(answers: list[tuple[Defect, list[tuple[Path, Defect, float]]]]) -> None:
    table = Table("#", "kind", "likeness", "image", "its #", "its kind", "box (px)", box=None)
    for defect, found in answers:
        for at, (path, each, score) in enumerate(found):
            first = ("", "") if at else (str(defect.number), defect.kind)
            box = " ".join(f"{value:.0f}" for value in each.bbox)
            table.add_row(*first, f"{score:.2f}", path.name, str(each.number), each.kind, box)
    Console().print(table)
