"""The detectors that ship, from random weights in one command: fused and plain beside each other on one device.

``python -m evident_manufacturing.training.weights --pack .pack --out OUT --device 0``

A detector's training is rounds, each with the learning rate at its beginning again (warm restarts: Loshchilov and
Hutter, 2017), in a process of its own, and from those weights of the round before that had the best mAP at 0.5 to 0.95.
Given are the last weights of the last round: by the mean over strict overlaps an epoch in the middle wins, whose
mAP at IoU 0.33 is lower. Mosaics of four boards are half of the pictures all along, as an inspection sees whole ones.
Epochs are planned by the time that they take, so that both detectors get as much of the device.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.evaluate.pairs import Pair, unpack
from evident_manufacturing.training.detector import generated, schedule, write_dataset

NAMES: Final = ("fused", "plain")
FIRST_SEED: Final = 1_000_000
"""Of the generated boards."""
ROUNDS: Final = 3
_EPOCHS: Final = 100
"""Until the first epoch's time is known."""


@dataclass(frozen=True)
class Training:
    """What both detectors share.

    Attributes:
        pack: Folder of packed pairs, ``train`` and ``val``.
        out: Folder for the runs, and for ``fused.pt`` and ``plain.pt``.
        data: Folder for the datasets.
        generated: Boards of the project's generator beside the pairs.
        minutes: For all rounds, beside what it takes to begin and to end them.
        device: ``cpu`` or a CUDA device's number.
        batch: Images a step.
        workers: Processes that load images, of each detector.
    """

    pack: Path
    out: Path
    data: Path
    generated: int
    minutes: float
    device: str
    batch: int
    workers: int


def make(training: Training, name: str) -> Path:
    """Train the detector of a name; gives its ``.pt``.

    Raises:
        BrokenProcessPool: A process died.
    """
    data = _alone(prepare, training, name)
    best: Path | None = None
    for number in range(ROUNDS):
        best = _alone(advance, training, data, f"{name}.{number}", best)
    last = training.out / f"{name}.{ROUNDS - 1}" / "weights" / "last.pt"
    return Path(shutil.copy(last, training.out / f"{name}.pt"))


def prepare(training: Training, name: str) -> Path:
    """Write the dataset of a detector; gives its YAML."""
    validation = unpack(training.pack / "val")
    target, fused = training.data / name, name == "fused"
    return write_dataset(target, pictures(training, name), validation, fused=fused, processes=training.workers)


def pictures(training: Training, name: str) -> Iterator[Pair]:
    """What a detector is trained on: labelled pairs and generated boards.

    The plain one, which is shown no template beside a board, sees those of the pairs as boards without a defect.
    """
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    for pair in unpack(training.pack / "train"):
        yield pair
        if name == "plain":
            yield Pair(f"{pair.name}.template", pair.template, pair.template, *nothing)
    yield from generated(FIRST_SEED, training.generated)


def _alone(work: Callable[..., Path], *given: object) -> Path:
    """Do it in a process of its own, which takes what it holds of the device with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def advance(training: Training, data: Path, run: str, weights: Path | None) -> Path:
    """One round, from random weights or those of the last; gives its best ones."""
    return detect.train(
        data,
        training.out / run,
        epochs=_EPOCHS,
        weights=weights,
        batch=training.batch,
        device=training.device,
        workers=training.workers,
        time=training.minutes / ROUNDS / 60,
        **schedule(_EPOCHS) | {"mosaic": 0.5, "close_mosaic": 0, "warmup_epochs": 1},
    )


def main() -> None:
    """Train both, and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("/tmp/evident-weights"))  # noqa: S108  # the machine's scratch
    parser.add_argument("--generated", type=int, default=1200)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2 - 1))
    given = Training(**vars(parser.parse_args()))
    given.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(NAMES)) as threads:
        for made in threads.map(partial(make, given), NAMES):
            print(made)  # noqa: T201


if __name__ == "__main__":
    main()
