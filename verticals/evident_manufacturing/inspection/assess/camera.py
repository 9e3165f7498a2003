"""Does the camera still see? Statistics of a frame, frames that repeat, and scans that stopped half way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen

Border = Literal["top", "bottom", "left", "right"]
SENSOR_NOISE = 0.25
"""Grey levels by which two pictures of one scene differ at least, on the mean of their pixels."""
HALF_SCAN_SHARE = 0.08
"""Share of the lines at one border that must be constant to call a scan incomplete."""
_PATCH = 2048
_ENDS: tuple[tuple[int, tuple[Border, Border]], ...] = ((1, ("top", "bottom")), (0, ("left", "right")))


class ImageStatistics(Frozen):
    """What drifts when a lamp ages, a lens moves or dust settles.

    Attributes:
        brightness: Mean grey level, 0 to 255.
        contrast: Standard deviation of the grey levels.
        sharpness: Variance of the Laplacian over the variance of the grey levels, so that contrast cancels out.
    """

    brightness: float
    contrast: float
    sharpness: float


def image_statistics(grey_HW: NDArray[np.uint8]) -> ImageStatistics:
    """The statistics of a grey image (H, W), at least 3 x 3.

    Raises:
        InvalidInput: It is smaller, or has colours.
    """
    _check_grey(grey_HW)
    # A patch in the middle keeps the pixel grid, which sharpness is about, and bounds the time of a line scan.
    top, left = (max(0, side - _PATCH) // 2 for side in grey_HW.shape)
    small = grey_HW[top : top + _PATCH, left : left + _PATCH].astype(np.float32)
    variance = float(small.var())
    laplacian = 4 * small[1:-1, 1:-1] - small[:-2, 1:-1] - small[2:, 1:-1] - small[1:-1, :-2] - small[1:-1, 2:]
    return ImageStatistics(
        brightness=float(small.mean()),
        contrast=math.sqrt(variance),
        sharpness=float(laplacian.var()) / variance if variance > 0 else 0.0,
    )


def frame_distance(one_HW: NDArray[np.uint8], other_HW: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two grey frames of one size, in grey levels; infinite where the sizes differ."""
    _check_grey(one_HW)
    if one_HW.shape != other_HW.shape:
        return math.inf
    return float(np.abs(one_HW.astype(np.int16) - other_HW).mean())


def frozen_camera(digests: Sequence[str], distances: Sequence[float] = (), repeats: int = 3) -> bool:
    """Whether the newest frames are one frame sent again: the same bytes, or less difference than a sensor's noise.

    Perfect boards of one product look alike to a perceptual hash, so what is asked is whether frames differ at all.

    Args:
        digests: SHA-256 of each frame's bytes, newest last.
        distances: :func:`frame_distance` of each frame to the one before it, newest last; it finds a frozen camera
            whose frames are encoded anew each time.
        repeats: Frames in a row that make a frozen camera.

    Raises:
        InvalidInput: ``repeats`` is less than 2.
    """
    if repeats < 2:
        raise InvalidInput(f"A frame is repeated from 2 frames on, and {repeats} is less.", repeats=repeats)
    last, near = digests[-repeats:], distances[1 - repeats :]
    same = len(last) == repeats and len(set(last)) == 1
    return same or (len(near) == repeats - 1 and all(each < SENSOR_NOISE for each in near))


def half_scan(grey_HW: NDArray[np.uint8], reference_HW: NDArray[np.uint8], tolerance: int = 2) -> Border | None:
    """The border from which on a scan is missing: 8 % of its lines or more are one constant grey, the rest is not.

    Args:
        grey_HW: Grey image (H, W).
        reference_HW: What should be there: the template, or the last good frame of the product. Lines that are
            constant in it are a blank margin (which 147 of 500 real boards have), and not missing.
        tolerance: Grey levels by which a constant strip may vary.

    Returns:
        The border, or None. An image that is constant all over is blank, and not half a scan.

    Raises:
        InvalidInput: The images differ in size, or are not grey ones of 8 bits.
    """
    _check_grey(grey_HW)
    if reference_HW.shape != grey_HW.shape:
        raise InvalidInput(
            f"The frame is {grey_HW.shape} and its reference {reference_HW.shape}; give one of its size."
        )
    found: list[tuple[float, Border]] = []
    for axis, ends in _ENDS:
        low, high = grey_HW.min(axis=axis), grey_HW.max(axis=axis)
        if int(high.max()) - int(low.min()) <= tolerance:
            return None
        meant = reference_HW.max(axis=axis).astype(np.int16) - reference_HW.min(axis=axis) <= tolerance
        for border, order in zip(ends, (slice(None), slice(None, None, -1)), strict=True):
            # Running extremes from the border inwards: the strip ends where they part.
            spread = np.maximum.accumulate(high[order]).astype(np.int16) - np.minimum.accumulate(low[order])
            strip = int(np.argmax(spread > tolerance))
            missing = float(np.count_nonzero(~meant[order][:strip])) / low.size
            if missing >= HALF_SCAN_SHARE:
                found.append((missing, border))
    return max(found)[1] if found else None


def _check_grey(grey_HW: NDArray[np.uint8]) -> None:
    if grey_HW.ndim != 2 or min(grey_HW.shape) < 3 or grey_HW.dtype != np.uint8:
        raise InvalidInput(
            f"An image of shape {grey_HW.shape} and type {grey_HW.dtype} was given; a grey one of 8 bits and at least "
            "3 x 3 pixels is needed."
        )
