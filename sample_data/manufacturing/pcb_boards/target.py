"""A calibration target: a grid of round dots with a known pitch."""

import cv2
import numpy as np

from .layout import Mask

_SUPERSAMPLING = 8


def dot_grid(
    size: int = 640,
    *,
    px_per_mm: float | tuple[float, float] = 48.0,
    pitch_mm: float = 1.0,
    angle: float = 0.35,
    noise: float = 1.5,
    seed: int = 0,
) -> Mask:
    """A picture of black dots on white, half a pitch in diameter, as a camera sees it: soft, grey and a little noisy.

    Args:
        size: Side of the picture in pixels.
        px_per_mm: Scale along x and along y; one number for square pixels.
        pitch_mm: From the centre of a dot to the next.
        angle: Degrees by which the target is turned, counter-clockwise as shown.
        noise: Standard deviation of the grey values.
        seed: Of the noise.

    Returns:
        uint8 [size, size]; dots that would touch the border are left out.
    """
    scale = np.array(px_per_mm if isinstance(px_per_mm, tuple) else (px_per_mm, px_per_mm))
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    reach = int(size / scale.min() / pitch_mm) + 2
    steps = np.stack(np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)), axis=-1).reshape(-1, 2)
    centres = (steps * pitch_mm) @ rotation.T * scale + size / 2
    radius = pitch_mm / 4 * scale
    inside = np.all((centres > 1.5 * radius) & (centres < size - 1.5 * radius), axis=1)
    s, one = _SUPERSAMPLING, 16
    canvas = np.full((size * s, size * s), 235, np.uint8)
    around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1) * radius
    for centre in centres[inside]:
        outline = np.rint(((circle + centre) * s - 0.5) * one).astype(np.int32)
        cv2.fillPoly(canvas, [outline.reshape(-1, 1, 2)], 30, cv2.LINE_8, 4)
    seen = cv2.GaussianBlur(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), (5, 5), 0.8)
    grey = seen + np.random.default_rng(seed).normal(0, noise, seen.shape)
    picture: Mask = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return picture
