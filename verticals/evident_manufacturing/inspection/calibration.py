"""From pixels to millimetres: what a target of known size says about a camera, kept as a dated certificate.

Pixels need not be square. With ``d`` the difference of two points in pixels and ``L`` their true distance,
``(mx dx)^2 + (my dy)^2 = L^2`` is linear in ``mx^2`` and ``my^2``, whatever the target's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from evident_core.errors import InvalidInput, NotFound
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.schema import Calibration

FINEST, COARSEST = 0.000_05, 0.5
"""mm per pixel that cameras over boards and parts have: a microscope's to a wide line scan's."""

MOST_OBLONG = 2.0
"""Ratio of a pixel's sides."""

WORST_FIT = 0.05
"""Share of the pitch, or of a known length, that may be left over."""

_Points = NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """What a calibration is called, of which camera, made when, and until when it holds."""

    id: str
    made: date
    valid_until: date
    camera: str = ""


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
    return _certified(certificate, (float(mm[0]), float(mm[1])), float(np.sqrt(2) * sigma), "dot_grid", relative)


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
    return _certified(certificate, (float(scale[0]), float(scale[1])), sigma, "known_pitch", relative)


def valid(calibration: Calibration, on: date, camera: str = "") -> bool:
    """Whether a calibration holds on that day for that camera."""
    of_camera = not calibration.camera or not camera or calibration.camera == camera
    return of_camera and calibration.made <= on <= calibration.valid_until


def save(calibration: Calibration, path: Path) -> None:
    """Write a certificate as YAML."""
    import yaml

    text = yaml.safe_dump({"unit": "mm", **calibration.model_dump(mode="json")}, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def load(path: Path) -> Calibration:
    """Read a certificate from YAML or JSON.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is not a certificate, contradicts itself, or is in another unit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no calibration {path}; make one with a dot grid or known lengths") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as text ({error}); a calibration is YAML or JSON") from error
    return parse(text, name=path.name)


def parse(text: str, *, name: str = "the calibration") -> Calibration:
    """:func:`load` of text."""
    import yaml  # an agent without a certificate starts without it: it takes 10 ms

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        at = f" from line {mark.line + 1} on" if mark else ""
        raise InvalidInput(f"{name} is neither YAML nor JSON{at}; a calibration is one of them") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{name} is {type(values).__name__}; a calibration is a mapping with mm_per_pixel and dates")
    if "mm_per_pixel" not in values:
        raise InvalidInput(f"{name} is no calibration certificate: it has no mm_per_pixel; is it another file?")
    unit = values.pop("unit", "mm")
    if unit != "mm":
        raise InvalidInput(f"{name} is in {unit!r}; give mm_per_pixel and residual_mm in mm", unit=str(unit))
    try:
        calibration = Calibration.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        raise InvalidInput(f"{name}: {where or 'value'}: {first['msg']}", field=where) from error
    try:
        check(calibration)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.message}", **error.details) from error
    return calibration


def check(calibration: Calibration) -> None:
    """Refuse a certificate that contradicts itself, or whose figures can only be of another unit."""
    for value in calibration.mm_per_pixel:
        if not FINEST <= value <= COARSEST:
            turned = f"; {value:g} pixels per mm would be {1 / value:.6f}" if value > COARSEST else ""
            raise InvalidInput(
                f"{value:g} mm per pixel is not between {FINEST:g} and {COARSEST:g}: is it in another unit{turned}?",
                mm_per_pixel=value,
            )
    x, y = calibration.mm_per_pixel
    if max(x, y) > MOST_OBLONG * min(x, y):
        raise InvalidInput(
            f"pixels of {x:g} x {y:g} mm are more than {MOST_OBLONG:g} times as long as wide; check both"
        )
    if calibration.valid_until < calibration.made:
        raise InvalidInput(
            f"calibration {calibration.id} was made on {calibration.made} and holds until {calibration.valid_until}, "
            "which is earlier; correct the dates"
        )
    if calibration.residual_mm > 10 * max(x, y):
        raise InvalidInput(
            f"a residual of {calibration.residual_mm:g} mm is more than ten pixels; is it in micrometres?",
            residual_mm=calibration.residual_mm,
        )
    if calibration.scale_uncertainty > WORST_FIT:
        raise InvalidInput(
            f"a scale uncertain by {calibration.scale_uncertainty:.0%} measures nothing; calibrate again"
        )


def _certified(
    certificate: Certificate, mm: tuple[float, float], residual: float, method: str, relative: float
) -> Calibration:
    calibration = Calibration.model_validate(
        {
            "id": certificate.id,
            "mm_per_pixel": mm,
            "residual_mm": residual,
            "method": method,
            "made": certificate.made,
            "valid_until": certificate.valid_until,
            "camera": certificate.camera,
            "scale_uncertainty": relative,
        }
    )
    check(calibration)
    return calibration


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} is {value}; give a length in mm above 0", **{name: str(value)})


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
    weight = np.abs(image.astype(np.float64) - ground)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask)
    middles = []
    areas = boxes[1:, cv2.CC_STAT_AREA]
    usual = float(np.median(areas[areas >= 9])) if (areas >= 9).any() else 0.0
    for label, (x, y, w, h, area) in enumerate(boxes[1:].tolist(), start=1):
        at_edge = x < 2 or y < 2 or x + w > image.shape[1] - 2 or y + h > image.shape[0] - 2
        if at_edge or not 0.5 * usual <= area <= 2 * usual or area < 9:
            continue
        view = np.s_[y - 1 : y + h + 1, x - 1 : x + w + 1]
        inside = cv2.dilate((labels[view] == label).astype(np.uint8), np.ones((3, 3), np.uint8)) * weight[view]
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
