"""A board and its template to defects: align, difference, detect, weigh, measure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import ModelNotReady
from evident_core.progress import OnProgress, Progress, silent
from evident_manufacturing.inspection.ingest import Board
from evident_manufacturing.inspection.perceive.align import lay_under as laid_under
from evident_manufacturing.inspection.perceive.arbiter import ArbiterModel, Proposal, propose
from evident_manufacturing.inspection.perceive.bands import STAGE, WHOLE, look, views
from evident_manufacturing.inspection.perceive.detector import Detector
from evident_manufacturing.inspection.perceive.difference import (
    FINE,
    Difference,
    difference,
    followed,
    mask_of,
    rle_of,
    stack,
)
from evident_manufacturing.inspection.perceive.measure import EDGE_JITTER, measure
from evident_manufacturing.inspection.perceive.pyramid import align_large
from evident_manufacturing.inspection.perceive.tiles import detect_in_rows, detect_in_tiles
from evident_manufacturing.inspection.schema import Alignment, Calibration, Candidate, Defect, Detection, Seen

Gray = NDArray[np.uint8]
PLAIN_THRESHOLD: Final = 0.25
"""Least score of a box where there is no template to confirm it: the best F of the plain model's validation."""
_FINE_AREA: Final = 3
_AROUND: Final = 2


@dataclass(frozen=True)
class Models:
    """What perceives: a detector of fused images with its arbiter, and one of plain ones for boards without template.

    Attributes:
        fused: Needed where templates are given.
        arbiter: Fitted for ``fused``.
        plain: None: a board without a template is refused.
    """

    fused: Detector
    arbiter: ArbiterModel
    plain: Detector | None = None


@dataclass(frozen=True)
class Perception:
    """What was found on one board, what it was found with, and how long each step took."""

    defects: tuple[Defect, ...]
    alignment: Alignment | None
    model: str
    milliseconds: dict[str, float]


def perceive(
    board: Board,
    template: Board | None,
    models: Models,
    calibration: Calibration | None = None,
    *,
    least: float | None = None,
    on_progress: OnProgress = silent,
) -> Perception:
    """Find and measure the defects of a board.

    Args:
        board: The tested image.
        template: The golden sample; None: only the plain detector looks, and nothing is measured.
        models: That are open.
        calibration: One that holds; None: sizes are in pixels.
        least: Probability from which a place is a defect; by default what was fitted.
        on_progress: Told within a board that takes long.

    Raises:
        InvalidInput: The template does not fit the board; the message says how.
        ModelNotReady: There is no template, and no plain model.
    """
    clock = _Clock()
    if template is None:
        if models.plain is None:
            raise ModelNotReady(
                "A board without a template needs the plain detector, which is not there; give a template."
            )
        seen = _plainly(board.gray, models.plain, on_progress)
        clock.lap("detect")
        proposals = propose(seen, None, board.gray, None, floor=PLAIN_THRESHOLD if least is None else least)
        defects = _numbered([(each, each.score) for each in proposals], board.gray, None, None, EDGE_JITTER)
        return Perception(defects, None, models.plain.version, clock.laps)
    if board.gray.size > WHOLE:
        return _in_bands(board.gray, template.gray, models, calibration, least, on_progress)
    alignment, laid, valid = lay_under(board.gray, template.gray)
    clock.lap("align")
    found = difference(board.gray, laid, valid=valid)
    clock.lap("difference")
    weighed = weigh(board.gray, laid, found, models)
    clock.lap("detect")
    threshold = models.arbiter.threshold if least is None else least
    kept = [(proposal, p) for proposal, p in weighed if p >= threshold]
    jitter = alignment.residual or EDGE_JITTER
    defects = _numbered(kept, board.gray, laid, calibration, jitter)
    clock.lap("measure")
    return Perception(defects, alignment, models.fused.version, clock.laps)


def _plainly(test: Gray, detector: Detector, on_progress: OnProgress) -> list[Detection]:
    """What the detector sees in a board alone."""
    image = np.broadcast_to(test[..., None], (*test.shape, 3))

    def rows(top: int, bottom: int) -> Gray:
        on_progress(Progress(stage=STAGE, done=top, total=test.shape[0]))
        return image[top:bottom]

    return detect_in_rows(test.shape, rows, detector.detect)


def _in_bands(
    test: Gray,
    template: Gray,
    models: Models,
    calibration: Calibration | None,
    least: float | None,
    on_progress: OnProgress,
) -> Perception:
    """The same of a board that is too large to be held several times over."""
    clock = _Clock()
    alignment = align_large(test, template, on_progress=on_progress)
    clock.lap("align")
    seen, candidates = look(test, template, alignment, models.fused.detect, on_progress)
    clock.lap("detect")
    threshold = models.arbiter.threshold if least is None else least
    jitter = alignment.residual or EDGE_JITTER
    found: list[tuple[tuple[float, float], Defect]] = []
    for view in views(test, template, alignment, seen, candidates, on_progress):
        weighed = _weighed(view.seen, view.test, view.laid, view.found, models.arbiter)
        kept = sorted((each for each in weighed if each[1] >= threshold), key=_reading)
        for each, defect in zip(kept, _numbered(kept, view.test, view.laid, calibration, jitter), strict=True):
            y, x = _reading(each)
            found.append(
                ((y + view.top, x + view.left), defect.model_copy(update={"bbox": view.on_board(defect.bbox)}))
            )
    found.sort(key=lambda each: each[0])
    numbered = tuple(defect.model_copy(update={"number": number}) for number, (_, defect) in enumerate(found, 1))
    clock.lap("measure")
    return Perception(numbered, alignment, models.fused.version, clock.laps)


def lay_under(test: Gray, template: Gray) -> tuple[Alignment, Gray, NDArray[np.bool_]]:
    """Align a template and lay it under the tested image; also which pixels it reaches, bool [H, W].

    Where it does not reach there is nothing to compare with: there the test stands in for it, as a made-up border would
    look like a defect to the detector.

    Raises:
        InvalidInput: The template does not fit the board; the message says how.
    """
    alignment, laid, valid = laid_under(test, template)
    cv2.copyTo(test, np.logical_not(valid).view(np.uint8), laid)
    return alignment, laid, valid


def weigh(test: Gray, laid: Gray, found: Difference, models: Models) -> list[tuple[Proposal, float]]:
    """Every place that the detector or the template names, with the probability that it is a defect."""
    seen = detect_in_tiles(stack(test, laid, found.map), models.fused.detect)
    return _weighed(seen, test, laid, found, models.arbiter)


def _weighed(
    seen: Sequence[Detection], test: Gray, laid: Gray, found: Difference, arbiter: ArbiterModel
) -> list[tuple[Proposal, float]]:
    proposals = [_looked_at_again(each, test, laid) for each in propose(seen, found, test, laid)]
    return [(each, each.probability(arbiter)) for each in proposals]


def _looked_at_again(proposal: Proposal, test: Gray, laid: Gray) -> Proposal:
    """What only the detector sees, with the differences in its middle that a finer comparison shows.

    A bite or a spur of three pixels is within the tolerance of an edge; where the detector points, less is tolerated.
    """
    if proposal.seen is not Seen.LEARNED:
        return proposal
    x0, y0, x1, y1 = proposal.bbox
    left, top = max(0, int(x0) - _AROUND), max(0, int(y0) - _AROUND)
    view = np.s_[top : int(y1) + _AROUND + 1, left : int(x1) + _AROUND + 1]
    found = difference(test[view], laid[view], tolerance=FINE, least=_FINE_AREA)
    x, y = (x0 + x1) / 2 - left, (y0 + y1) / 2 - top
    reach = (x1 - x0) / 4 + _AROUND, (y1 - y0) / 4 + _AROUND
    own = [
        each.model_copy(update={"bbox": (a + left, b + top, c + left, d + top)})
        for each in found.candidates
        for a, b, c, d in (each.bbox,)
        if abs((a + c) / 2 - x) <= reach[0] and abs((b + d) / 2 - y) <= reach[1]
    ]
    return replace(proposal, candidates=tuple(own))


def _numbered(
    kept: Sequence[tuple[Proposal, float]],
    test: Gray,
    laid: Gray | None,
    calibration: Calibration | None,
    jitter: float,
) -> tuple[Defect, ...]:
    """Defects in reading order, measured on their differences."""
    if laid is not None:
        kept = [
            (replace(each, candidates=tuple(followed(one, test, laid) for one in each.candidates)), p)
            for each, p in kept
        ]
    ordered = sorted(kept, key=_reading)
    return tuple(
        Defect(
            number=number,
            kind=proposal.kind,
            bbox=_around(proposal),
            score=probability,
            seen=proposal.seen,
            mask_rle=_mask(proposal),
            size=measure(whole, test, laid, calibration, jitter=jitter)
            if laid is not None and (whole := _united(proposal.candidates))
            else None,
        )
        for number, (proposal, probability) in enumerate(ordered, 1)
    )


def _reading(each: tuple[Proposal, float]) -> tuple[float, float]:
    """Where a place stands in reading order."""
    return each[0].bbox[1], each[0].bbox[0]


def _around(proposal: Proposal) -> tuple[float, float, float, float]:
    """The box in whole pixels, with all of the differences in it."""
    boxes = [proposal.bbox, *(each.bbox for each in proposal.candidates)]
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return float(np.floor(min(x0))), float(np.floor(min(y0))), float(np.ceil(max(x1))), float(np.ceil(max(y1)))


def _mask(proposal: Proposal) -> str | None:
    return rle_of(_drawn(_around(proposal), proposal.candidates)) if proposal.candidates else None


def _united(candidates: Sequence[Candidate]) -> Candidate | None:
    """One candidate of several that are parts of one defect: of those that add, or that take, whichever is more."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    added = sum(each.area if each.added else -each.area for each in candidates) > 0
    parts = [each for each in candidates if each.added is added]
    x0, y0, x1, y1 = zip(*(each.bbox for each in parts), strict=True)
    box = (min(x0), min(y0), max(x1), max(y1))
    mask = _drawn(box, parts)
    area = int(mask.sum())
    contrast = sum(each.contrast * each.area for each in parts) / sum(each.area for each in parts)
    return Candidate(bbox=box, mask_rle=rle_of(mask), area=area, contrast=contrast, added=added)


def _drawn(box: tuple[float, float, float, float], candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    left, top, right, bottom = (int(each) for each in box)
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for each in candidates:
        x0, y0, x1, y1 = (int(v) for v in each.bbox)
        mask[y0 - top : y1 - top, x0 - left : x1 - left] |= mask_of(each)
    return mask


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1e3, 3)
        self._last = now


__all__ = ["Models", "Perception", "Seen", "lay_under", "perceive", "weigh"]
