"""Where the template lies under a tested board, and whether it is that board's template at all.

Three steps. Phase correlation (Kuglin and Hines, 1975) of small Hann-windowed copies gives the shift to a few pixels; a
Gauss-Newton fit (Lucas and Kanade, 1981) over the template's edges, weighted by Tukey's biweight so that defects do not
pull it, gives shift and turn to some hundredths of a pixel; and the share of the conductor that then still differs by
more than an edge's jitter says how far to trust the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.schema import Alignment

MAX_SHIFT = 0.08
"""Of the shorter side: a board that lies further off is not where the fixture puts it."""

MAX_ANGLE = 3.0
"""Degrees."""

HALF_CONFIDENCE = 0.2
"""Share of differing conductor at which confidence is one half.

Of 1,000 DeepPCB pairs the largest share is 0.09 and the second 0.04, both on nearly empty boards with large defects; of
200 templates of other boards 198 differ by more than 0.47, and the least by 0.01: parallel lines, and empty boards, say
little of whose they are.
"""

ACCEPT = 0.7
"""Confidence from which a template is one."""

SURE = 0.97
"""Confidence from which no other orientation is tried: nearly symmetric boards also half fit when mirrored."""

MAX_BEND = 5.0
"""Pixels that a place may lie off where shift and turn put it."""

_SMALL = 160
_FLOOR = 0.04
_BLANK = 0.002  # share of the rarer of conductor and gap: noise and dust
_BAND = 2_000_000
_MIN_POINTS = 64
_CELL_POINTS = 50
_STEEP = 8
_SMOOTH = 0.1
_STILL = 0.02
_CUTS = (5.0, 4.0, 3.0, 3.0, 3.0, 3.0)
_BEND_CUTS = (3.0, 3.0, 3.0)
_Float = NDArray[np.float32]
Array = TypeVar("Array", Gray, NDArray[np.float32])


@dataclass(frozen=True)
class _Edges:
    """Edge pixels of a template: place, slope (grey levels a pixel), its size, and grey level; float32 [N] each."""

    x: _Float
    y: _Float
    gx: _Float
    gy: _Float
    steep: _Float
    value: _Float


@dataclass(frozen=True)
class _Fit:
    dx: float
    dy: float
    angle: float
    residual: float = 0.0
    differing: float = 1.0
    bend: NDArray[np.float64] | None = None

    @property
    def confidence(self) -> float:
        return 1.0 / (1.0 + (self.differing / HALF_CONFIDENCE) ** 2)

    def alignment(self, scale: float) -> Alignment:
        """The same for pictures that many times as large."""
        bend = () if self.bend is None else (scale * self.bend).round(2).tolist()
        return Alignment(
            dx=round(scale * self.dx, 3),
            dy=round(scale * self.dy, 3),
            angle=round(self.angle, 4),
            confidence=round(self.confidence, 4),
            residual=round(scale * self.residual, 3),
            bend=tuple(tuple((x, y) for x, y in row) for row in bend),
        )


def align(test: Gray, template: Gray) -> Alignment:
    """Find the shift and the turn that bring the template onto the tested board.

    Args:
        test: uint8 [H, W].
        template: uint8, of the test's size.

    Raises:
        InvalidInput: The template does not fit: another size, blank, mirrored, turned, a negative, another scale, or
            another board; the message says which.
    """
    _check_sizes(test, template)
    pair = _Pair(test)
    best = pair.fit(template, (0.0,))
    if best.confidence < ACCEPT:
        best = min(best, pair.fit(template, _ANGLES), key=lambda fit: fit.differing)
    if best.confidence < ACCEPT:
        _refuse_blank(test, template)
    if best.confidence < SURE:
        _refuse_other_ways(test, template, pair, best)
    if best.confidence < ACCEPT:
        raise InvalidInput(
            f"the template is not of this board: {best.differing:.0%} of the conductor differs at the best position "
            f"(confidence {best.confidence:.2f}, {ACCEPT} is needed); choose the template of this product and side",
            reason="foreign",
            confidence=round(best.confidence, 3),
        )
    return best.alignment(2.0)


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
        at = _places(alignment, shape, first, last)
        band = np.s_[first - top : last - top]
        # The stubs do not know that the second map may be none.
        laid[band] = cv2.remap(template, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        inside[band] = _reached(at, alignment, shape, template.shape, first)
    return laid, inside


def _reached(
    at: _Float, alignment: Alignment, shape: tuple[int, ...], template: tuple[int, ...], first: int
) -> NDArray[np.bool_]:
    """Which places of rows from ``first`` lie in the template, bool [rows, W]: only those near a rim are asked."""
    inside = np.ones(at.shape[:2], np.bool_)
    bend = float(np.abs(alignment.bend).max()) if alignment.bend else 0.0
    turn = np.deg2rad(abs(alignment.angle)) * max(shape)
    far = int(abs(alignment.dx) + abs(alignment.dy) + 2 * bend + turn) + 2
    if template != shape[:2]:
        far = max(shape)
    top, bottom = max(0, far - first), max(0, shape[0] - far - first)
    for view in (np.s_[:top], np.s_[bottom:], np.s_[:, :far], np.s_[:, -far:]):
        if inside[view].size:
            within = cv2.inRange(at[view], (-0.5, -0.5), (template[1] - 0.5, template[0] - 0.5))
            np.not_equal(within, 0, out=inside[view])
    return inside


def _refuse_blank(test: Gray, template: Gray) -> None:
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


_ANGLES = tuple(float(each) for each in np.arange(-MAX_ANGLE - 0.5, MAX_ANGLE + 0.75, 0.5))


class _View:
    """One picture as the steps see it: small for the shift, and at half size (blurred) for the fit."""

    def __init__(self, image: Gray) -> None:
        self.shape = image.shape
        size = _halved(image.shape[1]), _halved(image.shape[0])
        self.half: Gray = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        self.small = _small(self.half)
        self.blurred: Gray = np.asarray(cv2.GaussianBlur(self.half, (7, 7), 1.2), np.uint8)


class _Pair:
    """The tested image, and attempts to fit a template to it. Lengths within are of the half-size pictures."""

    def __init__(self, test: Gray) -> None:
        self.view = _View(test)
        self.shape = self.view.half.shape
        self.window = cv2.createHanningWindow(self.view.small.shape[::-1], cv2.CV_32F)
        self.limit = MAX_SHIFT * min(self.shape)

    def fit(self, template: Gray, angles: tuple[float, ...]) -> _Fit:
        view = _View(template)
        edges = _edges(view.blurred)
        fit = self._rigid(edges, *self._coarse(view, angles))
        if np.hypot(fit.dx, fit.dy) > self.limit or abs(fit.angle) > MAX_ANGLE + 0.5:
            return fit
        fit = self._bent(edges, fit)
        return replace(fit, differing=self._differing(view, fit))

    def _coarse(self, view: _View, angles: tuple[float, ...]) -> tuple[float, float, float]:
        """The best of some turns, each with its shift by phase correlation, and without one."""
        test, small = self.view.small, view.small
        scale = self.shape[1] / small.shape[1], self.shape[0] / small.shape[0]
        best, lowest = (0.0, 0.0, 0.0), np.inf
        for angle in angles:
            turned = _warp(small, _matrix(0.0, 0.0, angle, small.shape), small.shape) if angle else small
            (dx, dy), _ = cv2.phaseCorrelate(turned, test, self.window)
            # A board of parallel lines can slide along them, and noise then picks the shift: none is likelier.
            for shift, handicap in (((0.0, 0.0), 1.0), ((dx, dy), 1.02)):
                if np.hypot(*shift) > self.limit / max(scale):
                    continue
                moved = _warp(turned, _matrix(*shift, 0.0, small.shape), small.shape)
                cost = float(cv2.norm(moved, test, cv2.NORM_L1)) * handicap
                if cost < lowest:
                    lowest, best = cost, (shift[0] * scale[0], shift[1] * scale[1], angle)
        return best

    def _rigid(self, edges: _Edges, dx: float, dy: float, angle: float) -> _Fit:
        """Gauss-Newton for shift and turn; also the root mean square distance of edges that is left."""
        if edges.x.size < _MIN_POINTS:
            return _Fit(dx, dy, angle)
        h, w = self.shape
        u, v = edges.x - (w - 1) / 2, edges.y - (h - 1) / 2
        radius = float(np.hypot(h, w)) / 2
        slope = np.stack([edges.gx, edges.gy, (edges.gx * v - edges.gy * u) / radius], axis=1)
        state = np.array([dx, dy, np.deg2rad(angle) * radius])
        # Keeps the shift along parallel lines, and the turn of a lone pad, where the first step put them.
        prior = np.eye(3) * 1e-3 * float(np.sum(edges.steep**2))
        for cut in _CUTS:
            error = edges.value - self._sample(*_turned(u, v, state[:2], state[2] / radius, self.shape))
            weight = _biweight(error / edges.steep, cut)
            weighted = slope * weight[:, None]
            step = np.linalg.solve(weighted.T @ slope + prior, weighted.T @ error)
            state += step
            if np.abs(step).max() < 0.005:
                break
        return _Fit(float(state[0]), float(state[1]), float(np.rad2deg(state[2] / radius)))

    def _bent(self, edges: _Edges, fit: _Fit) -> _Fit:
        """What stays after shift and turn, as a smooth field: the same fit in cells that are tied to each other."""
        if edges.x.size < _MIN_POINTS:
            return fit
        h, w = self.shape
        rows, columns = _grid(self.shape)
        u, v = edges.x - (w - 1) / 2, edges.y - (h - 1) / 2
        x, y = _turned(u, v, np.array([fit.dx, fit.dy]), np.deg2rad(fit.angle), self.shape)
        column = np.clip((x * (columns / w)).astype(np.intp), 0, columns - 1)
        row = np.clip((y * (rows / h)).astype(np.intp), 0, rows - 1)
        cell = row * columns + column
        n = rows * columns
        field = np.zeros((n, 2))
        gx, gy = edges.gx, edges.gy
        # Neighbours are tied to each other, and all weakly to no bend: what a cell cannot see, it takes from them.
        tie = float(np.sum(edges.steep**2)) / n * (_SMOOTH * _laplacian(rows, columns) + _STILL * np.eye(n))
        left = np.zeros_like(gx)
        for cut in _BEND_CUTS:
            move = field[cell].astype(np.float32)
            error = edges.value - self._sample(x + move[:, 0], y + move[:, 1])
            left = error / edges.steep
            weight = _biweight(left, cut)
            xx, xy, yy, p, q = (
                np.bincount(cell, weight * term, n) for term in (gx * gx, gx * gy, gy * gy, gx * error, gy * error)
            )
            matrix = np.block([[np.diag(xx) + tie, np.diag(xy)], [np.diag(xy), np.diag(yy) + tie]])
            toward = np.concatenate([p - tie @ field[:, 0], q - tie @ field[:, 1]])
            field += cv2.solve(matrix, toward[:, None], flags=cv2.DECOMP_CHOLESKY)[1].reshape(2, n).T
        near = left[np.abs(left) < 1.5]
        residual = float(np.sqrt(np.mean(near**2))) if near.size else 1.5
        return replace(
            fit, bend=np.clip(field, -MAX_BEND / 2, MAX_BEND / 2).reshape(rows, columns, 2), residual=residual
        )

    def _sample(self, x: _Float, y: _Float) -> _Float:
        there = cv2.remap(self.view.blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return there.ravel().astype(np.float32)

    def _differing(self, view: _View, fit: _Fit) -> float:
        """Pixels that differ by more than an edge's jitter, as a share of the rarer of conductor and gap."""
        test = self.view.half
        laid, inside = lay(view.half, fit.alignment(1.0), self.shape)
        test = np.where(inside, test, laid)
        level, _ = cv2.threshold(np.concatenate((test, laid)), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        a, b = (cv2.threshold(each, level, 1, cv2.THRESH_BINARY)[1] for each in (test, laid))
        square = np.ones((5, 5), np.uint8)
        missed = cv2.countNonZero(cv2.subtract(a, cv2.dilate(b, square)))
        missed += cv2.countNonZero(cv2.subtract(cv2.erode(b, square), a))
        missed += cv2.countNonZero(cv2.subtract(b, cv2.dilate(a, square)))
        missed += cv2.countNonZero(cv2.subtract(cv2.erode(a, square), b))
        rarer = sum(min(n, a.size - n) for n in (cv2.countNonZero(a), cv2.countNonZero(b)))
        return missed / (rarer + _FLOOR * a.size)


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the cells in which a bend is fitted: of 80 pixels, larger on boards above 1,280."""
    cell = max(40.0, max(shape) / 16)
    return max(1, round(shape[0] / cell)), max(1, round(shape[1] / cell))


@cache
def _laplacian(rows: int, columns: int) -> NDArray[np.float64]:
    """Of the grid's graph: what differences between neighbours cost, [rows * columns, rows * columns]."""
    number = np.arange(rows * columns).reshape(rows, columns)
    matrix = np.zeros((rows * columns, rows * columns))
    for one, two in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        i, j = one.ravel(), two.ravel()
        np.add.at(matrix, (i, j), -1.0)
        np.add.at(matrix, (j, i), -1.0)
        np.add.at(matrix, (i, i), 1.0)
        np.add.at(matrix, (j, j), 1.0)
    return matrix


def _edges(blurred: Gray) -> _Edges:
    """Where the template is steep: what the fit looks at."""
    gx, gy = cv2.Sobel(blurred, cv2.CV_16S, 1, 0), cv2.Sobel(blurred, cv2.CV_16S, 0, 1)
    strong = cv2.max(cv2.convertScaleAbs(gx, alpha=1 / 8), cv2.convertScaleAbs(gy, alpha=1 / 8))
    places = np.flatnonzero(strong > _STEEP)
    rows, columns = _grid(blurred.shape)
    places = places[:: max(1, places.size // (_CELL_POINTS * rows * columns))]
    y, x = np.divmod(places, blurred.shape[1])
    slope_x, slope_y = (each.ravel()[places].astype(np.float32) / np.float32(8) for each in (gx, gy))
    return _Edges(
        x.astype(np.float32),
        y.astype(np.float32),
        slope_x,
        slope_y,
        np.hypot(slope_x, slope_y),
        blurred.ravel()[places].astype(np.float32),
    )


def _turned(
    u: _Float, v: _Float, shift: NDArray[np.float64], turn: float, shape: tuple[int, ...]
) -> tuple[_Float, _Float]:
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x = u * cos + v * sin + np.float32((shape[1] - 1) / 2 + shift[0])
    y = v * cos - u * sin + np.float32((shape[0] - 1) / 2 + shift[1])
    return x.astype(np.float32), y.astype(np.float32)


def _biweight(distance: _Float, cut: float) -> _Float:
    weight = np.clip(1 - (distance / np.float32(cut)) ** 2, 0, None)
    return np.asarray(weight * weight, np.float32)


def _refuse_other_ways(test: Gray, template: Gray, pair: _Pair, best: _Fit) -> None:
    """Raise where the template fits clearly better in another orientation or scale."""
    tried = [(way, pair.fit(np.ascontiguousarray(other), (0.0,))) for way, other in _turns(template)]
    way, fit = min(tried, key=lambda each: each[1].differing)
    if fit.confidence > ACCEPT and fit.differing < best.differing / 2:
        raise InvalidInput(
            f"the template fits only {way}; turn the board or the camera, or choose the template of this side",
            reason=way,
        )
    scale = _scale(pair.view.small, _View(template).small)
    larger, other = _enlarged(test, template, scale)
    fit = _Pair(larger).fit(other, (0.0,))
    if scale != 1.0 and fit.confidence > ACCEPT and fit.differing < best.differing / 2:
        raise InvalidInput(
            f"the template fits only at {scale:.2f} of its size; take it again with this camera, lens and distance",
            reason="scale",
            scale=round(scale, 3),
        )


def _scale(test: _Float, template: _Float) -> float:
    """At which of some scales from a half to twice a small template looks most like a small test."""
    window = cv2.createHanningWindow(test.shape[::-1], cv2.CV_32F)
    best, lowest = 1.0, np.inf
    for scale in np.geomspace(0.5, 2.0, 57).tolist():
        one, two = _enlarged(test, template, scale)
        (dx, dy), _ = cv2.phaseCorrelate(two, one, window)
        cost = float(cv2.norm(_warp(two, _matrix(dx, dy, 0.0, two.shape), two.shape), one, cv2.NORM_L1))
        if np.hypot(dx, dy) < MAX_SHIFT * min(test.shape) and cost < lowest:
            lowest, best = cost, scale
    return best


def _enlarged(test: Array, template: Array, scale: float) -> tuple[Array, Array]:
    """Both at one size where the test shows things ``scale`` times as large: whichever is smaller is enlarged."""

    def zoomed(image: Array, by: float) -> Array:
        middle = ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
        return _warp(image, np.asarray(cv2.getRotationMatrix2D(middle, 0.0, by), np.float64), image.shape)

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


def _check_sizes(test: Gray, template: Gray) -> None:
    for name, image in (("test", test), ("template", template)):
        if image.dtype != np.uint8 or image.ndim != 2:
            raise InvalidInput(
                f"the {name} image is {image.dtype} {list(image.shape)}; give uint8 [H, W], as ingest makes it",
                image=name,
            )
    if test.shape == template.shape:
        return
    turned = test.shape == template.shape[::-1]
    raise InvalidInput(
        f"the template is {template.shape[1]} x {template.shape[0]} pixels and the board {test.shape[1]} x "
        f"{test.shape[0]}; "
        + ("turn one of them by 90 degrees" if turned else "use a template taken with this camera and product"),
        reason="turned by 90 degrees" if turned else "size",
        template=list(template.shape),
        test=list(test.shape),
    )


def _matrix(dx: float, dy: float, angle: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Template pixel to test pixel, [2, 3]: a turn about the centre (counter-clockwise as shown), then a shift."""
    matrix = np.asarray(cv2.getRotationMatrix2D(((shape[1] - 1) / 2, (shape[0] - 1) / 2), angle, 1.0), np.float64)
    matrix[:, 2] += np.array([dx, dy])
    return matrix


def _warp(image: Array, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Array:
    warped = cv2.warpAffine(image, matrix, (shape[1], shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, image.dtype)


def _places(alignment: Alignment, shape: tuple[int, ...], first: int, last: int) -> _Float:
    """Where each pixel of some rows of the tested image lies in the template, float32 [last - first, W, 2]."""
    inverse = cv2.invertAffineTransform(_matrix(alignment.dx, alignment.dy, alignment.angle, shape))
    across, down, shift = np.asarray(inverse, np.float32).T
    bend = np.array(alignment.bend or (((0.0, 0.0),),), np.float32) @ np.stack([across, down])
    y = np.arange(first, last, dtype=np.float32)
    row = np.clip((y + 0.5) * (len(bend) / shape[0]) - 0.5, 0, len(bend) - 1)
    above = row.astype(np.intp)
    below = np.minimum(above + 1, len(bend) - 1)
    part = (row - above).astype(np.float32)[:, None, None]
    # All that is the same along a row is added while the rows are short.
    rows = bend[above] * (1 - part) + bend[below] * part - (y[:, None] * down + shift)[:, None]
    back = np.asarray(cv2.resize(rows, (shape[1], last - first), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(np.subtract(np.arange(shape[1], dtype=np.float32)[:, None] * across, back, out=back))


def _halved(length: int) -> int:
    return max(1, round(length / 2))


def _small(image: Gray) -> _Float:
    factor = max(1.0, max(image.shape) / _SMALL)
    size = max(16, round(image.shape[1] / factor)), max(16, round(image.shape[0] / factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
