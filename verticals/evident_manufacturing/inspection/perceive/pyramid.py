"""Where a template lies under a line scan: found on reduced pictures, then refined on strips of the whole ones.

The refinement is one more Gauss-Newton fit (Lucas and Kanade, 1981; see ``align``) of a shift in each cell of the bend,
over edges in strips that are laid, looked at and let go one after the other. What is left there at full size also says
how far to trust the result: traces that are thinner than the reduced pictures' tolerance have no say in them.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_core.progress import OnProgress, Progress, silent
from evident_manufacturing.inspection.perceive.align import ACCEPT, HALF_CONFIDENCE, align, lay
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.schema import Alignment

REDUCED: Final = 4096 * 4096
"""Pixels of the pictures on which the place is found."""
_Float = NDArray[np.float64]
_STRIP: Final = 64
_EVERY: Final = 256
_RIM: Final = 8
_STEEP: Final = 8
_STRIP_POINTS: Final = 100
_CUTS: Final = (5.0, 3.0)
_NEAR: Final = 3.0
_TIE: Final = 0.02
_LARGEST_STEP: Final = 3.0
_FLOOR: Final = 0.04


def align_large(test: Gray, template: Gray, *, reduced: int = REDUCED, on_progress: OnProgress = silent) -> Alignment:
    """Find where the template lies under a board of any size, with little more memory than the two take.

    Args:
        test: uint8 [H, W].
        template: uint8, of the test's size.
        reduced: Pixels of the pictures on which the place is found first.
        on_progress: Told before each pass over the whole pictures.

    Raises:
        InvalidInput: The template does not fit, as :func:`~evident_manufacturing.inspection.perceive.align.align` says.
    """
    factor = math.ceil(math.sqrt(test.size / reduced))
    if factor == 1 or test.shape != template.shape:
        return align(test, template)
    small = _reduced(test, factor), _reduced(template, factor)
    found = _enlarged(align(*small), factor)
    # One level for the whole board: in a strip without conductor, a lamp's drift alone would part the two pictures.
    level, _ = cv2.threshold(np.concatenate(small), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    for cut in _CUTS:
        on_progress(Progress(stage="perceive"))
        seen = _seen(test, template, found, cut, level)
        found = seen.refined(found)
    if found.confidence < ACCEPT:
        raise InvalidInput(
            f"the template is not of this board: {seen.differing:.0%} of the conductor differs at the best position "
            f"(confidence {found.confidence:.2f}, {ACCEPT} is needed); choose the template of this product and side",
            reason="foreign",
            confidence=found.confidence,
        )
    return found


@dataclass(frozen=True)
class _Seen:
    """What the strips say.

    Attributes:
        slopes: Sums over the edges of each cell of gx gx, gx gy and gy gy, float64 [3, rows, columns].
        errors: The same of gx and gy times what is left, float64 [2, rows, columns].
        residual: Pixels, root mean square of the edges' distances.
        differing: Share of the conductor that differs.
    """

    slopes: _Float
    errors: _Float
    residual: float
    differing: float

    def refined(self, alignment: Alignment) -> Alignment:
        """The alignment with each cell's bend moved to where its edges are."""
        xx, xy, yy = self.slopes
        # A cell without edges, or with those of one direction alone, stays where the reduced pictures put it.
        tie = _TIE * float((xx + yy).mean()) / 2 + 1e-6
        matrix = np.stack([np.stack([xx + tie, xy], -1), np.stack([xy, yy + tie], -1)], -2)
        step = np.linalg.solve(matrix, np.moveaxis(self.errors, 0, -1)[..., None])[..., 0]
        bend = _bend(alignment) + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        return alignment.model_copy(
            update={
                "bend": _rows(bend),
                "residual": round(self.residual, 3),
                "confidence": round(1.0 / (1.0 + (self.differing / HALF_CONFIDENCE) ** 2), 4),
            }
        )


def _seen(test: Gray, template: Gray, alignment: Alignment, cut: float, level: float) -> _Seen:
    height, width = test.shape
    rows, columns = _bend(alignment).shape[:2]
    sums = np.zeros((5, rows * columns))
    near, count, missed, conductor, size = 0.0, 0, 0, 0, 0
    for top in range(0, height, _EVERY):
        bottom = min(height, top + _STRIP)
        here = test[top:bottom]
        laid, valid = lay(template, alignment, test.shape, rows=(top, bottom))
        cv2.copyTo(here, np.logical_not(valid).view(np.uint8), laid)
        x, y, gx, gy, error = _edges(laid, here, valid, _STRIP_POINTS * columns)
        left = error / np.hypot(gx, gy)
        weight = np.clip(1 - (left / cut) ** 2, 0, None) ** 2
        cell = (y + top) * rows // height * columns + x * columns // width
        for total, term in zip(sums, (gx * gx, gx * gy, gy * gy, gx * error, gy * error), strict=True):
            total += np.bincount(cell, weight * term, rows * columns)
        near += float(np.sum(left[np.abs(left) < _NEAR] ** 2))
        count += int(np.count_nonzero(np.abs(left) < _NEAR))
        one, two = (_conductor(each, level) for each in (here, laid))
        missed += _missed(one, two) + _missed(two, one)
        conductor += sum(min(dark, one.size - dark) for dark in (cv2.countNonZero(one), cv2.countNonZero(two)))
        size += one.size
    cells = sums.reshape(5, rows, columns)
    residual = math.sqrt(near / count) if count else _NEAR
    return _Seen(cells[:3], cells[3:], residual, missed / (conductor + _FLOOR * size))


def _edges(laid: Gray, test: Gray, valid: NDArray[np.bool_], most: int) -> tuple[NDArray[np.intp], ...]:
    """Places x and y of steep edges, their slopes, and by how much the template is brighter there; [N] each."""
    soft, there = (cv2.GaussianBlur(each, (13, 13), 2.4) for each in (laid, test))
    gx, gy = cv2.Sobel(soft, cv2.CV_16S, 1, 0), cv2.Sobel(soft, cv2.CV_16S, 0, 1)
    steep = cv2.max(cv2.convertScaleAbs(gx, alpha=1 / 8), cv2.convertScaleAbs(gy, alpha=1 / 8))
    steep[~valid] = 0
    places = np.flatnonzero(steep[_RIM:-_RIM] > _STEEP) + _RIM * steep.shape[1]
    places = places[:: max(1, places.size // most)]
    y, x = np.divmod(places, steep.shape[1])
    slopes = (each.ravel()[places] / 8 for each in (gx, gy))
    return x, y, *slopes, soft.ravel()[places] - there.ravel()[places].astype(np.float64)


def _conductor(image: Gray, level: float) -> Gray:
    """Where it is brighter than a grey level, at half size as ``align`` looks at a board; 0 or 1."""
    size = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
    half = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.threshold(half, level, 1, cv2.THRESH_BINARY)[1], np.uint8)


def _missed(one: Gray, other: Gray) -> int:
    """Pixels that are bright in one alone, by more than an edge's jitter."""
    square = np.ones((5, 5), np.uint8)
    return cv2.countNonZero(cv2.subtract(one, cv2.dilate(other, square))) + cv2.countNonZero(
        cv2.subtract(cv2.erode(one, square), other)
    )


def _reduced(image: Gray, factor: int) -> Gray:
    height, width = (side // factor for side in image.shape)
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(alignment: Alignment, factor: int) -> Alignment:
    return alignment.model_copy(
        update={"dx": alignment.dx * factor, "dy": alignment.dy * factor, "bend": _rows(factor * _bend(alignment))}
    )


def _bend(alignment: Alignment) -> _Float:
    """The bend as an array [rows, columns, 2]; none is one cell that does not move."""
    return np.array(alignment.bend or (((0.0, 0.0),),), np.float64)


def _rows(bend: _Float) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((x, y) for x, y in row) for row in bend.round(2).tolist())
