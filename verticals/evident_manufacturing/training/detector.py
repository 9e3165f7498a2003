"""Train the detector: datasets of fused or plain images from packed pairs and generated boards, then Ultralytics.

``python -m evident_manufacturing.training.detector --pack .pack --out OUT --epochs 80 --device 0``
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.evaluate import labels_of
from evident_manufacturing.inspection.evaluate.metrics import Boxes
from evident_manufacturing.inspection.evaluate.pairs import Pair, unpack
from evident_manufacturing.inspection.perceive import lay_under
from evident_manufacturing.inspection.perceive.align import align, warp
from evident_manufacturing.inspection.perceive.difference import difference, stack
from evident_manufacturing.inspection.perceive.tiles import tiles
from evident_manufacturing.inspection.schema import KINDS, Alignment

GENERATOR: Final = Path(__file__).parents[3] / "sample_data" / "manufacturing"
SIZE: Final = 640


def fuse(pair: Pair) -> NDArray[np.uint8]:
    """(difference, template, test) [H, W, 3], as an inspection makes it; the template as it lies where none fits."""
    try:
        template = warp(pair.template, align(pair.test, pair.template), pair.test.shape)
    except InvalidInput:
        template = pair.template
    return stack(pair.test, template, difference(pair.test, template).map)


def plain(pair: Pair) -> NDArray[np.uint8]:
    """The test alone, three times."""
    return np.dstack([pair.test] * 3)


def generated(first: int, count: int, **how: object) -> Iterator[Pair]:
    """Boards of the project's own generator, the first of them from seed ``first``, made as its keywords say."""
    if not count:
        return
    if str(GENERATOR) not in sys.path:
        sys.path.insert(0, str(GENERATOR))
    generate = import_module("pcb_boards").generate
    for seed in range(first, first + count):
        sample = generate(seed, **how)
        boxes = np.array([each.label_box for each in sample.defects], np.float32).reshape(-1, 4)
        classes = np.array([KINDS.index(each.kind) for each in sample.defects], np.int64)
        yield Pair(f"made.{seed}", sample.template, sample.test, boxes, classes)


def cut(pair: Pair) -> list[Pair]:
    """A pair in pieces of 640 x 640, as the network takes them, its template laid under the test before.

    A label goes with each piece in which its centre lies, and ends at the piece's edge; smaller pairs are filled up
    with their own edge.
    """
    if pair.test.shape == pair.template.shape == (SIZE, SIZE):
        return [pair]
    try:
        laid = lay_under(pair.test, pair.template)[1]
    except InvalidInput:
        laid = warp(pair.template, Alignment(confidence=0.0), pair.test.shape)
    pieces = []
    for number, tile in enumerate(tiles(*pair.test.shape)):
        left, top, right, bottom = tile.box
        filled = ((0, SIZE - (bottom - top)), (0, SIZE - (right - left)))
        template, test = (np.pad(each[top:bottom, left:right], filled, mode="edge") for each in (laid, pair.test))
        x, y = (pair.boxes[:, :2] + pair.boxes[:, 2:]).T / 2
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        low, high = np.array([left, top] * 2, np.float32), np.array([right, bottom] * 2, np.float32)
        boxes = np.clip(pair.boxes[inside], low, high) - low
        pieces.append(Pair(f"{pair.name}.{number}", template, test, boxes, pair.classes[inside]))
    return pieces


def write_dataset(
    target: Path, train: Iterable[Pair], validation: Iterable[Pair], *, fused: bool, processes: int
) -> Path:
    """A dataset in Ultralytics' layout; gives its YAML."""
    for part, pairs in (("train", train), ("val", validation)):
        for kind in ("images", "labels"):
            (target / kind / part).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            batch = list(pairs)
            for pair, image in zip(batch, pool.map(fuse if fused else plain, batch, chunksize=8), strict=True):
                cv2.imwrite(str(target / "images" / part / f"{pair.name}.png"), image)
                lines = label_lines(labels_of(pair), *pair.test.shape)
                (target / "labels" / part / f"{pair.name}.txt").write_text(lines)
    described = {"path": str(target.resolve()), "train": "images/train", "val": "images/val", "names": list(KINDS)}
    path = target / "data.yaml"
    path.write_text(json.dumps(described))
    return path


def label_lines(labels: Boxes, height: int, width: int) -> str:
    """Labels as Ultralytics reads them: class, centre, width and height, in shares of the picture's pixels."""
    x0, y0, x1, y1 = (labels.xyxy / (width, height, width, height)).T
    rows = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)
    return "\n".join(
        f"{kind} {' '.join(f'{value:.6f}' for value in row)}" for kind, row in zip(labels.kinds, rows, strict=True)
    )


def schedule(epochs: int, rate: float | None = None) -> dict[str, Any]:
    """Settings of a training; with a first learning rate where an earlier one is gone on from."""
    more: dict[str, Any] = {"cache": "ram", "cos_lr": True, "patience": 0, "close_mosaic": min(15, epochs // 4)}
    return more if rate is None else more | {"optimizer": "SGD", "lr0": rate, "warmup_epochs": 0}


def main() -> None:
    """Make the dataset and train on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("/tmp/evident-data"))  # noqa: S108  # the machine's scratch
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--generated", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--rate", type=float, help="First learning rate, where an earlier run is gone on from.")
    given = parser.parse_args()
    train = [*unpack(given.pack / "train"), *generated(1_000_000, given.generated)]
    data = write_dataset(
        given.data / ("plain" if given.plain else "fused"),
        train,
        unpack(given.pack / "val"),
        fused=not given.plain,
        processes=given.workers,
    )
    best = detect.train(
        data,
        given.out,
        epochs=given.epochs,
        weights=given.weights,
        batch=given.batch,
        device=given.device,
        workers=given.workers,
        **schedule(given.epochs, given.rate),
    )
    print(best)  # noqa: T201


if __name__ == "__main__":
    main()
