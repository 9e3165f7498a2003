"""Connected differences of an image that comes in bands: parts that the end of a band cuts are put together again.

What comes out is what the whole image would give (see ``difference``), but for what is so large that it would not fit
in memory: that is given in parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_manufacturing.inspection.perceive.difference import JOIN, MIN_AREA, THRESHOLD, Gray, rle_of
from evident_manufacturing.inspection.schema import Candidate

LARGEST: Final = 2_000_000
"""Pixels of the box up to which what hangs together is put together; a longer slanted scratch is given in parts."""
_Number = TypeVar("_Number", int, float)


@dataclass
class _Piece:
    """Pixels of a difference within one band: where they lie, which they are, and the sum of their strengths."""

    left: int
    top: int
    mask: NDArray[np.bool_]
    strength: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.mask.shape[1], self.top + self.mask.shape[0]


@dataclass
class Joined:
    """Connected differences of one sign, of an image that comes in bands.

    Attributes:
        width: Of the image.
        added: Which sign.
    """

    width: int
    added: bool
    _open: dict[int, list[_Piece]] = field(default_factory=dict)
    _done: list[Candidate] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._edge = np.zeros(self.width, np.int64)
        """Of which open group each pixel of the last row is; 0: of none."""

    def add(self, strength: Gray, top: int, own: tuple[int, int]) -> None:
        """Take the next band, whose own rows begin at ``top`` of the image; those around them it is joined by."""
        rows = slice(*own)
        pixels = (strength >= THRESHOLD).astype(np.uint8)
        joined = cv2.dilate(pixels, np.ones((JOIN + 1, JOIN + 1), np.uint8))[rows]
        pixels, strength = pixels[rows], strength[rows]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        group = np.concatenate(([0], self._count + np.arange(1, count)))
        for label in range(1, count):
            x, y, w, h, _ = stats[label].tolist()
            view = np.s_[y : y + h, x : x + w]
            mask = (labels[view] == label) & (pixels[view] > 0)
            self._open[int(group[label])] = list(_pieces(mask, strength[view], x, top + y))
        self._count += count - 1
        self._join(group, labels[0])
        self._edge = group[labels[-1]]
        for name in self._open.keys() - set(np.unique(self._edge).tolist()):
            self._close(self._open.pop(name))

    def all(self) -> list[Candidate]:
        """What was found, once the last band is in."""
        for pieces in self._open.values():
            self._close(pieces)
        self._open.clear()
        return self._done

    def _join(self, group: NDArray[np.int64], first: NDArray[np.int32]) -> None:
        """Put together what touches across the seam; ``group`` is told anew which group each label is of."""
        above = np.pad(self._edge, 1)
        met = [np.stack([above[shift : shift + self.width], first])[:, first > 0] for shift in (0, 1, 2)]
        pairs = np.unique(np.concatenate(met, axis=1), axis=1).T
        moved: dict[int, int] = {}
        for old, label in pairs[pairs[:, 0] > 0].tolist():
            one, two = root(moved, old), root(moved, int(group[label]))
            if one == two or _area([*self._open[one], *self._open[two]]) > LARGEST:
                continue
            self._open[one] += self._open.pop(two)
            moved[two] = one
        for label in np.unique(first[first > 0]).tolist():
            group[label] = root(moved, int(group[label]))

    def _close(self, pieces: list[_Piece]) -> None:
        for parts in [pieces] if _area(pieces) <= LARGEST else [[each] for each in pieces]:
            area = sum(int(np.count_nonzero(each.mask)) for each in parts)
            if area < MIN_AREA:
                continue
            x0, y0, x1, y1 = around([each.box for each in parts])
            mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
            for each in parts:
                left, top, right, bottom = each.box
                mask[top - y0 : bottom - y0, left - x0 : right - x0] |= each.mask
            contrast = round(sum(each.strength for each in parts) / area / 255, 4)
            self._done.append(
                Candidate(bbox=(x0, y0, x1, y1), mask_rle=rle_of(mask), area=area, contrast=contrast, added=self.added)
            )


def _pieces(mask: NDArray[np.bool_], strength: Gray, left: int, top: int) -> Iterator[_Piece]:
    """A mask without its empty rim, and in parts where it is very large; none where it is empty."""
    step = max(1, LARGEST // mask.shape[0])
    for first in range(0, mask.shape[1], step):
        part, values = mask[:, first : first + step], strength[:, first : first + step]
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if rows.size:
            view = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            total = int(values[view][part[view]].sum())
            yield _Piece(left + first + int(columns[0]), top + int(rows[0]), part[view].copy(), total)


def _area(pieces: Sequence[_Piece]) -> int:
    if not pieces:
        return 0
    x0, y0, x1, y1 = around([each.box for each in pieces])
    return (x1 - x0) * (y1 - y0)


def root(moved: dict[int, int], name: int) -> int:
    """The group that a group has become a part of."""
    while name in moved:
        name = moved[name]
    return name


def around(boxes: Sequence[tuple[_Number, _Number, _Number, _Number]]) -> tuple[_Number, _Number, _Number, _Number]:
    """The box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
