"""Does the camera still see? Statistics of a frame, frames that repeat, and scans that stopped half way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen

Border = Literal["top", "bottom", "left", "right"]
MOVED = 0.03
"""Pixels that a scene has moved at least when another part lies under the camera."""
EXCESS = 6.0
"""How many times the difference that noise explains two frames of different scenes have at least."""
HALF_SCAN_SHARE = 0.08
"""Share of the lines at one border that must be constant to call a scan incomplete."""
_PATCH = 2048
_BLOCK = 8
_SIGMAS = 6.0
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
    small = _patch(grey_HW).astype(np.float32)
    variance = float(small.var())
    laplacian = 4 * small[1:-1, 1:-1] - small[:-2, 1:-1] - small[2:, 1:-1] - small[1:-1, :-2] - small[1:-1, 2:]
    return ImageStatistics(
        brightness=float(small.mean()),
        contrast=math.sqrt(variance),
        sharpness=float(laplacian.var()) / variance if variance > 0 else 0.0,
    )


class SceneChange(Frozen):
    """What is between two frames beside noise.

    Attributes:
        moved: Pixels by which the scene moved; 0 where noise alone may look like it.
        excess: Mean square difference of 8 x 8 blocks, in units of what the noise of their pixels explains.
    """

    moved: float
    excess: float

    @property
    def none(self) -> bool:
        """Whether both frames show one scene: nothing moved, and nothing differs but noise."""
        return self.moved < MOVED and self.excess < EXCESS


def scene_change(one_HW: NDArray[np.uint8], other_HW: NDArray[np.uint8]) -> SceneChange:
    """How the scene of a grey frame differs from that of the one before it.

    The noise is measured in the frames themselves, as the variance of their difference within blocks: in the mean of a
    block it is 64 times less where pixels are independent. A lamp that flickers is fitted away as a gain. The movement
    is the least-squares fit of the difference to the picture's gradient, which adds up over all edges: so it sees a
    tenth of a pixel where each single pixel is lost in noise.

    The two thresholds are measured on 60 real boards (DeepPCB), each seen twice through ten sensors: noise of 0 to 9
    grey levels (read and shot), demosaiced, JPEG of quality 90 and 75, a lamp 3 and 10 % off. One scene: moved at most
    0.013, excess at most 5.3. The same part moved by 0.11 pixels: moved at least 0.038. A flawed board in the very
    place of its template: excess at least 22, but in the noisiest sensor, where one of 60 passed for the same scene.

    Raises:
        InvalidInput: A frame is not a grey one of 8 bits, or smaller than 3 x 3.
    """
    _check_grey(one_HW)
    _check_grey(other_HW)
    if one_HW.shape != other_HW.shape or min(one_HW.shape) < _BLOCK:
        return SceneChange(moved=math.inf, excess=math.inf)
    before, after = (_patch(frame, _BLOCK).astype(np.float32) for frame in (one_HW, other_HW))
    gain = _gain(before, after)
    if not 0.5 < gain < 2.0:
        return SceneChange(moved=math.inf, excess=math.inf)  # nothing of the one is in the other
    difference = after - after.mean() - gain * (before - before.mean())
    means, noise = _blocks(difference), _noise(difference)
    middle = (before + after) / 2
    right, down = (cv2.Sobel(middle, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
    both = float((right * down).sum())
    gradients = np.array([[float((right * right).sum()), both], [both, float((down * down).sum())]])
    against = -np.array([float((right * difference).sum()), float((down * difference).sum())])
    moved = float(np.hypot(*np.linalg.lstsq(gradients, against, rcond=None)[0]))
    surely = _SIGMAS * math.sqrt(noise / max(float(np.linalg.eigvalsh(gradients)[0]), 1e-9))
    return SceneChange(
        moved=moved if moved > surely else 0.0,
        excess=float((means * means).mean()) * _BLOCK**2 / noise,
    )


def frozen_camera(digests: Sequence[str], repeats: int = 3) -> bool:
    """Whether the newest frames are one frame sent again: the same grey levels.

    Perfect boards of one product look alike to a perceptual hash, so what is asked is whether frames differ at all.

    Args:
        digests: SHA-256 of each frame's grey levels, newest last.
        repeats: Frames in a row that make a frozen camera.

    Raises:
        InvalidInput: ``repeats`` is less than 2.
    """
    _check_repeats(repeats)
    last = digests[-repeats:]
    return len(last) == repeats and len(set(last)) == 1


def frozen_scene(changes: Iterable[SceneChange], repeats: int = 5) -> bool:
    """Whether the newest frames show one scene although each should show another part, sent again or taken anew.

    Args:
        changes: :func:`scene_change` of each frame to the one before it, newest last.
        repeats: Frames in a row that make a frozen scene. Parts that are put down within half a pixel lie within 0.03
            pixels of each other once in 350 times, so five in a row come in ten thousand million.

    Raises:
        InvalidInput: ``repeats`` is less than 2.
    """
    _check_repeats(repeats)
    last = tuple(changes)[1 - repeats :]
    return len(last) == repeats - 1 and all(each.none for each in last)


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


def _patch(grey_HW: NDArray[np.uint8], multiple: int = 1) -> NDArray[np.uint8]:
    """The middle of a frame: it keeps the pixel grid, and bounds the time of a line scan."""
    height, width = (min(_PATCH, side) // multiple * multiple for side in grey_HW.shape)
    top, left = (grey_HW.shape[0] - height) // 2, (grey_HW.shape[1] - width) // 2
    return grey_HW[top : top + height, left : left + width]


def _blocks(image_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each 8 x 8 block."""
    size = (image_HW.shape[1] // _BLOCK, image_HW.shape[0] // _BLOCK)
    return cv2.resize(image_HW, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _noise(difference_HW: NDArray[np.float32]) -> float:
    """The variance of the pixels of a difference that the noise of two frames explains."""
    means = _blocks(difference_HW)
    rounding = 1 / 6  # twice 1/12
    return float(np.median(_blocks(difference_HW * difference_HW) - means * means)) + rounding


def _gain(before_HW: NDArray[np.float32], after_HW: NDArray[np.float32]) -> float:
    """How much brighter the lamp is, by the blocks of two frames; 1 where a frame shows nothing but noise."""
    before, after = _blocks(before_HW) - before_HW.mean(), _blocks(after_HW) - after_HW.mean()
    energy = float((before * before).mean())
    if energy < 10 * _noise(after_HW - before_HW) / _BLOCK**2:
        return 1.0
    return float((before * after).mean()) / energy


def _check_repeats(repeats: int) -> None:
    if repeats < 2:
        raise InvalidInput(f"A frame is repeated from 2 frames on, and {repeats} is less.", repeats=repeats)


def _check_grey(grey_HW: NDArray[np.uint8]) -> None:
    if grey_HW.ndim != 2 or min(grey_HW.shape) < 3 or grey_HW.dtype != np.uint8:
        raise InvalidInput(
            f"An image of shape {grey_HW.shape} and type {grey_HW.dtype} was given; a grey one of 8 bits and at least "
            "3 x 3 pixels is needed."
        )
