"""How large a defect is, with the uncertainty of each figure.

Measured is the difference component itself; label boxes overstate defects about twice. The uncertainty follows the GUM
(JCGM 100:2008): standard uncertainties add as squares (5.1.2), the result is expanded by k = 2 (6.3.1). Budget of a
length with two ends:

====================  ===============================================  ========================================
contribution          standard uncertainty                             why
====================  ===============================================  ========================================
raster                sqrt(2) x 1 / sqrt(12) px                        each end lies anywhere within its pixel (4.3.7)
edge jitter           sqrt(2) x the alignment's residual               the template's edge lies there to so much
calibration           its residual                                     a length measured on the target scatters so
scale                 length x its relative uncertainty                fit and certificate of the target
====================  ===============================================  ========================================

An area is uncertain along its outline: independent stretches of :data:`STRETCH` pixels, each to raster and jitter.
"""

import math
from decimal import Decimal

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import Conductor, Gray, mask_of
from evident_manufacturing.inspection.perceive.gap import gap
from evident_manufacturing.inspection.schema import Calibration, Candidate, Quantity, Size

EDGE_JITTER = 0.55
"""Pixels: the median residual of :func:`align` on 1,000 DeepPCB pairs; give the pair's own where it is known."""

STRETCH = 4.0
"""Pixels along an edge within which its error is the same."""

TIPS = 0.6
"""Pixels that blur takes from the two pointed ends of what is at least twice as long as wide: a known effect, corrected
(GUM, 3.2.3). Nothing is taken from what is round, or fills its rectangle and so has blunt ends. Fitted on 354 generated
defects of known length (seeds from 7,500,000)."""

COVERAGE = 2.0
_ELLIPSE = 1 - math.pi / 4
_RASTER = 1 / math.sqrt(12)
_FINE = 4
_SMOOTH = 0.9


def measure(
    candidate: Candidate,
    test: Gray,
    template_warped: Gray,
    calibration: Calibration | None,
    *,
    jitter: float = EDGE_JITTER,
    conductor: Conductor = "dark",
) -> Size:
    """Measure a defect on its difference component.

    Args:
        candidate: From :func:`difference` of the same two images.
        test: uint8 [H, W].
        template_warped: uint8 [H, W].
        calibration: One that holds today; None: sizes are in pixels.
        jitter: Pixels, one standard deviation of an edge's place: the alignment's residual.
        conductor: Whether conductors are darker or brighter than what is between them.
    """
    pixel = calibration.mm_per_pixel if calibration else (1.0, 1.0)
    x0, y0, x1, y1 = (int(each) for each in candidate.bbox)
    left, top = max(0, x0 - 2), max(0, y0 - 2)
    view = np.s_[top : min(test.shape[0], y1 + 2), left : min(test.shape[1], x1 + 2)]
    mask = np.zeros(test[view].shape, np.uint8)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = mask_of(candidate)
    cover = _cover(mask, test[view], template_warped[view])
    length, width = _rectangle(cover, pixel)
    outline = cv2.countNonZero(cv2.subtract(mask, cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)))
    area = float(cover.sum()) * pixel[0] * pixel[1]
    edge = math.hypot(_RASTER, jitter)
    relative = calibration.scale_uncertainty if calibration else 0.0
    area_u = math.hypot(edge * math.sqrt(outline * STRETCH) * pixel[0] * pixel[1], 2 * relative * area)
    there = gap(mask, (left, top), test, pixel, added=candidate.added, conductor=conductor)
    return Size(
        length=_length(length, edge, calibration),
        width=_length(width, edge, calibration),
        area=_quantity(area, area_u, "mm2" if calibration else "px2"),
        gap=None if there.left is None else _length(there.left, edge, calibration),
        gap_over=None if there.over is None else _length(there.over, edge, calibration),
    )


def _cover(mask: NDArray[np.uint8], test: Gray, template: Gray) -> NDArray[np.float32]:
    """Which part of each pixel is the defect's, from 0 to 1: its difference as a share of the full contrast."""
    depth = cv2.absdiff(test, template)
    ordered = np.sort(depth[mask > 0])
    # The 90th percentile; NumPy's own takes longer than all else here.
    full = max(1.0, float(np.interp(0.9 * (ordered.size - 1), np.arange(ordered.size), ordered)))
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    return np.where(near, np.minimum(depth / full, 1.0), 0.0).astype(np.float32)


def _rectangle(cover: NDArray[np.float32], pixel: tuple[float, float]) -> tuple[float, float]:
    """Longer and shorter side of the smallest rectangle around the half-covered outline, in units of ``pixel``."""
    padded = cv2.copyMakeBorder(cover, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    # The stairs of a slanted edge stick out by half a pixel at each end; smoothing brings them back to the edge.
    smooth = cv2.GaussianBlur(padded, (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT)
    fine = cv2.resize(smooth, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR)
    # The first and the last of each row span the same hull as all of them.
    within = fine >= min(0.5, float(fine.max()) / 2)
    rows = np.flatnonzero(within.any(axis=1))
    first, last = within[rows].argmax(axis=1), fine.shape[1] - 1 - within[rows, ::-1].argmax(axis=1)
    x, y = np.concatenate([first, last]), np.concatenate([rows, rows])
    points = np.stack([x, y], axis=1).astype(np.float32) * np.array(pixel, np.float32) / _FINE
    _, sides, turn = cv2.minAreaRect(points)
    # Points are middles of fine pixels: half of one is missing at each end, seen along the rectangle's sides.
    cos, sin = abs(math.cos(math.radians(turn))), abs(math.sin(math.radians(turn)))
    steps = cos * pixel[0] + sin * pixel[1], sin * pixel[0] + cos * pixel[1]
    (width, _), (length, step) = sorted((side + one / _FINE, one) for side, one in zip(sides, steps, strict=True))
    empty = 1.0 - float(cover.sum()) * pixel[0] * pixel[1] / (length * width)
    return length + TIPS * step * min(1.0, length / width - 1.0) * min(1.0, max(0.0, empty) / _ELLIPSE), width


def _length(value: float, edge: float, calibration: Calibration | None) -> Quantity:
    if calibration is None:
        return _quantity(value, math.sqrt(2) * edge, "px")
    pixel = max(calibration.mm_per_pixel)
    u = math.hypot(math.sqrt(2) * edge * pixel, calibration.residual_mm, value * calibration.scale_uncertainty)
    return _quantity(value, u, "mm")


def _quantity(value: float, u: float, unit: str) -> Quantity:
    digits = {"mm": 3, "mm2": 4, "px": 1, "px2": 0}[unit]
    return Quantity(value=Decimal(f"{value:.{digits}f}"), uncertainty=Decimal(f"{COVERAGE * u:.{digits}f}"), unit=unit)
