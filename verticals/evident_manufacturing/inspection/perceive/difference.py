"""What is on the tested board and not on its template, and the other way round.

Both pictures are compared in brightness. An edge that moved by up to :data:`TOLERANCE` pixels is no difference: etching
and the raster move every edge by that much. The tolerance is of grey-scale morphology (J. Serra, 1982): the test is
brighter where it exceeds the template's *maximum* within the tolerance, or where its own *minimum* exceeds the template
(without the second, a missing line no wider than the tolerance would go unseen). What remains is then given back the
rim that the tolerance took from it, so that sizes are true.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.schema import Candidate

Gray = NDArray[np.uint8]
Conductor = Literal["dark", "bright"]

TOLERANCE = 2
"""Pixels that an edge may move."""

THRESHOLD = 96
"""Grey levels, of 255, from which a difference is one: above JPEG's ringing, below half of the contrast."""

JOIN = 4
"""Pixels: parts of a difference that lie this close are one defect (a scratch shows as a row of specks)."""

MIN_AREA = 6
"""Pixels: a smaller difference is noise."""


FINE = 1
"""Pixels that an edge may move where a difference is already seen."""

FOLLOW = 24
"""Pixels around a difference in which it is followed along an edge."""

_KEPT = 1 << 16


@dataclass(frozen=True)
class Difference:
    """The difference of a tested board from its template.

    Attributes:
        map: float32 [H, W], from -1 to 1: positive where the test is brighter.
        candidates: Connected differences, in reading order.
    """

    map: NDArray[np.float32]
    candidates: tuple[Candidate, ...]


def difference(
    test: Gray,
    template_warped: Gray,
    *,
    valid: NDArray[np.bool_] | None = None,
    conductor: Conductor = "dark",
    tolerance: int = TOLERANCE,
    least: int = MIN_AREA,
) -> Difference:
    """Compare a tested board with its aligned template.

    Args:
        test: uint8 [H, W].
        template_warped: uint8 [H, W], from :func:`~evident_manufacturing.inspection.perceive.align.warp`.
        valid: bool [H, W]; false where the template does not reach: there is nothing to compare with.
        conductor: Whether conductors are darker or brighter than what is between them.
        tolerance: Pixels that an edge may move.
        least: Pixels; a smaller difference is noise.

    Raises:
        InvalidInput: The two have different sizes, or are not uint8.
    """
    brighter, darker = exceeding(test, template_warped, valid=valid, tolerance=tolerance)
    plus, minus = (darker, brighter) if conductor == "dark" else (brighter, darker)
    found = [*_components(plus, least, added=True), *_components(minus, least, added=False)]
    return Difference(signed(brighter, darker), tuple(sorted(found, key=lambda each: (each.bbox[1], each.bbox[0]))))


def exceeding(
    test: Gray, template_warped: Gray, *, valid: NDArray[np.bool_] | None = None, tolerance: int = TOLERANCE
) -> tuple[Gray, Gray]:
    """By how much each pixel of the test is brighter, and darker, than the template's; uint8 [H, W] each.

    Raises:
        InvalidInput: The two have different sizes, or are not uint8.
    """
    check_pair(test, template_warped)
    brighter, darker = (
        _exceeds(test, template_warped, tolerance),
        _exceeds(template_warped, test, tolerance),
    )
    if valid is not None and not valid.all():
        inside = cv2.erode(valid.view(np.uint8), _square(tolerance))
        brighter, darker = (np.asarray(cv2.multiply(each, inside), np.uint8) for each in (brighter, darker))
    return brighter, darker


def signed(brighter: Gray, darker: Gray) -> NDArray[np.float32]:
    """Both in one map, float32 [H, W] from -1 to 1."""
    return np.asarray(cv2.addWeighted(brighter, 1 / 255, darker, -1 / 255, 0.0, dtype=cv2.CV_32F), np.float32)


def followed(candidate: Candidate, test: Gray, template_warped: Gray, *, conductor: Conductor = "dark") -> Candidate:
    """A candidate with what hangs together with it along an edge, where the tolerance of edges had hidden it.

    As in edge detection with two thresholds (J. Canny, 1986): a difference that is sure may go on where it is less so.
    """
    x0, y0, x1, y1 = (int(each) for each in candidate.bbox)
    left, top = max(0, x0 - FOLLOW), max(0, y0 - FOLLOW)
    view = np.s_[top : y1 + FOLLOW, left : x1 + FOLLOW]
    bright, dark = (template_warped, test) if candidate.added is (conductor == "dark") else (test, template_warped)
    pixels = cv2.threshold(_exceeds(bright[view], dark[view], FINE), THRESHOLD - 1, 1, cv2.THRESH_BINARY)[1]
    own = np.zeros(pixels.shape, np.uint8)
    own[y0 - top : y1 - top, x0 - left : x1 - left] = mask_of(candidate)
    labels = cv2.connectedComponents(cv2.max(pixels, own))[1]
    together = np.bincount(labels[own > 0], minlength=int(labels.max()) + 1) > 0
    mask = together[labels]
    area = int(mask.sum())
    if area == candidate.area:
        return candidate
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    box = (float(left + x), float(top + y), float(left + x + w), float(top + y + h))
    rle = rle_of(mask[y : y + h, x : x + w])
    return candidate.model_copy(update={"bbox": box, "mask_rle": rle, "area": area})


def stack(test: Gray, template_warped: Gray, map: NDArray[np.float32]) -> NDArray[np.uint8]:  # noqa: A002
    """The fused detector's input, uint8 [H, W, 3]: difference (128 + 127 x signed), template, test.

    In memory its planes lie one after the other, as the network takes them.
    """
    check_pair(test, template_warped)
    planes_3HW = np.empty((3, *test.shape), np.uint8)
    cv2.convertScaleAbs(map, dst=planes_3HW[0], alpha=127.0, beta=128.0)
    planes_3HW[1], planes_3HW[2] = template_warped, test
    return planes_3HW.transpose(1, 2, 0)


def check_pair(test: Gray, template: Gray) -> None:
    """Refuse what cannot be compared pixel by pixel."""
    for name, image in (("test", test), ("template", template)):
        if image.dtype != np.uint8 or image.ndim != 2:
            raise InvalidInput(
                f"the {name} image is {image.dtype} {list(image.shape)}; give uint8 [H, W], as ingest makes it",
                image=name,
            )
    if test.shape != template.shape:
        raise InvalidInput(
            f"the test is {test.shape[1]} x {test.shape[0]} and the template {template.shape[1]} x "
            f"{template.shape[0]} pixels; warp the template onto the test first",
            test=list(test.shape),
            template=list(template.shape),
        )


def mask_of(candidate: Candidate) -> NDArray[np.bool_]:
    """The pixels of a candidate within its box, bool [h, w], read-only."""
    x0, y0, x1, y1 = (int(each) for each in candidate.bbox)
    size = (y1 - y0, x1 - x0)
    # Each is asked for several times in turn; large ones, of line scans, are not kept in memory for that.
    return (_mask if size[0] * size[1] <= _KEPT else _mask.__wrapped__)(candidate.mask_rle, size)


@lru_cache(maxsize=256)
def _mask(rle: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    runs = np.array(rle.split(), np.int64)
    mask = np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(size)
    mask.flags.writeable = False
    return mask


def rle_of(mask: NDArray[np.bool_] | Gray) -> str:
    """Run lengths of a mask, row by row, the first of them of pixels that are not in it (bool, or 0 and 1)."""
    flat = mask.ravel()
    ends = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    runs = [after - before for before, after in pairwise(ends)]
    return " ".join(map(str, [0, *runs] if flat[0] else runs))


def _exceeds(bright: Gray, dark: Gray, tolerance: int) -> Gray:
    """By how much one picture is brighter than the other beyond the tolerance, with its rim given back."""
    square = _square(tolerance)
    core = cv2.max(cv2.subtract(bright, cv2.dilate(dark, square)), cv2.subtract(cv2.erode(bright, square), dark))
    core = cv2.threshold(core, THRESHOLD // 2 - 1, 0, cv2.THRESH_TOZERO)[1]
    rim = cv2.min(cv2.subtract(bright, dark), cv2.dilate(core, _square(tolerance)))
    return cv2.max(core, rim)  # type: ignore[return-value]


def _components(strength: Gray, least: int, *, added: bool) -> list[Candidate]:
    pixels = cv2.threshold(strength, THRESHOLD - 1, 1, cv2.THRESH_BINARY)[1]
    joined = cv2.dilate(pixels, _square(JOIN // 2))
    contours, hierarchy = cv2.findContours(joined, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes: dict[int, list[NDArray[np.int32]]] = {}
    for index, contour in enumerate(contours):
        outer = int(hierarchy[0, index, 3])
        holes.setdefault(index if outer < 0 else outer, []).append(contour)  # type: ignore[arg-type]
    found = []
    for outlines in holes.values():
        x, y, w, h = cv2.boundingRect(outlines[0])
        inside = np.zeros((h, w), np.uint8)
        cv2.drawContours(inside, outlines, -1, 1, cv2.FILLED, offset=(-x, -y))
        mask = cv2.min(inside, pixels[y : y + h, x : x + w])
        area = cv2.countNonZero(mask)
        if area < least:
            continue
        left, top, width, height = cv2.boundingRect(mask)
        inner = np.asarray(mask[top : top + height, left : left + width], np.uint8)
        left, top = x + left, y + top
        found.append(
            Candidate(
                bbox=(left, top, left + width, top + height),
                mask_rle=rle_of(inner),
                area=area,
                contrast=round(cv2.mean(strength[top : top + height, left : left + width], inner)[0] / 255, 4),
                added=added,
            )
        )
    return found


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
