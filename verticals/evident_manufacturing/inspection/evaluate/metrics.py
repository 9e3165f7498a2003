"""How good boxes are: average precision, precision, recall and F.

Average precision is the area under the precision-recall curve made monotonous, all points (PASCAL VOC 2010 and later);
a box is right where it overlaps an unmatched label of its kind by at least the IoU asked for, the surest box first.
DeepPCB's own figure is that at IoU 0.33 (arXiv:1902.06197, 5.2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image: [N, 4] (x0, y0, x1, y1), kinds [N], and scores [N] where they are detected."""

    xyxy: Float
    kinds: NDArray[np.int64]
    scores: Float


@dataclass(frozen=True)
class Score:
    """Figures at one IoU: average precision of each kind that has labels, and their mean."""

    by_kind: dict[int, float]

    @property
    def mean(self) -> float:
        """Over kinds that have labels; 0 where none has."""
        return float(np.mean(list(self.by_kind.values()))) if self.by_kind else 0.0


@dataclass(frozen=True)
class Operating:
    """Precision, recall and F at one threshold of the score."""

    threshold: float
    precision: float
    recall: float
    f1: float


def average_precision(found: Sequence[Boxes], labels: Sequence[Boxes], iou: float) -> Score:
    """Mean and single average precisions over images in the same order."""
    by_kind = {}
    for kind in sorted({int(kind) for each in labels for kind in each.kinds}):
        scores, right, total = [], [], 0
        for one, truth in zip(found, labels, strict=True):
            mine, theirs = one.kinds == kind, truth.kinds == kind
            total += int(theirs.sum())
            scores.append(one.scores[mine])
            right.append(_matched(one.xyxy[mine], one.scores[mine], truth.xyxy[theirs], iou))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        hits = np.concatenate(right)[order]
        by_kind[kind] = _area(np.cumsum(hits), np.arange(1, len(hits) + 1), total)
    return Score(by_kind)


def best_operating(found: Sequence[Boxes], labels: Sequence[Boxes], iou: float) -> Operating:
    """The threshold with the highest F over all kinds together, and what is reached there."""
    scores, hits, total = _all(found, labels, iou)
    if not len(scores) or not total:
        return Operating(1.0, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    precision, recall = right / np.arange(1, len(right) + 1), right / total
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # Equal scores are one threshold: only the last of them is a point.
    last = np.append(np.diff(scores[order]) != 0, True)
    at = int(np.argmax(np.where(last, f1, -1.0)))
    return Operating(float(scores[order][at]), float(precision[at]), float(recall[at]), float(f1[at]))


def operating(found: Sequence[Boxes], labels: Sequence[Boxes], iou: float, threshold: float) -> Operating:
    """What is reached at a threshold that was chosen before."""
    scores, hits, total = _all([_above(each, threshold) for each in found], labels, iou)
    precision = float(hits.sum() / len(scores)) if len(scores) else 0.0
    recall = float(hits.sum() / total) if total else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Operating(threshold, precision, recall, f1)


def overlaps(a: Float, b: Float) -> Float:
    """IoU of each of a [N, 4] with each of b [M, 4]: [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (a, b)]
    whole: Float = areas[0][:, None] + areas[1][None, :] - both
    shares: Float = both / np.maximum(whole, 1e-12)
    return shares


def _above(boxes: Boxes, threshold: float) -> Boxes:
    kept = boxes.scores >= threshold
    return Boxes(boxes.xyxy[kept], boxes.kinds[kept], boxes.scores[kept])


def _all(found: Iterable[Boxes], labels: Iterable[Boxes], iou: float) -> tuple[Float, NDArray[np.bool_], int]:
    scores: list[Float] = [np.empty(0)]
    hits: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]
    total = 0
    for one, truth in zip(found, labels, strict=True):
        total += len(truth.kinds)
        for kind in np.unique(one.kinds):
            mine, theirs = one.kinds == kind, truth.kinds == kind
            scores.append(one.scores[mine])
            hits.append(_matched(one.xyxy[mine], one.scores[mine], truth.xyxy[theirs], iou))
    return np.concatenate(scores), np.concatenate(hits), total


def _matched(boxes: Float, scores: Float, labels: Float, iou: float) -> NDArray[np.bool_]:
    """Which boxes are right; each label is matched once, by the surest box that overlaps it most."""
    right = np.zeros(len(boxes), np.bool_)
    if not len(boxes) or not len(labels):
        return right
    found, free = overlaps(boxes, labels), np.ones(len(labels), np.bool_)
    for index in np.argsort(-scores, kind="stable"):
        over = np.where(free, found[index], -1.0)
        best = int(np.argmax(over))
        if over[best] >= iou:
            right[index], free[best] = True, False
    return right


def _area(right: NDArray[np.int64], seen: NDArray[np.int64], total: int) -> float:
    if not total or not len(right):
        return 0.0
    recall, precision = right / total, right / seen
    recall = np.concatenate([[0.0], recall])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))
