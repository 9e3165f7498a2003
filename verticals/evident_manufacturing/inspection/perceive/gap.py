"""What is left at a defect: clearance to the next conductor, or width of the conductor that it takes from."""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import Conductor

REACH: Final = 48
"""Pixels around a defect in which the next conductor, or the conductor's other side, is looked for."""

_NEAR: Final = np.ones((5, 5), np.uint8)
_SPECK: Final = np.ones((3, 3), np.uint8)
_CONTACT: Final = 6
_DEEP: Final = 0.8
_TURNS: Final = np.deg2rad(np.linspace(-75, 75, 31))
_STEPS: Final = np.arange(0.5, REACH + 1, 0.5)
Mask = NDArray[np.uint8]


class Gap(NamedTuple):
    """In units of the pixel: what is left, or else what it is known to exceed, as nothing lies so near."""

    left: float | None = None
    over: float | None = None


def gap(
    mask: Mask, at: tuple[int, int], test: Mask, pixel: tuple[float, float], *, added: bool, conductor: Conductor
) -> Gap:
    """Look around a defect.

    A defect that meets them on two separate sides leaves nothing (a short, an open). More conductor narrows the
    clearance to other pieces of conductor; less of it narrows what stands between the defect and the ground on the
    other side, be that another piece of ground or, around the end of a pad, the same.

    Args:
        mask: Of the defect, uint8 [h, w].
        at: Pixel (x, y) of the mask's corner in ``test``.
        test: uint8 [H, W].
        pixel: Size of one, (x, y).
        added: Whether the defect adds conductor.
        conductor: Whether conductors are darker or brighter than the ground between them.
    """
    left, top = max(0, at[0] - REACH), max(0, at[1] - REACH)
    window = test[top : at[1] + mask.shape[0] + REACH, left : at[0] + mask.shape[1] + REACH]
    defect = np.zeros(window.shape, np.uint8)
    defect[at[1] - top :, at[0] - left :][: mask.shape[0], : mask.shape[1]] = mask
    level = (int(window.min()) + int(window.max())) / 2
    # More conductor narrows the clearance to other conductor, less of it what is left towards other ground.
    pieces = ((window < level) == ((conductor == "dark") == added)).astype(np.uint8)
    around = cv2.dilate(defect, _NEAR)
    pieces[around > 0] = 0
    count, labels = cv2.connectedComponents(cv2.morphologyEx(pieces, cv2.MORPH_OPEN, _SPECK), connectivity=4)
    meets = np.where(cv2.dilate(around, _NEAR) > 0, labels, 0)
    own = (np.bincount(meets.ravel(), minlength=count) > 0).astype(np.uint8)
    own[0] = 0
    mouth = (meets > 0).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(mouth)
    sides = np.bincount(cv2.connectedComponents(mouth[y : y + h, x : x + w])[1].ravel())[1:] if w else np.zeros(0)
    if np.count_nonzero(sides >= _CONTACT) > 1:
        return Gap(0.0)
    lengths: list[float] = []
    size = window.shape[1], max(1, round(window.shape[0] * pixel[1] / pixel[0]))
    others = (1 - own)[labels] & (labels > 0)

    def squared(image: Mask) -> Mask:
        """With square pixels."""
        return (
            image if size == image.shape[::-1] else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
        )

    if others.any():
        distance = cv2.distanceTransform(squared(others ^ 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        lengths.append(float(distance[squared(defect) > 0].min()))
    if own.any() and not added:
        lengths += _through(squared(own[labels]), squared(mouth), squared(defect))
    if lengths:
        return Gap(max(0.0, min(lengths) - 1.0) * pixel[0])
    return Gap(over=REACH * min(pixel))


def _through(ground: Mask, mouth: Mask, defect: Mask) -> list[float]:
    """Pixels from the deepest places of a bite, ahead through the conductor, to the ground that the bite opens to."""
    distance, nearest = cv2.distanceTransformWithLabels(1 - mouth, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    depth = distance * (defect > 0)
    deep = cv2.convexHull(cv2.findNonZero((depth >= _DEEP * depth.max()).astype(np.uint8)))
    x, y = deep.reshape(-1, 2).T
    mouth_y, mouth_x = np.nonzero(mouth)
    opens = np.zeros(int(nearest.max()) + 1, np.intp)
    opens[nearest[mouth_y, mouth_x]] = np.arange(mouth_x.size)
    opens = opens[nearest[y, x]]
    ahead = np.arctan2(y - mouth_y[opens], x - mouth_x[opens])[:, None, None] + _TURNS[:, None]
    to_x = np.rint(x[:, None, None] + np.cos(ahead) * _STEPS).astype(np.intp)
    to_y = np.rint(y[:, None, None] + np.sin(ahead) * _STEPS).astype(np.intp)
    inside = (to_x >= 0) & (to_x < ground.shape[1]) & (to_y >= 0) & (to_y < ground.shape[0])
    hit = inside & (ground[np.where(inside, to_y, 0), np.where(inside, to_x, 0)] > 0)
    first = hit.argmax(axis=2)[hit.any(axis=2)]
    return [float(_STEPS[first.min()])] if first.size else []
