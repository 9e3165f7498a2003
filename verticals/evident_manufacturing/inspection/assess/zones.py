"""Zones drawn on the template: read, placed on the board, and found again under the alignment of a tested image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from evident_core.evidence import BBox, Frozen
from evident_manufacturing.inspection.assess.described import is_name
from evident_manufacturing.inspection.assess.document import Node
from evident_manufacturing.inspection.schema import Alignment

Point = tuple[float, float]
_MARGIN = 1.0
"""Pixels by which a zone may reach over the border: numbers are rounded."""


class Zone(Frozen):
    """A named part of the board.

    Attributes:
        unit: Of ``outline``: ``px`` of the template, or ``mm``.
        origin: Where the outline's (0, 0) lies, in pixels of the template.
        outline: The corners in order, x to the right and y down.
    """

    name: str
    unit: Literal["px", "mm"] = "px"
    origin: Point = (0.0, 0.0)
    outline: tuple[Point, ...]

    def corners(self, mm_per_pixel: tuple[float, float] | None) -> tuple[Point, ...] | None:
        """The corners in pixels of the template; None where they are in mm and no calibration holds."""
        if self.unit == "px":
            across, down = 1.0, 1.0
        elif mm_per_pixel is None:
            return None
        else:
            across, down = mm_per_pixel
        return tuple((self.origin[0] + x / across, self.origin[1] + y / down) for x, y in self.outline)


class Misplaced(Frozen):
    """A zone that does not lie wholly on the board.

    Attributes:
        outside: No part of it lies there, so that its limits would never apply; else they hold on the part that does.
        bbox: Around it, in pixels of the template.
        where: Its numbers as the document has them, and in pixels where that is another unit.
        board: The board's size, in pixels and, where a calibration holds, in mm.
    """

    zone: str
    outside: bool
    bbox: BBox
    where: str
    board: str

    @property
    def message(self) -> str:
        """What is wrong, and what can be done about it."""
        if self.outside:
            return (
                f"zone {self.zone} lies outside the board: it is at {self.where}, and the board is {self.board}. "
                "Its limits would never apply; correct its numbers, its unit or its origin."
            )
        return (
            f"zone {self.zone} reaches beyond the board: it is at {self.where}, and the board is {self.board}. "
            "Its limits hold on the part that lies on the board."
        )


def misplaced(
    zones: Sequence[Zone], width: int, height: int, mm_per_pixel: tuple[float, float] | None
) -> tuple[Misplaced, ...]:
    """The zones that do not lie wholly on a board of that size in pixels; a zone that cannot be located is left out."""
    found = []
    board = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    for zone in zones:
        corners = zone.corners(mm_per_pixel)
        if corners is None:
            continue
        x0, y0, x1, y1 = bbox = _around(corners)
        if x0 >= -_MARGIN and y0 >= -_MARGIN and x1 <= width + _MARGIN and y1 <= height + _MARGIN:
            continue
        apart = x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0
        size = f"{width} x {height} px"
        if mm_per_pixel:
            size += f" ({width * mm_per_pixel[0]:.4g} x {height * mm_per_pixel[1]:.4g} mm)"
        outside = apart or not touches(corners, board)
        found.append(Misplaced(zone=zone.name, outside=outside, bbox=bbox, where=_where(zone, bbox), board=size))
    return tuple(found)


def read_zones(node: Node) -> tuple[Zone, ...]:
    """The zones of a specification.

    Raises:
        InvalidInput: A zone has no outline, or one that is none; the message names the line.
    """
    return tuple(_read(name, entry) for name, entry in node.fields().items())


def _read(name: str, entry: Node) -> Zone:
    if not is_name(name):
        entry.refuse(f"{name!r} is not a zone's name: letters, digits, '.', '-' and '_', 40 at most.")
    fields = entry.fields("unit", "origin", "rectangle", "polygon")
    unit = fields["unit"].text if "unit" in fields else "px"
    if unit not in ("px", "mm"):
        fields["unit"].refuse(f"a zone is drawn in px or mm, and not in {unit!r}.")
    if ("rectangle" in fields) == ("polygon" in fields):
        entry.refuse(f"zone {name} needs either rectangle: [x0, y0, x1, y1] or polygon: [[x, y], ...].")
    if "rectangle" in fields:
        shape = fields["rectangle"]
        x0, y0, x1, y1 = shape.numbers(4)
        if x1 <= x0 or y1 <= y0:
            shape.refuse(f"the corners of zone {name} are swapped; write [left, top, right, bottom].")
        outline: tuple[Point, ...] = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    else:
        shape = fields["polygon"]
        pairs = [point.numbers(2) for point in shape.items]
        outline = tuple((x, y) for x, y in pairs)
        if not 3 <= len(outline) <= 200:
            shape.refuse(f"zone {name} has {len(outline)} corners; a polygon has 3 to 200.")
        if crosses_itself(outline) or area(outline) == 0:
            shape.refuse(f"the outline of zone {name} crosses itself or is empty; list its corners in order.")
    x, y = fields["origin"].numbers(2) if "origin" in fields else (0.0, 0.0)
    return Zone.model_validate({"name": name, "unit": unit, "origin": (x, y), "outline": outline})


def _around(outline: Sequence[Point]) -> BBox:
    across, down = [x for x, _ in outline], [y for _, y in outline]
    return min(across), min(down), max(across), max(down)


def _where(zone: Zone, bbox: BBox) -> str:
    in_pixels = _span(bbox, "px")
    if zone.unit == "px" and zone.origin == (0.0, 0.0):
        return in_pixels
    x, y = zone.origin
    return f"{_span(_around(zone.outline), zone.unit)}, origin [{x:g}, {y:g}] px = {in_pixels}"


def _span(bbox: BBox, unit: str) -> str:
    x0, y0, x1, y1 = (f"{round(edge, 3):.10g}" for edge in bbox)
    return f"x {x0}…{x1}, y {y0}…{y1} {unit}"


def on_template(box: BBox, alignment: Alignment | None, width: int, height: int) -> tuple[Point, ...]:
    """The corners of a box of the tested image as points of the template (the inverse of ``Alignment``)."""
    corners = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
    if alignment is None:
        return tuple(corners)
    turn = math.radians(alignment.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    # As images are warped: about the middle of the middle pixels.
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    moved = []
    for x, y in corners:
        bend_x, bend_y = _bend((x, y), alignment.bend, width, height)
        across, down = x - bend_x - alignment.dx - middle_x, y - bend_y - alignment.dy - middle_y
        moved.append((middle_x + across * cos - down * sin, middle_y + across * sin + down * cos))
    return tuple(moved)


def _bend(point: Point, grid: Sequence[Sequence[Point]], width: int, height: int) -> Point:
    """The bend at a point: linear between the middles of the cells around it, and constant beyond the outermost."""
    if not grid:
        return 0.0, 0.0
    rows, columns = len(grid), len(grid[0])
    across = min(max((point[0] + 0.5) / width * columns - 0.5, 0.0), columns - 1.0)
    down = min(max((point[1] + 0.5) / height * rows - 0.5, 0.0), rows - 1.0)
    left, top = int(across), int(down)
    share_x, share_y = across - left, down - top
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    x, y = (
        (grid[top][left][axis] * (1 - share_x) + grid[top][right][axis] * share_x) * (1 - share_y)
        + (grid[bottom][left][axis] * (1 - share_x) + grid[bottom][right][axis] * share_x) * share_y
        for axis in (0, 1)
    )
    return x, y


def touches(one: Sequence[Point], other: Sequence[Point]) -> bool:
    """Whether two polygons share a point: an edge of one meets one of the other, or one lies in the other."""
    if any(_meet(*edge, *rival) for edge in _edges(one) for rival in _edges(other)):
        return True
    return inside(one[0], other) or inside(other[0], one)


def inside(point: Point, outline: Sequence[Point]) -> bool:
    """Whether a point lies in a polygon: a ray from it crosses the outline an odd number of times."""
    x, y = point
    crossings = 0
    for (x0, y0), (x1, y1) in _edges(outline):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossings += 1
    return crossings % 2 == 1


def area(outline: Sequence[Point]) -> float:
    """The area of a polygon that does not cross itself (the shoelace formula)."""
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(outline))) / 2


def crosses_itself(outline: Sequence[Point]) -> bool:
    """Whether two edges that are not neighbours meet."""
    edges = _edges(outline)
    last = len(edges) - 1
    return any(
        _meet(*edges[a], *edges[b])
        for a in range(len(edges))
        for b in range(a + 2, len(edges))
        if not (a == 0 and b == last)
    )


def _edges(outline: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(pairwise((*outline, outline[0])))


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    return any(
        side == 0 and _between(point, *edge)
        for side, point, edge in zip(sides, (c, d, a, b), ((a, b), (a, b), (c, d), (c, d)), strict=True)
    )


def _side(a: Point, b: Point, point: Point) -> float:
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def _between(point: Point, a: Point, b: Point) -> bool:
    return min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
