"""How a template is moved, turned and bent until it lies on a tested board.

Two steps: phase correlation of small copies for the shift, and a Gauss-Newton fit over the template's edges (sources in
:mod:`~evident_manufacturing.inspection.perceive.align`).
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Final
from weakref import ReferenceType, ref

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import Gray
from evident_manufacturing.inspection.perceive.laying import Float, lay, matrix, moved
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

MAX_BEND = 5.0
"""Pixels that a place may lie off where shift and turn put it."""

_SMALL: Final = 160
_FLOOR: Final = 0.04
_MIN_POINTS: Final = 64
_CELL_POINTS: Final = 50
_STEEP: Final = 8
_SMOOTH: Final = 0.1
_STILL: Final = 0.02
_CUTS: Final = (5.0, 4.0, 3.0, 3.0, 3.0, 3.0)
_BEND_CUTS: Final = (3.0, 3.0, 3.0)
_SETTLED: Final = 0.01
_SQUARE: Final = np.ones((5, 5), np.uint8)


@dataclass(frozen=True)
class Edges:
    """Edge pixels of a template: place, slope (grey levels a pixel), its size, and grey level; float32 [N] each."""

    x: Float
    y: Float
    gx: Float
    gy: Float
    steep: Float
    value: Float


@dataclass(frozen=True)
class Fit:
    """A shift in half-size pixels, a turn in degrees, a bend, the template as it then lies, and what still differs."""

    dx: float
    dy: float
    angle: float
    residual: float = 0.0
    differing: float = 1.0
    bend: NDArray[np.float64] | None = None
    laid: tuple[Gray, NDArray[np.bool_]] | None = None

    @property
    def confidence(self) -> float:
        """How far to trust it, 0 to 1."""
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


class View:
    """One picture as the steps see it: small for the shift, and at half size (blurred) for the fit."""

    def __init__(self, image: Gray) -> None:
        self.shape = image.shape
        size = _halved(image.shape[1]), _halved(image.shape[0])
        self.half: Gray = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        self.small = _small(self.half)
        self.blurred: Gray = np.asarray(cv2.GaussianBlur(self.half, (7, 7), 1.2), np.uint8)


class Golden:
    """A template as the fit sees it, made once where it cannot change: a line compares every board with the same."""

    _made: ClassVar[dict[int, tuple[ReferenceType[Gray], "Golden"]]] = {}

    def __init__(self, template: Gray) -> None:
        self.view = View(template)
        self.edges = _edges(self.view.blurred)

    @classmethod
    def of(cls, template: Gray) -> "Golden":
        """That of a picture, kept as long as the picture is."""
        key = id(template)
        known = cls._made.get(key)
        if known is not None and known[0]() is template:
            return known[1]
        made = cls(template)
        if not template.flags.writeable:
            cls._made[key] = ref(template, lambda _: cls._made.pop(key, None)), made
        return made


class Pair:
    """The tested image, and attempts to fit a template to it. Lengths within are of the half-size pictures."""

    def __init__(self, test: Gray) -> None:
        self.view = View(test)
        self.whole = test.shape
        self.shape = self.view.half.shape
        self.window = _window(self.view.small.shape)
        self.limit = MAX_SHIFT * min(self.shape)

    def fit(self, template: Gray, angles: tuple[float, ...]) -> Fit:
        """The best fit that begins with one of some turns, in degrees."""
        golden = Golden.of(template)
        fit = self._rigid(golden.edges, *self._coarse(golden.view, angles))
        if np.hypot(fit.dx, fit.dy) > self.limit or abs(fit.angle) > MAX_ANGLE + 0.5:
            return fit
        fit = self._bent(golden.edges, fit)
        laid = lay(template, fit.alignment(2.0), self.whole)
        return replace(fit, laid=laid, differing=self._differing(*laid))

    def _coarse(self, view: View, angles: tuple[float, ...]) -> tuple[float, float, float]:
        """The best of some turns, each with its shift by phase correlation, and without one."""
        test, small = self.view.small, view.small
        scale = self.shape[1] / small.shape[1], self.shape[0] / small.shape[0]
        best, lowest = (0.0, 0.0, 0.0), np.inf
        for angle in angles:
            turned = moved(small, matrix(0.0, 0.0, angle, small.shape), small.shape) if angle else small
            (dx, dy), _ = cv2.phaseCorrelate(turned, test, self.window)
            # A board of parallel lines can slide along them, and noise then picks the shift: none is likelier.
            for shift, handicap in (((0.0, 0.0), 1.0), ((dx, dy), 1.02)):
                if np.hypot(*shift) > self.limit / max(scale):
                    continue
                there = moved(turned, matrix(*shift, 0.0, small.shape), small.shape)
                cost = float(cv2.norm(there, test, cv2.NORM_L1)) * handicap
                if cost < lowest:
                    lowest, best = cost, (shift[0] * scale[0], shift[1] * scale[1], angle)
        return best

    def _rigid(self, edges: Edges, dx: float, dy: float, angle: float) -> Fit:
        """Gauss-Newton for shift and turn; also the root mean square distance of edges that is left."""
        if edges.x.size < _MIN_POINTS:
            return Fit(dx, dy, angle)
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
        return Fit(float(state[0]), float(state[1]), float(np.rad2deg(state[2] / radius)))

    def _bent(self, edges: Edges, fit: Fit) -> Fit:
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
        tie = float(np.sum(edges.steep**2)) / n * _ties(rows, columns)
        tied = np.zeros((2 * n, 2 * n))
        tied[:n, :n] = tied[n:, n:] = tie
        left, own = np.zeros_like(gx), np.arange(n)
        for cut in _BEND_CUTS:
            move = field[cell].astype(np.float32)
            error = edges.value - self._sample(x + move[:, 0], y + move[:, 1])
            left = error / edges.steep
            weight = _biweight(left, cut)
            to_x, to_y = weight * gx, weight * gy
            terms = (to_x * gx, to_x * gy, to_y * gy, to_x * error, to_y * error)
            xx, xy, yy, p, q = (np.bincount(cell, term, n) for term in terms)
            normal = tied.copy()
            normal[own, own] += xx
            normal[own + n, own + n] += yy
            normal[own, own + n] += xy
            normal[own + n, own] += xy
            toward = np.concatenate([p - tie @ field[:, 0], q - tie @ field[:, 1]])
            step = cv2.solve(normal, toward[:, None], flags=cv2.DECOMP_CHOLESKY)[1].reshape(2, n).T
            field += step
            if np.abs(step).max() < _SETTLED:
                break
        near = left[np.abs(left) < 1.5]
        residual = float(np.sqrt(np.mean(near**2))) if near.size else 1.5
        return replace(
            fit, bend=np.clip(field, -MAX_BEND / 2, MAX_BEND / 2).reshape(rows, columns, 2), residual=residual
        )

    def _sample(self, x: Float, y: Float) -> Float:
        there = cv2.remap(self.view.blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return there.ravel().astype(np.float32)

    def _differing(self, laid: Gray, reached: NDArray[np.bool_]) -> float:
        """Pixels that differ by more than an edge's jitter, as a share of the rarer of conductor and gap."""
        size = self.shape[::-1]
        laid = np.asarray(cv2.resize(laid, size, interpolation=cv2.INTER_AREA), np.uint8)
        test = self.view.half
        if not reached.all():
            outside = cv2.resize(np.logical_not(reached).view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            test = np.asarray(cv2.copyTo(laid, outside, test.copy()), np.uint8)
        level, _ = cv2.threshold(np.concatenate((test, laid)), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        a, b = (cv2.threshold(each, level, 1, cv2.THRESH_BINARY)[1] for each in (test, laid))
        missed = sum(
            cv2.countNonZero(cv2.subtract(one, cv2.dilate(other, _SQUARE)))
            + cv2.countNonZero(cv2.subtract(cv2.erode(one, _SQUARE), other))
            for one, other in ((a, b), (b, a))
        )
        rarer = sum(min(n, a.size - n) for n in (cv2.countNonZero(a), cv2.countNonZero(b)))
        return missed / (rarer + _FLOOR * a.size)


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the cells in which a bend is fitted: of 80 pixels, larger on boards above 1,280."""
    cell = max(40.0, max(shape) / 16)
    return max(1, round(shape[0] / cell)), max(1, round(shape[1] / cell))


@cache
def _ties(rows: int, columns: int) -> NDArray[np.float64]:
    """What it costs that a cell differs from its neighbours, and from no bend, [rows * columns, rows * columns]."""
    number = np.arange(rows * columns).reshape(rows, columns)
    laplacian = np.zeros((rows * columns, rows * columns))
    for one, two in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        i, j = one.ravel(), two.ravel()
        np.add.at(laplacian, (i, j), -1.0)
        np.add.at(laplacian, (j, i), -1.0)
        np.add.at(laplacian, (i, i), 1.0)
        np.add.at(laplacian, (j, j), 1.0)
    return _SMOOTH * laplacian + _STILL * np.eye(rows * columns)


@cache
def _window(shape: tuple[int, ...]) -> Float:
    return np.asarray(cv2.createHanningWindow((shape[1], shape[0]), cv2.CV_32F), np.float32)


def _edges(blurred: Gray) -> Edges:
    """Where the template is steep: what the fit looks at."""
    gx, gy = cv2.Sobel(blurred, cv2.CV_16S, 1, 0), cv2.Sobel(blurred, cv2.CV_16S, 0, 1)
    strong = cv2.max(cv2.convertScaleAbs(gx, alpha=1 / 8), cv2.convertScaleAbs(gy, alpha=1 / 8))
    places = np.flatnonzero(strong > _STEEP)
    rows, columns = _grid(blurred.shape)
    places = places[:: max(1, places.size // (_CELL_POINTS * rows * columns))]
    y, x = np.divmod(places, blurred.shape[1])
    slope_x, slope_y = (each.ravel()[places].astype(np.float32) / np.float32(8) for each in (gx, gy))
    return Edges(
        x.astype(np.float32),
        y.astype(np.float32),
        slope_x,
        slope_y,
        np.hypot(slope_x, slope_y),
        blurred.ravel()[places].astype(np.float32),
    )


def _turned(u: Float, v: Float, shift: NDArray[np.float64], turn: float, shape: tuple[int, ...]) -> tuple[Float, Float]:
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x = u * cos + v * sin + np.float32((shape[1] - 1) / 2 + shift[0])
    y = v * cos - u * sin + np.float32((shape[0] - 1) / 2 + shift[1])
    return x.astype(np.float32), y.astype(np.float32)


def _biweight(distance: Float, cut: float) -> Float:
    weight = np.clip(1 - (distance / np.float32(cut)) ** 2, 0, None)
    return np.asarray(weight * weight, np.float32)


def _halved(length: int) -> int:
    return max(1, round(length / 2))


def _small(image: Gray) -> Float:
    factor = max(1.0, max(image.shape) / _SMALL)
    size = max(16, round(image.shape[1] / factor)), max(16, round(image.shape[0] / factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
