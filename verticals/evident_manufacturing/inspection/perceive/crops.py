"""What the aligner looks at of a defect: a square around it, of difference, template and test.

The same as training cuts (:func:`evident_core.align.crop_around`), without PyTorch.

Shapes: N defects, R side of a square on the board, S side of a crop.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_core.evidence import BBox
from evident_manufacturing.inspection.perceive.align import align, lay
from evident_manufacturing.inspection.perceive.difference import exceeding, signed, stack
from evident_manufacturing.inspection.schema import Alignment, Defect

Gray = NDArray[np.uint8]
Crops = NDArray[np.uint8]
"""uint8 [N, 3, S, S]: difference, template and test around each defect."""

SIDE: Final = 64
_AROUND: Final = 2.0
_HALO: Final = 8
"""Pixels beyond a square that its differences depend on."""


def cut_crops(image: Gray, template: Gray, defects: Sequence[Defect], *, alignment: Alignment | None = None) -> Crops:
    """What the aligner looks at of each defect: difference, template and test around its own pixels.

    Args:
        image: The tested board, uint8 [H, W].
        template: Its golden sample, as it was received.
        defects: Of that board.
        alignment: Of the inspection, where it is known; None: it is found again.

    Raises:
        InvalidInput: The template does not fit, or a box lies outside the board.
    """
    if not defects:
        return np.zeros((0, 3, SIDE, SIDE), np.uint8)
    known = alignment or align(image, template)
    return np.stack([_crop(image, template, known, _own_box(defect)) for defect in defects])


def _own_box(defect: Defect) -> BBox:
    """The box of a defect's own pixels; what is drawn is larger, and training cut crops around the defect itself."""
    left, top, right, bottom = (int(each) for each in defect.bbox)
    if not defect.mask_rle or right <= left or bottom <= top:
        return defect.bbox
    runs = np.array([int(each) for each in defect.mask_rle.split()], np.int64)
    mask = np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(bottom - top, right - left)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return defect.bbox
    return float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1)


def _crop(image: Gray, template: Gray, alignment: Alignment, bbox: BBox) -> NDArray[np.uint8]:
    """One crop, from no more of the board than it needs; beyond the border, the border is repeated."""
    height, width = image.shape
    if not (
        bbox[0] < bbox[2] and bbox[1] < bbox[3] and bbox[2] > 0 and bbox[3] > 0 and bbox[0] < width and bbox[1] < height
    ):
        raise InvalidInput(f"The box {bbox} does not lie on the board of {width} x {height} pixels.")
    x, y, reach = _place(bbox)
    left, right = max(0, x - _HALO), min(width, x + reach + _HALO)
    top, bottom = max(0, y - _HALO), min(height, y + reach + _HALO)
    rows, inside = lay(template, alignment, image.shape, rows=(top, bottom))
    laid, valid = np.ascontiguousarray(rows[:, left:right]), np.ascontiguousarray(inside[:, left:right])
    test = np.ascontiguousarray(image[top:bottom, left:right])
    planes = stack(test, laid, signed(*exceeding(test, laid, valid=valid)))
    down = np.clip(np.arange(y, y + reach), 0, height - 1) - top
    along = np.clip(np.arange(x, x + reach), 0, width - 1) - left
    return _shrink(planes[down][:, along])


def _place(bbox: BBox) -> tuple[int, int, int]:
    """Where the square that is cut out around a box begins (x, y), and its side: what is small keeps its size."""
    x0, y0, x1, y1 = bbox
    reach = max(SIDE, round(_AROUND * max(x1 - x0, y1 - y0)))
    return round((x0 + x1 - reach) / 2), round((y0 + y1 - reach) / 2), reach


def _shrink(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square [R, R, 3] as a crop [3, S, S]: each pixel the mean of those that it covers."""
    planes = square.astype(np.float32)
    if len(square) > SIDE:
        at = np.arange(SIDE) * len(square) / SIDE
        first, last = np.floor(at).astype(int), np.ceil(at + len(square) / SIDE).astype(int)
        sums = cv2.integral(planes, sdepth=cv2.CV_64F)
        rows = sums[last] - sums[first]
        areas = np.outer(last - first, last - first)[..., None]
        planes = ((rows[:, last] - rows[:, first]) / areas).astype(np.float32)
    return np.rint(planes).astype(np.uint8).transpose(2, 0, 1)
