"""The service's own figures on labelled pairs in DeepPCB's layout."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate.metrics import Boxes, average_precision, best_operating, operating
from evident_manufacturing.inspection.evaluate.pairs import Pair, divide, entries, read
from evident_manufacturing.inspection.perceive import Models, lay_under, weigh
from evident_manufacturing.inspection.perceive.arbiter import Proposal
from evident_manufacturing.inspection.perceive.difference import difference
from evident_manufacturing.inspection.schema import KINDS

OFFICIAL_IOU = 0.33
"""DeepPCB's own."""


class Group(Frozen):
    """Figures of the pairs of one board."""

    pairs: int
    map_iou33: float
    map50: float
    f1: float


class Evaluation(Frozen):
    """Figures on a folder.

    Attributes:
        pairs: How many were measured; ``refused`` of them had a template that the aligner refused.
        map_iou33: Mean average precision at IoU 0.33.
        map50: The same at 0.5.
        f1: At the threshold that the shipped arbiter reports from, IoU 0.33; ``best_f1`` at the best one of this data.
        by_kind: map_iou33 of each kind.
        by_group: Of each board group.
        milliseconds: Median of a pair: align, difference, detect and weigh.
    """

    folder: str
    model: str
    pairs: int
    refused: int
    labels: int
    map_iou33: float
    map50: float
    precision: float
    recall: float
    f1: float
    best_f1: float
    best_threshold: float
    by_kind: dict[str, float]
    by_group: dict[str, Group]
    milliseconds: float


@dataclass(frozen=True)
class _Measured:
    group: str
    found: Boxes
    labels: Boxes


def evaluate(
    folder: Path,
    models: Models,
    *,
    split: str = "trainval.txt",
    part: str = "all",
    on_pair: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure the golden and learned path on labelled pairs.

    Args:
        folder: In DeepPCB's layout.
        models: That are open.
        split: Its file in that folder.
        part: ``"all"`` of the split file, or its ``"train"`` or ``"validation"`` part (every fifth pair of each board).
        on_pair: Told how many are done, and of how many.

    Raises:
        NotFound: The folder has no such split file, or a file is missing.
        InvalidInput: A file is damaged, or there is no pair.
    """
    every = entries(folder, split)
    train, validation = divide(every)
    chosen = {"all": every, "train": train, "validation": validation}.get(part)
    if chosen is None:
        raise InvalidInput(f"{part!r} is no part; it is all, train or validation.", part=part)
    if not chosen:
        raise InvalidInput(f"{split} of {folder} lists no pair of that part.", path=str(folder))
    measured, took, refused = [], [], 0
    for number, entry in enumerate(chosen, 1):
        pair = read(entry)
        began = time.perf_counter()
        try:
            weighed = see(pair, models)
        except InvalidInput:
            refused, weighed = refused + 1, []
        took.append(time.perf_counter() - began)
        measured.append(_Measured(entry.group, boxes_of(weighed), labels_of(pair)))
        if on_pair:
            on_pair(number, len(chosen))
    return _evaluation(folder, models, measured, refused, float(np.median(took)) * 1e3)


def see(pair: Pair, models: Models) -> list[tuple[Proposal, float]]:
    """Every place of a pair that may be a defect, with its probability."""
    _, laid, valid = lay_under(pair.test, pair.template)
    return weigh(pair.test, laid, difference(pair.test, laid, valid=valid), models)


def boxes_of(weighed: list[tuple[Proposal, float]]) -> Boxes:
    """Places as boxes with scores; kinds that are not the detector's own are left out."""
    kept = [(each, p) for each, p in weighed if each.kind in KINDS]
    return Boxes(
        np.array([each.bbox for each, _ in kept], np.float64).reshape(-1, 4),
        np.array([KINDS.index(each.kind) for each, _ in kept], np.int64),
        np.array([p for _, p in kept], np.float64),
    )


def labels_of(pair: Pair) -> Boxes:
    """The labels of a pair as boxes."""
    return Boxes(pair.boxes.astype(np.float64), pair.classes, np.ones(len(pair.classes)))


def _evaluation(folder: Path, models: Models, measured: list[_Measured], refused: int, took: float) -> Evaluation:
    found, labels = [each.found for each in measured], [each.labels for each in measured]
    official = average_precision(found, labels, OFFICIAL_IOU)
    at = operating(found, labels, OFFICIAL_IOU, models.arbiter.threshold)
    best = best_operating(found, labels, OFFICIAL_IOU)
    groups = {}
    for group in sorted({each.group for each in measured}):
        mine, truth = zip(*((each.found, each.labels) for each in measured if each.group == group), strict=True)
        groups[group] = Group(
            pairs=len(mine),
            map_iou33=round(average_precision(mine, truth, OFFICIAL_IOU).mean, 4),
            map50=round(average_precision(mine, truth, 0.5).mean, 4),
            f1=round(operating(mine, truth, OFFICIAL_IOU, models.arbiter.threshold).f1, 4),
        )
    return Evaluation(
        folder=folder.name,
        model=models.fused.version,
        pairs=len(measured),
        refused=refused,
        labels=sum(len(each.kinds) for each in labels),
        map_iou33=round(official.mean, 4),
        map50=round(average_precision(found, labels, 0.5).mean, 4),
        precision=round(at.precision, 4),
        recall=round(at.recall, 4),
        f1=round(at.f1, 4),
        best_f1=round(best.f1, 4),
        best_threshold=round(best.threshold, 4),
        by_kind={KINDS[kind]: round(value, 4) for kind, value in official.by_kind.items()},
        by_group=groups,
        milliseconds=round(took, 2),
    )


__all__ = ["Evaluation", "evaluate", "see"]
