"""One round of a labelling loop on labelled pairs that stand in for the person: look, ask, teach, train, measure."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection import detect
from evident_manufacturing.inspection.evaluate import OFFICIAL_IOU, labels_of
from evident_manufacturing.inspection.evaluate.metrics import Boxes, average_precision, overlaps
from evident_manufacturing.inspection.evaluate.pairs import unpack_one
from evident_manufacturing.inspection.perceive.difference import Difference
from evident_manufacturing.inspection.schema import KINDS, Candidate, Detection
from evident_manufacturing.training.choose import Look, compared, look_at, order
from evident_manufacturing.training.detector import label_lines, schedule
from evident_manufacturing.training.gates import boxes_of_detections
from evident_manufacturing.training.weak import HINT, agreed_labels, golden_labels, ready

_WATCHED: Final = 16
"""Boards that Ultralytics' own closing validation looks at; the figures here are of all of them."""
_MAP: Final = np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Strategy:
    """Which boards a person labels, and whether the others are taught by labels that nobody gave."""

    asks: Literal["all", "random", "active", "none"]
    weak: bool = False


STRATEGIES: Final = {
    "full": Strategy("all"),
    "random": Strategy("random"),
    "active": Strategy("active"),
    "loop": Strategy("active", weak=True),
    "weak": Strategy("none", weak=True),
}


class Point(Frozen):
    """A strategy after a round.

    Attributes:
        labels: That a person gave so far, on ``images`` boards.
        steps: Batches that were trained on so far.
        taught: Boards with labels that nobody gave; ``left_out`` had an ambiguous place.
        right: Share of those labels that are true (kind, and IoU 0.33); ``recalled`` of the true ones on those boards.
        seconds: Of the round, and of an epoch of it.
    """

    strategy: str
    seed: int
    round: int
    labels: int
    images: int
    steps: int
    taught: int
    left_out: int
    right: float | None
    recalled: float | None
    map_iou33: float
    map50: float
    by_kind: dict[str, float]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Board:
    """A pair as it was compared: its fused picture's file, its differences, and its true labels."""

    name: str
    path: Path
    labels: Boxes
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Setup:
    """What all runs share."""

    folder: Path
    train: tuple[Board, ...]
    validation: tuple[Board, ...]
    device: str
    batch: int
    workers: int


@dataclass(frozen=True)
class Run:
    """A strategy with a seed, and how far it is: the boards that a person labelled, and the weights."""

    strategy: str
    seed: int
    asked: tuple[int, ...] = ()
    weights: Path | None = None
    steps: int = 0


def prepare(paths: Sequence[Path], folder: Path, processes: int) -> tuple[Board, ...]:
    """Compare packed pairs with their templates, once for all runs.

    Raises:
        InvalidInput: A template does not fit its board.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return tuple(pool.map(_prepare, paths, [folder] * len(paths), chunksize=8))


def _prepare(packed_pair: Path, folder: Path) -> Board:
    cv2.setNumThreads(1)
    pair = unpack_one(packed_pair)
    image, found = compared(pair)
    path = folder / "images" / f"{pair.name}.bmp"
    cv2.imwrite(str(path), image)
    (folder / "labels" / f"{pair.name}.txt").write_text(label_lines(labels_of(pair), *pair.test.shape))
    return Board(pair.name, path, labels_of(pair), found.candidates)


def advance(run: Run, number: int, share: float, epochs: int, setup: Setup) -> tuple[Run, Point]:
    """One round: look, ask, teach, train, measure."""
    began, strategy, every = time.perf_counter(), STRATEGIES[run.strategy], range(len(setup.train))
    looks = _looks(run, setup) if strategy.weak or strategy.asks == "active" else []
    asked = tuple(every) if strategy.asks == "all" else (*run.asked, *ask(run, strategy, share, looks, setup))
    own = [index for index in every if index not in set(asked)] if strategy.weak else []
    told = unasked(own, looks, setup)
    weak = {index: labels for index, labels in told.items() if labels is not None}
    taught = weak | {index: setup.train[index].labels for index in asked}
    if not taught:
        raise InvalidInput(f"{share:.0%} of the labels are not one board; give {run.strategy} a larger budget.")
    folder = setup.folder / f"{run.strategy}{run.seed}" / str(number)
    data = write_round(folder, taught, asked or tuple(taught), setup)
    # The last weights are measured, and nothing is chosen on the validation part. Mosaics of four boards are half of
    # the pictures all along: to end them early takes new loading processes in mid-training, and some of those died.
    settings = schedule(epochs) | {"mosaic": 0.5, "close_mosaic": 0, "warmup_epochs": 1}
    settings |= {"val": False, "save": False, "deterministic": False}
    weights = detect.train(
        data,
        folder / "run",
        epochs=epochs,
        weights=run.weights,
        batch=setup.batch,
        device=setup.device,
        workers=setup.workers,
        seed=run.seed,
        **settings,
    )
    steps = run.steps + epochs * -(-len(setup.train) // setup.batch)
    found = [boxes_of_detections(each) for each in _detect(weights, setup.validation, setup.device, 0.001)]
    truth = [board.labels for board in setup.validation]
    official = average_precision(found, truth, OFFICIAL_IOU)
    right, recalled = _correct(weak, setup)
    point = Point(
        strategy=run.strategy,
        seed=run.seed,
        round=number,
        labels=sum(len(setup.train[index].labels.kinds) for index in asked),
        images=len(asked),
        steps=steps,
        taught=len(weak),
        left_out=len(told) - len(weak),
        right=right,
        recalled=recalled,
        map_iou33=round(official.mean, 4),
        map50=round(average_precision(found, truth, 0.5).mean, 4),
        by_kind={KINDS[kind]: round(value, 4) for kind, value in official.by_kind.items()},
        seconds=(round(time.perf_counter() - began, 1), _seconds_of_epoch(folder / "run" / "results.csv")),
    )
    return replace(run, asked=asked, weights=weights, steps=steps), point


def _looks(run: Run, setup: Setup) -> list[Look]:
    seen = _detect(run.weights, setup.train, setup.device, HINT / 2) if run.weights else [[]] * len(setup.train)
    return [_look(board, each) for board, each in zip(setup.train, seen, strict=True)]


def unasked(own: Sequence[int], looks: Sequence[Look], setup: Setup) -> dict[int, Boxes | None]:
    """Labels of boards that nobody was asked about; None: a place on it is ambiguous."""
    if ready([look.places for look in looks]):
        return {index: agreed_labels(looks[index].places) for index in own}
    alone = {index: _look(setup.train[index], ()) for index in own}
    return {index: golden_labels(look.places) for index, look in alone.items()}


def _look(board: Board, detections: Sequence[Detection]) -> Look:
    return look_at(board.name, _image(board), Difference(_MAP, board.candidates), detections)


def _detect(weights: Path, boards: Sequence[Board], device: str, threshold: float) -> list[list[Detection]]:
    return detect.predict(weights, [_image(board) for board in boards], threshold=threshold, device=device)


def _image(board: Board) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(board.path)), np.uint8)


def ask(run: Run, strategy: Strategy, share: float, looks: Sequence[Look], setup: Setup) -> Iterator[int]:
    """The boards to label now: in the strategy's order, until the next would take more labels than the budget has."""
    if strategy.asks == "none":
        return
    counts = [len(board.labels.kinds) for board in setup.train]
    left = [index for index in range(len(setup.train)) if index not in set(run.asked)]
    if strategy.asks == "active":
        queue = [left[at] for at in order([looks[index] for index in left], [looks[index] for index in run.asked])]
    else:
        queue = [int(each) for each in np.random.default_rng((run.seed, len(run.asked))).permutation(left)]
    budget = share * sum(counts) - sum(counts[index] for index in run.asked)
    for index in queue:
        budget -= counts[index]
        if budget < 0:
            return
        yield index


def write_round(folder: Path, taught: dict[int, Boxes], filling: Sequence[int], setup: Setup) -> Path:
    """A dataset of as many pictures as all strategies have, those with given labels repeated where there are fewer."""
    images, labels = folder / "images", folder / "labels"
    for part in (images, labels):
        part.mkdir(parents=True)
    for index, given in taught.items():
        board = setup.train[index]
        os.link(board.path, images / board.path.name)
        (labels / f"{board.name}.txt").write_text(label_lines(given, *_image(board).shape[:2]))
    names = [setup.train[index].path.name for index in taught]
    extra = [setup.train[filling[at % len(filling)]].path.name for at in range(len(setup.train) - len(names))]
    (folder / "train.txt").write_text("".join(f"{images / name}\n" for name in names + extra))
    (folder / "val.txt").write_text("".join(f"{board.path}\n" for board in setup.validation[:_WATCHED]))
    described = {"path": str(folder), "train": "train.txt", "val": "val.txt", "names": list(KINDS)}
    (folder / "data.yaml").write_text(json.dumps(described))
    return folder / "data.yaml"


def _correct(weak: dict[int, Boxes], setup: Setup) -> tuple[float | None, float | None]:
    """How many of the labels that nobody gave are true, and how many of the true ones are among them."""
    right = given = wanted = 0
    for index, labels in weak.items():
        truth = setup.train[index].labels
        same = labels.kinds[:, None] == truth.kinds[None, :]
        right += int((same & (overlaps(labels.xyxy, truth.xyxy) >= OFFICIAL_IOU)).any(axis=0).sum())
        given, wanted = given + len(labels.kinds), wanted + len(truth.kinds)
    return (round(right / given, 4), round(right / wanted, 4)) if given and wanted else (None, None)


def _seconds_of_epoch(results: Path) -> float:
    """The median, by the times since the beginning that Ultralytics writes down after each."""
    at = np.genfromtxt(results, delimiter=",", names=True)["time"]
    return round(float(np.median(np.diff(at, prepend=0.0))), 2) if at.ndim else float(at)
