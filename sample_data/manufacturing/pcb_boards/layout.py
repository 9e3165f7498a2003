"""The conductors of a board: traces, buses, pads, vias, planes and lettering, as shapes and as a picture.

Lengths are pixels of the final image; x to the right, y down; pixel ``i`` covers [i, i + 1). A board is laid out piece
by piece: one that would come too near to what is already there is left out, so that nothing touches by accident.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Points = NDArray[np.float64]

SUPERSAMPLING = 4
_COARSE = 0.25
_FRACTION_BITS = 4
_WIDTHS = (6.0, 8.0, 10.0, 14.0, 18.0, 26.0)
_LETTERS = "ABCDEFGHKLMNPRSTUVXYZ0123456789+-"


@dataclass(frozen=True)
class Shape:
    """A piece of conductor (``ink``) or of bare board: a stroke through points, a filled area, a disc or lettering.

    ``width`` is the stroke's, the disc's diameter or the lettering's height; lettering starts at its lower left corner.
    """

    kind: Literal["stroke", "area", "disc", "text"]
    points: Points
    width: float = 0.0
    ink: bool = True
    text: str = ""


def draw(canvas: Mask, shapes: Iterable[Shape], scale: float, *, grow: float = 0.0, invert: bool = False) -> None:
    """Draw shapes on a canvas of ``scale`` pixels a pixel: conductor 255, bare board 0; ``grow`` widens all of them."""
    one = 1 << _FRACTION_BITS
    for shape in shapes:
        at = np.rint((shape.points * scale - 0.5) * one).astype(np.int32).reshape(-1, 1, 2)
        colour = 255 if shape.ink is not invert else 0
        thickness = max(1, round((shape.width + 2 * grow) * scale))
        match shape.kind:
            case "stroke":
                cv2.polylines(canvas, [at], False, colour, thickness, cv2.LINE_8, _FRACTION_BITS)
            case "area":
                cv2.fillPoly(canvas, [at], colour, cv2.LINE_8, _FRACTION_BITS)
                if grow:
                    cv2.polylines(canvas, [at], True, colour, thickness, cv2.LINE_8, _FRACTION_BITS)
            case "disc":
                x, y = (int(v) for v in at[0, 0])
                radius = round((shape.width / 2 + grow) * scale * one)
                cv2.circle(canvas, (x, y), radius, colour, -1, cv2.LINE_8, _FRACTION_BITS)
            case "text":
                corner = (int(at[0, 0, 0]) // one, int(at[0, 0, 1]) // one)
                pen = max(1, round((shape.width / 6 + 2 * grow) * scale))
                cv2.putText(canvas, shape.text, corner, cv2.FONT_HERSHEY_SIMPLEX, shape.width * scale / 22, colour, pen)


class Layout:
    """A board in the making: ``shapes`` so far, and where there is room for more.

    Args:
        rng: Source of every choice.
        size: Side of the square board.
        unit: Pixels for each 1/48 mm: what every width and distance is multiplied by.
    """

    def __init__(self, rng: np.random.Generator, size: int, unit: float) -> None:
        self.rng, self.size, self.unit = rng, size, unit
        self.shapes: list[Shape] = []
        self._taken = np.zeros((int(size * _COARSE) + 1,) * 2, np.uint8)

    def put(self, shapes: list[Shape], clearance: float = 7.0) -> bool:
        """Add shapes if none comes nearer than ``clearance`` to those of earlier calls; whether they were added."""
        wanted = np.zeros_like(self._taken)
        draw(wanted, [s for s in shapes if s.ink], _COARSE, grow=clearance * self.unit)
        if cv2.bitwise_and(wanted, self._taken).any():
            return False
        draw(self._taken, [s for s in shapes if s.ink], _COARSE, grow=1.0)
        self.shapes += shapes
        return True

    def anywhere(self) -> Points:
        """A point on the board."""
        return self.rng.uniform(0, self.size, 2)

    def between(self, low: float, high: float) -> float:
        """A length between two, the short ones as likely in proportion as the long ones."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high)))) * self.unit

    def path(self, start: Points, heading: int, legs: int, shortest: float, longest: float) -> Points:
        """A way of straight legs that turns by 45 or, seldom, by 90 degrees; ``heading`` is in eighths of a turn."""
        points, turned = [start], 1 if self.rng.random() < 0.5 else -1
        for _ in range(legs):
            angle = heading * np.pi / 4
            points.append(points[-1] + self.between(shortest, longest) * np.array([np.cos(angle), np.sin(angle)]))
            turned = -turned if self.rng.random() < 0.7 else turned
            heading += turned * (2 if self.rng.random() < 0.15 else 1)
        return np.array(points)


def beside(path: Points, distance: float) -> Points:
    """The way that runs beside another at a distance (to the right, seen along it), with mitred corners."""
    legs = np.diff(path, axis=0)
    legs /= np.linalg.norm(legs, axis=1, keepdims=True)
    normals = np.stack([-legs[:, 1], legs[:, 0]], axis=1)
    first, second = np.vstack([normals[:1], normals]), np.vstack([normals, normals[-1:]])
    mitre = (first + second) / (1 + np.sum(first * second, axis=1, keepdims=True)).clip(0.2)
    moved: Points = path + distance * mitre
    return moved


def _land(board: Layout, at: Points, diameter: float) -> list[Shape]:
    """A pad or a via: round or square, often with a hole."""
    half, shapes = diameter / 2, [Shape("disc", at[None], diameter)]
    if board.rng.random() < 0.4:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([half, half * board.rng.uniform(0.7, 1.3)])
        shapes = [Shape("area", at + corners)]
    if diameter > 18 * board.unit and board.rng.random() < 0.7:
        shapes.append(Shape("disc", at[None], diameter * board.rng.uniform(0.3, 0.55), ink=False))
    return shapes


def _trace(board: Layout) -> None:
    width = float(board.rng.choice(_WIDTHS)) * board.unit
    way = board.path(board.anywhere(), int(board.rng.integers(8)), int(board.rng.integers(1, 5)), 30, 220)
    shapes = [Shape("stroke", way, width)]
    for end in (way[0], way[-1]):
        if board.rng.random() < 0.8:
            shapes += _land(board, end, max(width * 1.3, board.between(14, 60)))
    board.put(shapes)


def _bus(board: Layout, wide: bool = False) -> None:
    width, gap = board.between(*((18, 70) if wide else (5, 14))), board.between(*((9, 30) if wide else (6, 14)))
    count = int(board.rng.integers(2, 6 if wide else 10))
    heading = int(board.rng.integers(8)) if not wide else 2 * int(board.rng.integers(4))
    angle = heading * np.pi / 4
    start = board.anywhere() - np.array([np.cos(angle), np.sin(angle)]) * board.size * board.rng.uniform(0.2, 1)
    way = board.path(start, heading, int(board.rng.integers(2, 6)), 90, 420)
    lines = [Shape("stroke", beside(way, (i - count / 2) * (width + gap)), width) for i in range(count)]
    if board.put(lines, clearance=gap):
        for line in lines:
            if board.rng.random() < 0.4:
                board.shapes.append(Shape("disc", line.points[-1:], width * 1.6))


def _lands(board: Layout) -> None:
    """A grid of equal pads or vias."""
    diameter = board.between(8, 70)
    pitch = diameter * board.rng.uniform(1.5, 2.6)
    columns, rows = board.rng.integers(1, 5, 2)
    corner, one = board.anywhere(), _land(board, np.zeros(2), diameter)
    board.put(
        [
            Shape(s.kind, s.points + corner + pitch * np.array([i, j]), s.width, s.ink)
            for i in range(columns)
            for j in range(rows)
            for s in one
        ]
    )


def _footprint(board: Layout) -> None:
    """The pads of an integrated circuit in two rows, each with a stub of trace."""
    width, length = board.between(7, 14), board.between(26, 60)
    pitch, across = width * board.rng.uniform(1.8, 2.5), board.between(90, 200)
    corner, count, upright = board.anywhere(), int(board.rng.integers(4, 12)), board.rng.random() < 0.5
    shapes = []
    for i in range(count):
        for side in (-1.0, 1.0):
            inner, outer = side * across / 2, side * (across / 2 + length)
            ends = [[(i * pitch, inner), (i * pitch, outer)]]
            if board.rng.random() < 0.5:
                ends.append([(i * pitch, outer), (i * pitch, outer + side * board.between(20, 90))])
            for n, end in enumerate(ends):
                points = np.array(end)[:, ::-1] if upright else np.array(end)
                shapes.append(Shape("stroke", points + corner, width if n == 0 else width * 0.6))
    board.put(shapes)


def _plane(board: Layout) -> None:
    """A large area of conductor, with slots, holes and pads that stand free in it."""
    rng, centre, reach = board.rng, board.anywhere(), board.between(90, 420)
    if rng.random() < 0.35:
        plane = Shape("disc", centre[None], 2 * reach)
    else:
        half = reach * rng.uniform(0.4, 1.0, 2)
        cut = min(half) * rng.uniform(0.1, 0.6)
        outline = [(-1, -1, 1, 0), (1, -1, -1, 0), (1, -1, 0, 1), (1, 1, 0, -1)]
        outline += [(1, 1, -1, 0), (-1, 1, 1, 0), (-1, 1, 0, -1), (-1, -1, 0, 1)]
        plane = Shape(
            "area", centre + np.array([(a * half[0] + c * cut, b * half[1] + d * cut) for a, b, c, d in outline])
        )
    shapes = [plane]
    for _ in range(int(rng.integers(0, 6))):
        at = centre + rng.uniform(-0.7, 0.7, 2) * reach
        hole = board.between(10, 90)
        shapes.append(Shape("disc", at[None], hole, ink=False))
        if hole > 40 * board.unit and rng.random() < 0.5:
            shapes.append(Shape("disc", at[None], hole * 0.5))
    if rng.random() < 0.6:
        way = board.path(centre, int(rng.integers(8)), 3, 60, 300)
        shapes.append(Shape("stroke", way, board.between(8, 22), ink=False))
    board.put(shapes, clearance=9.0)


def _meander(board: Layout) -> None:
    """A line that steps to and fro in right angles."""
    rng, step, width = board.rng, board.between(30, 90), board.between(6, 14)
    level, x, points = 0.0, 0.0, [(0.0, 0.0)]
    for _ in range(int(rng.integers(4, 14))):
        x += step * rng.uniform(0.6, 1.5)
        points.append((x, level))
        level = step * rng.uniform(0.4, 1.0) if level == 0.0 else 0.0
        points.append((x, level))
    way = np.array(points)[:, ::-1] if rng.random() < 0.5 else np.array(points)
    board.put([Shape("stroke", way + board.anywhere() - board.size * 0.2, width)])


def _lettering(board: Layout) -> None:
    text = "".join(board.rng.choice(list(_LETTERS), int(board.rng.integers(2, 6))))
    board.put([Shape("text", board.anywhere()[None], board.between(18, 44), text=text)])


_PIECES: dict[str, tuple[tuple[Callable[[Layout], None], int], ...]] = {
    "signal": ((_plane, 1), (_footprint, 3), (_bus, 6), (_lands, 6), (_trace, 24), (_lettering, 2)),
    "sparse": ((_lands, 3), (_bus, 1), (_trace, 6), (_lettering, 1)),
    "power": ((_plane, 9), (lambda b: _bus(b, wide=True), 3), (_lands, 4), (_trace, 10)),
    "bars": ((lambda b: _bus(b, wide=True), 9), (_plane, 3), (_trace, 8), (_lands, 4)),
    "slots": ((_meander, 7), (_bus, 5), (_trace, 12), (_lands, 5)),
}
_LIKELY = {"signal": 0.36, "sparse": 0.14, "power": 0.18, "bars": 0.14, "slots": 0.18}


def lay_out(rng: np.random.Generator, size: int, unit: float) -> Mask:
    """A board drawn at :data:`SUPERSAMPLING` times its size: uint8 [size * 4, size * 4], conductor 255, bare board 0.

    Boards of ``slots``, and now and then others, are drawn the other way round: what was laid out is left bare, and the
    rest is conductor.
    """
    style = str(rng.choice(list(_LIKELY), p=list(_LIKELY.values())))
    board = Layout(rng, size, unit)
    for piece, times in _PIECES[style]:
        for _ in range(times):
            piece(board)
    invert = rng.random() < (0.8 if style == "slots" else 0.06)
    canvas = np.full((size * SUPERSAMPLING,) * 2, 255 if invert else 0, np.uint8)
    draw(canvas, board.shapes, SUPERSAMPLING, invert=invert)
    return canvas


def shrink(canvas: Mask) -> Mask:
    """The share of conductor in each pixel, 0 to 255, from a supersampled drawing."""
    # Twice by two: OpenCV has a fast way for that, and for four it has not.
    half = cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
