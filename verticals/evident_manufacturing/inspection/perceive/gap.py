"""What is left at a defect: clearance to the next conductor, or width of the conductor that it takes from."""

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import Conductor

REACH: Final = 48
"""Pixels around a defect in which the next conductor, or the conductor's other side, is looked for."""

_NEAR: Final = np.ones((5, 5), np.uint8)
_SPECK: Final = np.ones((3, 3), np.uint8)
_CLOSE: Final = 8
_CONTACT: Final = 6
_AT_ONCE: Final = 256
_DEEP: Final = 0.8
_ASIDE: Final = float(np.cos(np.deg2rad(75)))
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
    darkest, brightest, _, _ = cv2.minMaxLoc(window)
    # More conductor narrows the clearance to other conductor, less of it what is left towards other ground.
    dark = (conductor == "dark") == added
    kind = cv2.THRESH_BINARY_INV if dark else cv2.THRESH_BINARY
    pieces = np.asarray(cv2.threshold(window, math.ceil((darkest + brightest) / 2) - 1, 1, kind)[1], np.uint8)
    near = np.s_[
        max(0, at[1] - top - _CLOSE) : at[1] - top + mask.shape[0] + _CLOSE,
        max(0, at[0] - left - _CLOSE) : at[0] - left + mask.shape[1] + _CLOSE,
    ]
    around = cv2.dilate(defect[near], _NEAR)
    pieces[near][around > 0] = 0
    meets = cv2.dilate(around, _NEAR) & cv2.morphologyEx(pieces[near], cv2.MORPH_OPEN, _SPECK)  # type: ignore[operator]
    sides = np.bincount(cv2.connectedComponents(meets)[1].ravel())[1:]
    if np.count_nonzero(sides >= _CONTACT) > 1:
        return Gap(0.0)
    count, labels = cv2.connectedComponents(cv2.morphologyEx(pieces, cv2.MORPH_OPEN, _SPECK), connectivity=4)
    own = (np.bincount(labels[near][meets > 0], minlength=count) > 0).astype(np.uint8)
    other = own ^ 1
    own[0] = other[0] = 0
    lengths: list[float] = []
    unit = min(pixel)
    size = round(window.shape[1] * pixel[0] / unit), round(window.shape[0] * pixel[1] / unit)

    def squared(image: Mask) -> Mask:
        """With square pixels, of the finer side, so that no line of it is lost."""
        return (
            image if size == image.shape[::-1] else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
        )

    if other.any():
        lengths.append(_apart(_rim(squared(other[labels])), _rim(squared(defect))))
    if own.any() and not added:
        mouth = np.zeros_like(defect)
        mouth[near] = meets
        lengths += _through(squared(own[labels]), squared(mouth), squared(defect))
    if lengths:
        return Gap(max(0.0, min(lengths) - 1.0) * unit)
    return Gap(over=REACH * unit)


def _rim(piece: Mask) -> NDArray[np.int32]:
    """Pixels (x, y) of a mask that touch what is not in it, [N, 2]."""
    return np.asarray(cv2.findNonZero(cv2.subtract(piece, cv2.erode(piece, _SPECK))), np.int32).reshape(-1, 2)


def _apart(one: NDArray[np.int32], two: NDArray[np.int32]) -> float:
    """The shortest way from a pixel of one to a pixel of the other."""
    (x, y), shortest = one.T, np.inf
    for first in range(0, len(two), _AT_ONCE):  # a scratch across a line scan has many
        to_x, to_y = two[first : first + _AT_ONCE].T
        dx, dy = x[:, None] - to_x, y[:, None] - to_y
        shortest = min(shortest, float((dx * dx + dy * dy).min()))
    return math.sqrt(shortest)


def _through(ground: Mask, mouth: Mask, defect: Mask) -> list[float]:
    """Pixels from the deepest places of a bite, ahead through the conductor, to the ground that the bite opens to."""
    left, top, width, height = cv2.boundingRect(mouth | defect)
    inner = np.s_[top : top + height, left : left + width]
    mouth, defect = np.ascontiguousarray(mouth[inner]), defect[inner]
    distance, nearest = cv2.distanceTransformWithLabels(mouth ^ 1, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    depth = distance * (defect > 0)
    deep = cv2.convexHull(cv2.findNonZero((depth >= _DEEP * depth.max()).astype(np.uint8))).reshape(-1, 2)
    opening = cv2.findNonZero(mouth).reshape(-1, 2)
    opens = np.zeros(int(nearest.max()) + 1, np.intp)
    opens[nearest[opening[:, 1], opening[:, 0]]] = np.arange(len(opening))
    ahead = (deep - opening[opens[nearest[deep[:, 1], deep[:, 0]]]]).astype(np.float32)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    away = (_rim(ground) - deep[:, None] - (left, top)).astype(np.float32)
    far = np.hypot(away[..., 0], away[..., 1])
    seen = (away[..., 0] * ahead[:, :1] + away[..., 1] * ahead[:, 1:] >= _ASIDE * far) & (far <= REACH)
    return [float(far[seen].min())] if seen.any() else []
