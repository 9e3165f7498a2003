"""A line scan and its template, compared and looked at band by band: beside the two pictures little is in memory.

What is found is what :func:`~evident_manufacturing.inspection.perceive.difference.difference` and the tiles find in the
whole. A difference that the end of a band cuts is put together from its parts as the next bands come. Then what lies
near each other is given out as a little picture of its own, with the template under it, in which it can be weighed and
measured as on any board.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.evidence import BBox
from evident_core.progress import OnProgress, Progress, silent
from evident_manufacturing.inspection.perceive.align import lay
from evident_manufacturing.inspection.perceive.arbiter import FLOOR, NEAR
from evident_manufacturing.inspection.perceive.difference import (
    JOIN,
    TOLERANCE,
    Difference,
    Gray,
    exceeding,
    signed,
    stack,
)
from evident_manufacturing.inspection.perceive.joined import LARGEST, Joined, around, root
from evident_manufacturing.inspection.perceive.tiles import Detect, detect_in_rows
from evident_manufacturing.inspection.schema import Alignment, Candidate, Detection

STAGE: Final = "perceive"
WHOLE: Final = 4096 * 4096
"""Pixels up to which a board is inspected in one piece."""
_HALO: Final = 2 * TOLERANCE + JOIN
"""Pixels beyond a band that its differences depend on."""
_AROUND: Final = 64
_FARTHEST: Final = 512
_CELL: Final = 256
_AHEAD: Final = 512


@dataclass(frozen=True)
class View:
    """A part of a board with all that was found near each other in it; boxes are within the part.

    Attributes:
        left: Where the part begins on the board, pixels.
        top: The same downwards.
        test: uint8 [h, w].
        laid: uint8 [h, w], the template under it.
        seen: What the detector sees.
        found: The differences; their map, which was looked at in bands, is empty.
    """

    left: int
    top: int
    test: Gray
    laid: Gray
    seen: tuple[Detection, ...]
    found: Difference

    def on_board(self, box: BBox) -> BBox:
        """Where a box of the part lies on the board."""
        return _moved(box, self.left, self.top)


def look(
    test: Gray, template: Gray, alignment: Alignment, detect: Detect, on_progress: OnProgress = silent
) -> tuple[list[Detection], list[Candidate]]:
    """What the detector sees on a board, and where it differs from its template, from the top to the bottom.

    Args:
        test: uint8 [H, W].
        template: uint8 [H, W].
        alignment: How it lies under the test.
        detect: Of fused images (difference, template, test).
        on_progress: Told before each band: rows that are looked at, of the board's rows twice, for the views follow.
    """
    bands = _Bands(test, template, alignment)

    def rows(top: int, bottom: int) -> Gray:
        on_progress(Progress(stage=STAGE, done=top, total=2 * test.shape[0]))
        return bands.rows(top, bottom)

    seen = detect_in_rows(test.shape, rows, detect)
    return seen, bands.candidates()


def views(
    test: Gray,
    template: Gray,
    alignment: Alignment,
    seen: Sequence[Detection],
    candidates: Sequence[Candidate],
    on_progress: OnProgress = silent,
) -> Iterator[View]:
    """Each group of what lies near each other, in its part of the board, from the top to the bottom.

    Weak boxes that no difference is near say nothing and are left out. ``on_progress`` is told before each view, in
    rows as :func:`look` tells them.
    """
    under = _Under(test, template, alignment)
    height, width = test.shape
    for group in _groups([each.bbox for each in seen], [each.bbox for each in candidates]):
        boxes, parts = [seen[i] for i in group.seen], [candidates[i] for i in group.candidates]
        if not parts and all(each.score < FLOOR for each in boxes):
            continue
        x0, y0, x1, y1 = group.box
        margin = min(_AROUND + int(max(x1 - x0, y1 - y0)) // 2, _FARTHEST)
        left, top = max(0, int(x0) - margin), max(0, int(y0) - margin)
        right, bottom = min(width, int(x1) + margin + 1), min(height, int(y1) + margin + 1)
        on_progress(Progress(stage=STAGE, done=height + top, total=2 * height))
        yield View(
            left,
            top,
            test[top:bottom, left:right],
            under.window(left, top, right, bottom),
            tuple(each.model_copy(update={"bbox": _moved(each.bbox, -left, -top)}) for each in boxes),
            Difference(
                np.empty((0, 0), np.float32),
                tuple(each.model_copy(update={"bbox": _moved(each.bbox, -left, -top)}) for each in parts),
            ),
        )


class _Under:
    """The template as it lies under the test, which stands in for it where it does not reach."""

    def __init__(self, test: Gray, template: Gray, alignment: Alignment) -> None:
        self._test, self._template, self._alignment = test, template, alignment
        self._top, self._held = 0, np.empty((0, test.shape[1]), np.uint8)

    def rows(self, top: int, bottom: int) -> tuple[Gray, NDArray[np.bool_]]:
        """Some rows, and which pixels of them the template reaches."""
        laid, valid = lay(self._template, self._alignment, self._test.shape, rows=(top, bottom))
        cv2.copyTo(self._test[top:bottom], np.logical_not(valid).view(np.uint8), laid)
        return laid, valid

    def window(self, left: int, top: int, right: int, bottom: int) -> Gray:
        """A part; quick where each begins no higher than the one before."""
        if not self._top <= top <= bottom <= self._top + len(self._held):
            self._held = np.empty((0, 0), np.uint8)  # before the next are made
            self._top = top
            self._held, _ = self.rows(top, min(self._test.shape[0], max(bottom, top + _AHEAD)))
        return self._held[top - self._top : bottom - self._top, left:right].copy()


class _Bands:
    """The detector's input in rows, and the differences in them, each row compared once."""

    def __init__(self, test: Gray, template: Gray, alignment: Alignment) -> None:
        self._test = test
        self._under = _Under(test, template, alignment)
        self._plus, self._minus = Joined(test.shape[1], added=True), Joined(test.shape[1], added=False)
        self._end = 0
        self._held = np.empty((0, test.shape[1], 3), np.uint8)

    def rows(self, top: int, bottom: int) -> Gray:
        """(difference, template, test) of rows that begin no higher than the ones before, uint8 [h, W, 3]."""
        kept = self._held[top - self._end + len(self._held) :] if self._end > top else self._held[:0]
        self._held = np.concatenate((kept, self._compared(self._end, bottom)))
        self._end = bottom
        return self._held

    def candidates(self) -> list[Candidate]:
        """All differences of the rows that were asked for."""
        return [*self._plus.all(), *self._minus.all()]

    def _compared(self, top: int, bottom: int) -> Gray:
        first, last = max(0, top - _HALO), min(self._test.shape[0], bottom + _HALO)
        test = self._test[first:last]
        laid, valid = self._under.rows(first, last)
        brighter, darker = exceeding(test, laid, valid=valid)
        self._plus.add(darker, top, (top - first, bottom - first))
        self._minus.add(brighter, top, (top - first, bottom - first))
        own = slice(top - first, bottom - first)
        return stack(test[own], laid[own], signed(brighter[own], darker[own]))


@dataclass
class _Group:
    box: BBox
    seen: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)


def _groups(seen: Sequence[BBox], candidates: Sequence[BBox]) -> list[_Group]:
    """What overlaps, in groups, as indices; those are kept apart whose box would be larger than :data:`LARGEST`."""
    boxes = [(x0 - NEAR, y0 - NEAR, x1 + NEAR, y1 + NEAR) for x0, y0, x1, y1 in seen] + list(candidates)
    groups = {
        index: _Group(box, [index], []) if index < len(seen) else _Group(box, [], [index - len(seen)])
        for index, box in enumerate([*seen, *candidates])
    }
    moved: dict[int, int] = {}
    places: dict[tuple[int, int], list[int]] = {}
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        for cell in ((r, c) for r in range(*_cells(y0, y1)) for c in range(*_cells(x0, x1))):
            for other in places.setdefault(cell, []):
                a, b, c, d = boxes[other]
                one, two = root(moved, other), root(moved, index)
                if one == two or min(x1, c) <= max(x0, a) or min(y1, d) <= max(y0, b):
                    continue
                box = around([groups[one].box, groups[two].box])
                if (box[2] - box[0]) * (box[3] - box[1]) > LARGEST:
                    continue
                gone = groups.pop(two)
                groups[one] = _Group(box, groups[one].seen + gone.seen, groups[one].candidates + gone.candidates)
                moved[two] = one
            places[cell].append(index)
    return sorted(groups.values(), key=lambda each: each.box[1])


def _cells(first: float, last: float) -> tuple[int, int]:
    return int(first // _CELL), int(last // _CELL) + 1


def _moved(box: BBox, right: float, down: float) -> BBox:
    return box[0] + right, box[1] + down, box[2] + right, box[3] + down
