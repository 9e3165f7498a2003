"""Laying a template under a tested board: where each pixel comes from, and which the template reaches."""

from functools import lru_cache
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.schema import Alignment

Float = NDArray[np.float32]
Array = TypeVar("Array", Gray, Float)
_BAND: Final = 2_000_000


def warp(template: Gray, alignment: Alignment, shape: tuple[int, ...]) -> Gray:
    """Lay the template under the tested image of that shape (H, W); the rim that it does not reach repeats its edge."""
    return lay(template, alignment, shape)[0]


def lay(
    template: Gray, alignment: Alignment, shape: tuple[int, ...], rows: tuple[int, int] | None = None
) -> tuple[Gray, NDArray[np.bool_]]:
    """:func:`warp`, and which pixels of the tested image the template really reaches, bool [H, W].

    With ``rows`` (first, last + 1), of these only: a line scan is compared in bands.
    """
    top, bottom = rows or (0, shape[0])
    laid = np.empty((bottom - top, shape[1]), np.uint8)
    inside = np.empty(laid.shape, np.bool_)
    # Places take eight bytes a pixel: a line scan of 16,384 x 16,384 would need 2 GB at once.
    step = max(1, _BAND // shape[1])
    for first in range(top, bottom, step):
        last = min(bottom, first + step)
        x, y = _places(alignment, shape, first, last)
        band = np.s_[first - top : last - top]
        laid[band] = cv2.remap(template, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside[band] = _reached(x, y, alignment, shape, template.shape, first)
    return laid, inside


def matrix(dx: float, dy: float, angle: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Template pixel to test pixel, [2, 3]: a turn about the centre (counter-clockwise as shown), then a shift."""
    turned = np.asarray(cv2.getRotationMatrix2D(((shape[1] - 1) / 2, (shape[0] - 1) / 2), angle, 1.0), np.float64)
    turned[:, 2] += np.array([dx, dy])
    return turned


def moved(image: Array, by: NDArray[np.float64], shape: tuple[int, ...]) -> Array:
    """A picture under a :func:`matrix`; its rim repeats."""
    return np.asarray(cv2.warpAffine(image, by, (shape[1], shape[0]), borderMode=cv2.BORDER_REPLICATE), image.dtype)


def _places(alignment: Alignment, shape: tuple[int, ...], first: int, last: int) -> tuple[Float, Float]:
    """Where each pixel of some rows of the tested image lies in the template: x and y, float32 [last - first, W]."""
    inverse = cv2.invertAffineTransform(matrix(alignment.dx, alignment.dy, alignment.angle, shape))
    bend = np.array(alignment.bend or (((0.0, 0.0),),), np.float64)
    down, across = _hats(shape[0], len(bend))[first:last], _along(shape[1], bend.shape[1])
    y = np.arange(first, last, dtype=np.float32)

    def plane(to_x: float, to_y: float, shift: float) -> Float:
        # Bend, turn and shift are sums of a term of the row times one of the column: one product of thin matrices.
        of_rows = np.empty((last - first, len(across)), np.float32)
        of_rows[:, :-2] = _product(down, (-(bend @ (to_x, to_y))).astype(np.float32))
        of_rows[:, -2], of_rows[:, -1] = to_x, y * to_y + shift
        return _product(of_rows, across)

    return plane(*inverse[0]), plane(*inverse[1])


def _product(one: Float, two: Float) -> Float:
    """OpenCV's, which runs where it is called: NumPy's takes threads of its own, for which others make it wait."""
    return np.asarray(cv2.gemm(one, two, 1.0, None, 0.0), np.float32)  # type: ignore[call-overload]  # it takes none


@lru_cache(maxsize=8)
def _along(length: int, cells: int) -> Float:
    """What a row's terms are multiplied with: each cell's part of each column, the column, and 1; [cells + 2, W]."""
    return np.vstack([_hats(length, cells).T, np.arange(length), np.ones(length)]).astype(np.float32)


@lru_cache(maxsize=8)
def _hats(length: int, cells: int) -> Float:
    """How much of each cell's value a pixel has, linear between the cells' middles, float32 [length, cells]."""
    at = np.clip((np.arange(length) + 0.5) * (cells / length) - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(cells))), np.float32)


def _reached(
    x: Float, y: Float, alignment: Alignment, shape: tuple[int, ...], template: tuple[int, ...], first: int
) -> NDArray[np.bool_]:
    """Which places of rows from ``first`` lie in the template, bool [rows, W]: only those near a rim are asked."""
    inside = np.ones(x.shape, np.bool_)
    bend = float(np.abs(alignment.bend).max()) if alignment.bend else 0.0
    turn = np.deg2rad(abs(alignment.angle)) * max(shape)
    far = int(abs(alignment.dx) + abs(alignment.dy) + 2 * bend + turn) + 2
    if template != shape[:2]:
        far = max(shape)
    top, bottom = max(0, far - first), max(0, shape[0] - far - first)
    for view in (np.s_[:top], np.s_[bottom:], np.s_[:, :far], np.s_[:, -far:]):
        if inside[view].size:
            within = np.asarray(cv2.inRange(x[view], (-0.5,), (template[1] - 0.5,)), np.uint8)
            within &= np.asarray(cv2.inRange(y[view], (-0.5,), (template[0] - 0.5,)), np.uint8)
            np.not_equal(within, 0, out=inside[view])
    return inside
