"""What a target of known size says about a camera: a grid of dots, or lengths that are known.

Pixels need not be square. With ``d`` the difference of two points in pixels and ``L`` their true distance,
``(mx dx)^2 + (my dy)^2 = L^2`` is linear in ``mx^2`` and ``my^2``, whatever the target's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.calibration import WORST_FIT, Certificate, certified
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.schema import Calibration

_Points = NDArray[np.float64]


@dataclass(frozen=True)
class KnownLength:
    """Two points of an image (pixels) and how far they are apart (mm)."""

    start: tuple[float, float]
    end: tuple[float, float]
    mm: float


def calibrate_dot_grid(
    image: Gray, pitch_mm: float, certificate: Certificate, *, pitch_uncertainty_mm: float = 0.0
) -> Calibration:
    """Calibrate on a square grid of dots.

    Args:
        image: uint8 [H, W]; dots darker or brighter than the ground, at least 3 x 3, the grid turned by at most 30°.
        pitch_mm: From dot to dot.
        certificate: Its name and dates.
        pitch_uncertainty_mm: One standard deviation of the pitch, as the target's own certificate says.

    Raises:
        InvalidInput: Too few dots, a grid that is not square and flat, or a pitch that no camera would see so.
    """
    _positive("pitch_mm", pitch_mm)
    _at_least_zero("pitch_uncertainty_mm", pitch_uncertainty_mm)
    dots = _dots(image)
    index = _lattice(dots)
    design = np.column_stack([index, np.ones(len(index))])
    fit = np.linalg.lstsq(design, dots, rcond=None)[0]
    left = dots - design @ fit
    right, down = fit[0], fit[1]
    squares = np.array([right**2, down**2])
    mm_squared = np.linalg.solve(squares, np.full(2, pitch_mm**2))
    if (mm_squared <= 0).any():
        raise InvalidInput(
            "the dots do not lie on a square grid; put the target flat under the camera, turned by < 30°"
        )
    mm = np.sqrt(mm_squared)
    skew = float(np.sum(right * down * mm_squared)) / pitch_mm**2
    sigma = float(np.sqrt(np.sum((left * mm) ** 2) / (2 * len(dots) - 6)))
    if abs(skew) > WORST_FIT or sigma > WORST_FIT * pitch_mm:
        raise InvalidInput(
            f"the dots miss a square grid by {sigma:.4f} mm (skew {skew:.3f}), and at most {WORST_FIT:.0%} of the "
            f"pitch of {pitch_mm:g} mm may be left; put the target flat, and use one with the same pitch both ways"
        )
    spread = np.sqrt(np.sum((index - index.mean(axis=0)) ** 2, axis=0)).min() * pitch_mm
    relative = float(np.hypot(sigma / spread, pitch_uncertainty_mm / pitch_mm))
    return certified(
        certificate,
        mm_per_pixel=(float(mm[0]), float(mm[1])),
        residual_mm=float(np.sqrt(2) * sigma),
        method="dot_grid",
        scale_uncertainty=relative,
        points=len(dots),
    )


def calibrate_known_pitch(
    lengths: Sequence[KnownLength], certificate: Certificate, *, length_uncertainty_mm: float = 0.0
) -> Calibration:
    """Calibrate on distances that are known: fiducials, a pitch of pads, a gauge block.

    With lengths along one axis only (within 30°), pixels are taken as square.

    Raises:
        InvalidInput: None given, or they contradict each other: the message names the worst.
    """
    if not lengths:
        raise InvalidInput("no known length is given; at least one is needed, and four in both directions are better")
    for each in lengths:
        _positive("mm", each.mm)
    _at_least_zero("length_uncertainty_mm", length_uncertainty_mm)
    d = np.array([[each.end[0] - each.start[0], each.end[1] - each.start[1]] for each in lengths])
    mm = np.array([each.mm for each in lengths])
    pixels = np.hypot(d[:, 0], d[:, 1])
    if (pixels < 2).any():
        raise InvalidInput(f"known length {int(pixels.argmin()) + 1} is shorter than 2 pixels; mark its two ends")
    steep = np.abs(d[:, 1]) / pixels
    both = steep.max() > 0.87 and steep.min() < 0.5
    squares = d**2 if both else (pixels**2)[:, None]
    # Each equation is divided by its length, so that all count by their error in mm.
    solved = np.linalg.lstsq(squares / mm[:, None], mm, rcond=None)[0]
    if (solved <= 0).any():
        raise InvalidInput("the known lengths contradict each other: no pixel size fits them; check their ends")
    scale = np.sqrt(solved) if both else np.repeat(np.sqrt(solved), 2)
    left = np.hypot(d[:, 0] * scale[0], d[:, 1] * scale[1]) - mm
    worst = int(np.argmax(np.abs(left) / mm))
    if abs(left[worst]) > WORST_FIT * mm[worst]:
        raise InvalidInput(
            f"the known lengths contradict each other: number {worst + 1} of {mm[worst]:g} mm measures "
            f"{mm[worst] + left[worst]:.4g} mm by all of them; check its ends and its unit",
            number=worst + 1,
        )
    free = len(lengths) - (2 if both else 1)
    # Without spare lengths nothing shows the scatter: the ends are then taken as marked to half a pixel each.
    sigma = float(np.sqrt(np.sum(left**2) / free)) if free > 0 else 0.0
    sigma = max(sigma, float(scale.max()) / np.sqrt(6))
    relative = float(np.hypot(sigma, length_uncertainty_mm) / np.sqrt(np.sum(mm**2)))
    return certified(
        certificate,
        mm_per_pixel=(float(scale[0]), float(scale[1])),
        residual_mm=sigma,
        method="known_pitch",
        scale_uncertainty=relative,
        points=len(lengths),
    )


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} is {value}; give a length in mm above 0", **{name: str(value)})


def _at_least_zero(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise InvalidInput(f"{name} is {value}; give one standard deviation in mm, 0 or above", **{name: str(value)})


def _dots(image: Gray) -> _Points:
    """Middles of the dots, weighted by their darkness (or brightness) against the ground, float64 [N, 2]."""
    if image.dtype != np.uint8 or image.ndim != 2:
        raise InvalidInput(
            f"the target image is {image.dtype} {list(image.shape)}; give uint8 [H, W], as ingest makes it"
        )
    level, binary = cv2.threshold(image, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark = cv2.countNonZero(binary) > image.size / 2
    mask = (1 - binary if dark else binary).astype(np.uint8)
    ground = float(np.median(image[mask == 0])) if (mask == 0).any() else level
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask)
    middles = []
    areas = boxes[1:, cv2.CC_STAT_AREA]
    usual = float(np.median(areas[areas >= 9])) if (areas >= 9).any() else 0.0
    for label, (x, y, w, h, area) in enumerate(boxes[1:].tolist(), start=1):
        at_edge = x < 2 or y < 2 or x + w > image.shape[1] - 2 or y + h > image.shape[0] - 2
        if at_edge or not 0.5 * usual <= area <= 2 * usual or area < 9:
            continue
        view = np.s_[y - 1 : y + h + 1, x - 1 : x + w + 1]
        weight = np.abs(image[view].astype(np.float64) - ground)
        inside = cv2.dilate((labels[view] == label).astype(np.uint8), np.ones((3, 3), np.uint8)) * weight
        rows, columns = inside.sum(axis=1), inside.sum(axis=0)
        total = inside.sum()
        middles.append(
            (
                x - 1 + float(np.arange(columns.size) @ columns / total),
                y - 1 + float(np.arange(rows.size) @ rows / total),
            )
        )
    if len(middles) < 9:
        raise InvalidInput(
            f"{len(middles)} dots are seen; at least 3 x 3 whole ones are needed: check the light and the target",
            dots=len(middles),
        )
    return np.array(middles)


def _lattice(dots: _Points) -> _Points:
    """Column and row of each dot, float64 [N, 2], walked from dot to dot."""
    middle = int(np.argmin(np.sum((dots - dots.mean(axis=0)) ** 2, axis=1)))
    away = dots - dots[middle]
    flat = np.where((np.abs(away[:, 1]) < 0.58 * np.abs(away[:, 0])) & (away[:, 0] != 0))[0]
    upright = np.where((np.abs(away[:, 0]) < 0.58 * np.abs(away[:, 1])) & (away[:, 1] != 0))[0]
    if not flat.size or not upright.size:
        raise InvalidInput("the dots do not lie on a square grid turned by less than 30°; turn the target")
    right = away[flat[np.argmin(np.hypot(*away[flat].T))]]
    down = away[upright[np.argmin(np.hypot(*away[upright].T))]]
    right, down = right * np.sign(right[0]), down * np.sign(down[1])
    place = {middle: (0, 0)}
    queue = [middle]
    near = 0.25 * min(np.hypot(*right), np.hypot(*down))
    while queue:
        dot = queue.pop()
        for step, (i, j) in ((right, (1, 0)), (-right, (-1, 0)), (down, (0, 1)), (-down, (0, -1))):
            distance = np.hypot(*(dots - dots[dot] - step).T)
            other = int(np.argmin(distance))
            if distance[other] < near and other not in place:
                place[other] = (place[dot][0] + i, place[dot][1] + j)
                queue.append(other)
    if len(place) < len(dots):
        raise InvalidInput(
            f"{len(dots) - len(place)} of {len(dots)} dots do not lie on the grid of the others; "
            "clean the target, turn it by less than 30°, and let nothing else be in the picture"
        )
    index = np.array([place[each] for each in range(len(dots))], dtype=np.float64)
    if len(set(index[:, 0])) < 3 or len(set(index[:, 1])) < 3:
        raise InvalidInput("fewer than 3 rows or columns of dots are seen; show more of the target")
    return index
