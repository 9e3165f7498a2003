"""How many labels a person must give: the learning curve of the labelling loop beside random choice.

``python -m evident_manufacturing.training.curve --pack .pack --out OUT --device 0 --minutes 9``

A round raises every strategy's budget of labels (boxes that a person confirms on the boards that he is asked about),
and trains each from its last weights for the same number of steps, so that after a round all have seen as many
pictures. ``full`` has all labels from the first round on. The figures are of the detector alone on the validation part.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate.pairs import packed
from evident_manufacturing.training.rounds import Point, Run, Setup, advance, prepare

SHARES: Final = (0.05, 0.10, 0.20, 0.40)
RUNS: Final = ("full:0", "random:0", "random:1", "active:0", "loop:0", "loop:1", "weak:0")


class Curve(Frozen):
    """The whole measurement; ``epochs`` of each round are of ``images`` pictures, whichever labels they have."""

    images: int
    labels: int
    validation_images: int
    validation_labels: int
    batch: int
    shares: tuple[float, ...]
    epochs: tuple[int, ...]
    points: tuple[Point, ...]


def measure(setup: Setup, runs: Sequence[Run], epochs: int, out: Path, deadline: float | None = None) -> Curve:
    """All rounds of all runs, each in a process of its own; ``curve.json`` is written after each point.

    A run whose process fails or dies is left out of later rounds, and the others go on.

    Args:
        setup: What they share.
        runs: At their beginning.
        epochs: Of a round; with a deadline those of the first, by which the others are planned.
        out: Folder of ``curve.json``.
        deadline: ``time.monotonic()`` by which the last round should be over.
    """
    curve = Curve(
        images=len(setup.train),
        labels=sum(len(board.labels.kinds) for board in setup.train),
        validation_images=len(setup.validation),
        validation_labels=sum(len(board.labels.kinds) for board in setup.validation),
        batch=setup.batch,
        shares=SHARES,
        epochs=(),
        points=(),
    )
    for number, share in enumerate(SHARES):
        began = time.monotonic()
        curve = curve.model_copy(update={"epochs": (*curve.epochs, epochs)})
        moved = []
        with ExitStack() as running:
            # A pool for each: one whose process dies takes all that it was given with it.
            pools = [running.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in runs]
            waited = [
                pool.submit(advance, run, number, share, epochs, setup) for pool, run in zip(pools, runs, strict=True)
            ]
            for each in as_completed(waited):
                if failure := each.exception():
                    run = runs[waited.index(each)]
                    print(f"{run.strategy} {run.seed} failed and is left out: {failure!r}", flush=True)  # noqa: T201
                    continue
                run, point = each.result()
                moved.append(run)
                curve = curve.model_copy(update={"points": (*curve.points, point)})
                (out / "curve.json").write_text(curve.model_dump_json(indent=1))
                print(table(curve).splitlines()[-1], flush=True)  # noqa: T201
        if not moved:
            break
        runs = moved
        if deadline and number + 1 < len(SHARES):
            pace = max(point.seconds[1] for point in curve.points[-len(runs) :])
            start = time.monotonic() - began - pace * epochs
            epochs = max(1, int(((deadline - time.monotonic()) / (len(SHARES) - number - 1) - start) / pace))
    return curve


def table(curve: Curve) -> str:
    """The points as a table in Markdown, as they came."""
    lines = ["| strategy | labels | images | steps | taught unasked (right) | mAP .33 | mAP .5 |", "|---" * 7 + "|"]
    for each in curve.points:
        unasked = f"{each.taught} ({each.right:.3f})" if each.right is not None else ""
        labels = f"{each.labels / curve.labels:.1%} ({each.labels})"
        lines.append(
            f"| {each.strategy} {each.seed} | {labels} | {each.images} | {each.steps} | {unasked} "
            f"| {each.map_iou33:.4f} | {each.map50:.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write ``curve.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("/tmp/evident-curve"))  # noqa: S108  # the machine's scratch
    parser.add_argument("--runs", nargs="+", default=RUNS, help="strategy:seed")
    parser.add_argument("--epochs", type=int, default=12, help="Of a round; with --minutes of the first.")
    parser.add_argument("--minutes", type=float, help="Plan the rounds after the first so that all end in this time.")
    parser.add_argument("--pairs", type=int, help="Train and validate on so many alone, to try it.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--workers", type=int, default=2, help="Loading processes of each run.")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    began = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    train, validation = (
        prepare(packed(given.pack / part)[: given.pairs], given.data.resolve() / part, given.processes)
        for part in ("train", "val")
    )
    setup = Setup(given.data.resolve(), train, validation, given.device, given.batch, given.workers)
    runs = [Run(name, int(seed)) for name, _, seed in (each.partition(":") for each in given.runs)]
    deadline = began + given.minutes * 60 if given.minutes else None
    print(table(measure(setup, runs, given.epochs, given.out, deadline)))  # noqa: T201


if __name__ == "__main__":
    main()
