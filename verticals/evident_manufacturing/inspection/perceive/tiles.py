"""Large images in tiles: each defect is taken from the one tile in whose middle it lies, so seams cut none.

Neighbouring tiles share a strip. A box belongs to the tile whose cell its centre lies in, cells being bounded by the
middles of the strips; with strips of twice a defect's half it is whole in that tile. Boxes that are larger than a strip
can be cut: where two of one kind end at the two borders of a strip and overlap in it, they are joined.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.detector import SIZE
from evident_manufacturing.inspection.schema import Detection

SHARED: Final = 128
"""Pixels that neighbouring tiles share."""
_TOUCH: Final = 2.0

Image = NDArray[np.uint8]
Detect = Callable[[Iterable[Image]], Sequence[list[Detection]]]


@dataclass(frozen=True)
class Tile:
    """Where a tile lies (x0, y0, x1, y1), and the cell of it whose defects are its own."""

    box: tuple[int, int, int, int]
    cell: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Piece:
    """A detection, and at which inner borders of its tile it ends, where it may go on in the next."""

    seen: Detection
    left: bool
    top: bool
    right: bool
    bottom: bool

    @property
    def is_cut(self) -> bool:
        return self.left or self.top or self.right or self.bottom

    def goes_on_in(self, other: "_Piece") -> bool:
        """Whether both are parts of one defect: both tiles see their strip, so the two overlap in it."""
        a, b = self.seen.bbox, other.seen.bbox
        return (
            self.seen.kind == other.seen.kind
            and min(a[2], b[2]) > max(a[0], b[0])
            and min(a[3], b[3]) > max(a[1], b[1])
            and (
                (self.right and other.left)
                or (self.left and other.right)
                or (self.bottom and other.top)
                or (self.top and other.bottom)
            )
        )


def tiles(height: int, width: int, size: int = SIZE, shared: int = SHARED) -> list[Tile]:
    """Tiles that cover an image, row by row; one that is no larger than a tile is one."""
    rows, columns = (_cuts(length, size, shared) for length in (height, width))
    return [
        Tile((x0, y0, x1, y1), (left, top, right, bottom))
        for (y0, y1, top, bottom), (x0, x1, left, right) in product(rows, columns)
    ]


def detect_in_tiles(image: Image, detect: Detect, *, shared: int = SHARED) -> list[Detection]:
    """What a detector sees in an image of any size; memory is that of a few tiles.

    Args:
        image: uint8 [H, W, 3].
        detect: Takes tiles, and gives what it sees in each.
        shared: Pixels that neighbouring tiles share; twice the largest defect keeps all whole.
    """
    return detect_in_rows(image.shape, lambda top, bottom: image[top:bottom], detect, shared=shared)


def detect_in_rows(
    shape: Sequence[int], rows: Callable[[int, int], Image], detect: Detect, *, shared: int = SHARED
) -> list[Detection]:
    """The same of an image that is made as it is looked at.

    Args:
        shape: (H, W) of the image.
        rows: Gives its rows from one up to another, uint8 [h, W, 3]; asked from the top to the bottom, each time for
            those of a row of tiles.
        detect: Takes tiles, as it needs them, and gives what it sees in each.
        shared: Pixels that neighbouring tiles share.
    """
    cut = tiles(shape[0], shape[1], shared=shared)

    def parts() -> Iterator[Image]:
        for (top, bottom), row in groupby(cut, key=lambda tile: (tile.box[1], tile.box[3])):
            strip = rows(top, bottom)
            for tile in row:
                yield strip[:, tile.box[0] : tile.box[2]]

    seen = detect(parts())
    if len(cut) == 1:
        return seen[0]
    return _joined([piece for tile, own in zip(cut, seen, strict=True) for piece in _own(tile, shape, own)])


def _cuts(length: int, size: int, shared: int) -> list[tuple[int, int, float, float]]:
    """(first, end, cell's first, cell's end) of tiles along one side, evenly apart."""
    if length <= size:
        return [(0, length, 0.0, float(length))]
    count = -(-(length - shared) // (size - shared))
    firsts = [round(index * (length - size) / (count - 1)) for index in range(count)]
    bounds = [0.0, *((a + size + b) / 2 for a, b in pairwise(firsts)), float(length)]
    return [(first, first + size, bounds[i], bounds[i + 1]) for i, first in enumerate(firsts)]


def _own(tile: Tile, image: Sequence[int], detections: Sequence[Detection]) -> Iterator[_Piece]:
    x_end, y_end = tile.box[2:]
    left, top = tile.box[:2]
    inner = (left > 0, top > 0, x_end < image[1], y_end < image[0])
    for each in detections:
        x0, y0, x1, y1 = each.bbox
        box = (x0 + left, y0 + top, x1 + left, y1 + top)
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if tile.cell[0] <= x < tile.cell[2] and tile.cell[1] <= y < tile.cell[3]:
            ends = (abs(a - b) < _TOUCH and c for a, b, c in zip(box, tile.box, inner, strict=True))
            yield _Piece(each.model_copy(update={"bbox": box}), *ends)


def _joined(found: Sequence[_Piece]) -> list[Detection]:
    """Detections, those joined that are parts of one: the best score is theirs, and the box around all."""
    whole = [each.seen for each in found if not each.is_cut]
    groups: list[list[_Piece]] = []
    for each in (one for one in found if one.is_cut):
        mine = [group for group in groups if any(each.goes_on_in(other) for other in group)]
        groups = [group for group in groups if group not in mine]
        groups.append([each, *(piece for group in mine for piece in group)])
    for group in groups:
        x0, y0, x1, y1 = zip(*(piece.seen.bbox for piece in group), strict=True)
        best = max((piece.seen for piece in group), key=lambda seen: seen.score)
        whole.append(best.model_copy(update={"bbox": (min(x0), min(y0), max(x1), max(y1))}))
    return sorted(whole, key=lambda one: -one.score)
