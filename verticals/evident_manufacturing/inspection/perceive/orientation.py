"""The other ways in which a template can lie: mirrored, turned, as a negative, at another scale, or blank."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.perceive.fit import ACCEPT, MAX_SHIFT, Fit, Pair, View
from evident_manufacturing.inspection.perceive.laying import Array, Float, matrix, moved

_BLANK: Final = 0.002  # share of the rarer of conductor and gap: noise and dust


def refuse_other_ways(test: Gray, template: Gray, pair: Pair, best: Fit) -> None:
    """Raise where the template fits clearly better in another orientation or scale."""
    # Without the pictures: seven of them are much for a large board.
    tried = [
        (way, replace(pair.fit(np.ascontiguousarray(other), (0.0,)), laid=None)) for way, other in _turns(template)
    ]
    way, fit = min(tried, key=lambda each: each[1].differing)
    if fit.confidence > ACCEPT and fit.differing < best.differing / 2:
        raise InvalidInput(
            f"the template fits only {way}; turn the board or the camera, or choose the template of this side",
            reason=way,
        )
    scale = _scale(pair.view.small, View(template).small)
    larger, other = _enlarged(test, template, scale)
    fit = Pair(larger).fit(other, (0.0,))
    if scale != 1.0 and fit.confidence > ACCEPT and fit.differing < best.differing / 2:
        raise InvalidInput(
            f"the template fits only at {scale:.2f} of its size; take it again with this camera, lens and distance",
            reason="scale",
            scale=round(scale, 3),
        )


def _scale(test: Float, template: Float) -> float:
    """At which of some scales from a half to twice a small template looks most like a small test."""
    window = cv2.createHanningWindow(test.shape[::-1], cv2.CV_32F)
    best, lowest = 1.0, np.inf
    for scale in np.geomspace(0.5, 2.0, 57).tolist():
        one, two = _enlarged(test, template, scale)
        (dx, dy), _ = cv2.phaseCorrelate(two, one, window)
        cost = float(cv2.norm(moved(two, matrix(dx, dy, 0.0, two.shape), two.shape), one, cv2.NORM_L1))
        if np.hypot(dx, dy) < MAX_SHIFT * min(test.shape) and cost < lowest:
            lowest, best = cost, scale
    return best


def _enlarged(test: Array, template: Array, scale: float) -> tuple[Array, Array]:
    """Both at one size where the test shows things ``scale`` times as large: whichever is smaller is enlarged."""

    def zoomed(image: Array, by: float) -> Array:
        middle = ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
        return moved(image, np.asarray(cv2.getRotationMatrix2D(middle, 0.0, by), np.float64), image.shape)

    return (test, zoomed(template, scale)) if scale > 1 else (zoomed(test, 1 / scale), template)


def _turns(template: Gray) -> Iterator[tuple[str, Gray]]:
    """The other ways in which a picture of the same size can lie, and what each is called."""
    for times, turn in (
        (0, ""),
        (1, "turned by 90 degrees"),
        (2, "turned by 180 degrees"),
        (3, "turned by 270 degrees"),
    ):
        if times % 2 and template.shape[0] != template.shape[1]:
            continue
        if times:
            yield turn, np.rot90(template, times)
        if times < 2:
            yield " and ".join(filter(None, ("mirrored left to right", turn))), np.rot90(template[:, ::-1], times)
            yield " and ".join(filter(None, ("mirrored top to bottom", turn))), np.rot90(template[::-1], times)
    yield "as a negative (dark and bright exchanged)", 255 - template


def refuse_blank(test: Gray, template: Gray) -> None:
    """Refuse a template without conductor, or without gaps, under a board that has both."""
    level, _ = cv2.threshold(np.concatenate((test, template)), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = [cv2.countNonZero(cv2.inRange(each, level + 1, 255)) / each.size for each in (test, template)]
    of_test, of_template = (min(share, 1 - share) for share in above)
    if of_template < _BLANK <= of_test:
        raise InvalidInput(
            "the template shows nothing: it has nearly one grey level, and the board has not; take the template's "
            "picture again, or choose another",
            reason="blank",
        )
