"""Large images in tiles: each defect is taken from the one tile in whose middle it lies, so seams cut none.

Neighbouring tiles share a strip. A box belongs to the tile whose cell its centre lies in, cells being bounded by the
middles of the strips; with strips of twice a defect's half it is whole in that tile. Boxes that are larger than a strip
can be cut: where two of one kind meet at a seam, they are joined.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.evidence import BBox
from evident_manufacturing.inspection.perceive.detector import SIZE
from evident_manufacturing.inspection.schema import Detection

SHARED: Final = 128
"""Pixels that neighbouring tiles share."""
BATCH: Final = 8
_TOUCH: Final = 2.0

Detect = Callable[[Sequence[NDArray[np.uint8]]], list[list[Detection]]]


@dataclass(frozen=True)
class Tile:
    """Where a tile lies (x0, y0, x1, y1), and the cell of it whose defects are its own."""

    box: tuple[int, int, int, int]
    cell: tuple[float, float, float, float]


def tiles(height: int, width: int, size: int = SIZE, shared: int = SHARED) -> list[Tile]:
    """Tiles that cover an image, row by row; one that is no larger than a tile is one."""
    rows, columns = (_cuts(length, size, shared) for length in (height, width))
    return [
        Tile((x0, y0, x1, y1), (left, top, right, bottom))
        for (y0, y1, top, bottom), (x0, x1, left, right) in product(rows, columns)
    ]


def detect_in_tiles(image: NDArray[np.uint8], detect: Detect, *, shared: int = SHARED) -> list[Detection]:
    """What a detector sees in an image of any size; memory is that of a few tiles.

    Args:
        image: uint8 [H, W, 3].
        detect: Takes tiles, and gives what it sees in each.
        shared: Pixels that neighbouring tiles share; twice the largest defect keeps all whole.
    """
    cut = tiles(image.shape[0], image.shape[1], shared=shared)
    if len(cut) == 1:
        return detect([image])[0]
    found: list[Detection] = []
    for first in range(0, len(cut), BATCH):
        part = cut[first : first + BATCH]
        seen = detect([image[y0:y1, x0:x1] for x0, y0, x1, y1 in (tile.box for tile in part)])
        for tile, detections in zip(part, seen, strict=True):
            found += _own(tile, detections)
    return list(_joined(found, cut))


def _cuts(length: int, size: int, shared: int) -> list[tuple[int, int, float, float]]:
    """(first, end, cell's first, cell's end) of tiles along one side, evenly apart."""
    if length <= size:
        return [(0, length, 0.0, float(length))]
    count = -(-(length - shared) // (size - shared))
    firsts = [round(index * (length - size) / (count - 1)) for index in range(count)]
    bounds = [0.0, *((a + size + b) / 2 for a, b in pairwise(firsts)), float(length)]
    return [(first, first + size, bounds[i], bounds[i + 1]) for i, first in enumerate(firsts)]


def _own(tile: Tile, detections: Sequence[Detection]) -> Iterator[Detection]:
    left, top = tile.box[:2]
    for each in detections:
        x0, y0, x1, y1 = each.bbox
        box = (x0 + left, y0 + top, x1 + left, y1 + top)
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if tile.cell[0] <= x < tile.cell[2] and tile.cell[1] <= y < tile.cell[3]:
            yield each.model_copy(update={"bbox": box})


def _joined(found: Sequence[Detection], cut: Sequence[Tile]) -> Iterator[Detection]:
    """Boxes, those joined that end at a tile's border and meet another of their kind there."""
    across = {edge for tile in cut for edge in (tile.box[0], tile.box[2])}
    down = {edge for tile in cut for edge in (tile.box[1], tile.box[3])}

    def is_cut(box: BBox) -> bool:
        return any(abs(v - edge) < _TOUCH for v in (box[0], box[2]) for edge in across) or any(
            abs(v - edge) < _TOUCH for v in (box[1], box[3]) for edge in down
        )

    whole: list[Detection] = []
    cut_ones: dict[str, list[int]] = {}
    for each in sorted(found, key=lambda one: -one.score):
        if not is_cut(each.bbox):
            whole.append(each)
            continue
        mine = cut_ones.setdefault(each.kind, [])
        for index in mine:
            a, b = each.bbox, whole[index].bbox
            if _meet(a, b):
                box = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
                whole[index] = whole[index].model_copy(update={"bbox": box})
                break
        else:
            mine.append(len(whole))
            whole.append(each)
    return iter(whole)


def _meet(a: BBox, b: BBox) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > -_TOUCH and min(a[3], b[3]) - max(a[1], b[1]) > -_TOUCH
