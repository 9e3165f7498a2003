"""What a page prints, line by line: words on one baseline, and rows of a label with numbers at its end."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

from evident_core.evidence import BBox
from evident_finance.risk_report.perceive.numbers import parse_number, plain
from evident_finance.risk_report.schema import PageWords, Word

NOTE_MARK = re.compile(
    r"[一二三四五六七八九十]{1,3}[、.,(（]+\s*[(（]?[\d一二三四五六七八九十]+.*|[(（]?[一二三四五六七八九十]{1,3}[)）]\d*"
)
"""A reference into the notes as Chinese statements print it: 七、62."""


@dataclass(frozen=True)
class Line:
    """Words on one baseline of a page, left to right."""

    page: int
    words: tuple[Word, ...]

    @cached_property
    def text(self) -> str:
        """The words with one space between them."""
        return " ".join(word.text for word in self.words)

    @cached_property
    def bbox(self) -> BBox:
        """The box around all words."""
        return hull(word.bbox for word in self.words)

    @property
    def height(self) -> float:
        """Typical height of its words."""
        return sorted(word.bbox[3] - word.bbox[1] for word in self.words)[len(self.words) // 2]


@dataclass(frozen=True)
class Printed:
    """A number (or a dash, ``value`` None) as it is printed at the end of a line."""

    text: str
    value: Decimal | None
    bbox: BBox
    red: bool = False


@dataclass
class GridRow:
    """A label and one printed number, or None, a column."""

    page: int
    label: str
    bbox: BBox
    cells: list[Printed | None]
    indent: float
    bold: bool = False
    label_right: float = 0.0
    lines: list[Line] = field(default_factory=list)

    @property
    def filled(self) -> bool:
        """Whether any number stands in it."""
        return any(cell is not None for cell in self.cells)

    @property
    def cells_left(self) -> float:
        """Where the first number begins."""
        return min((cell.bbox[0] for cell in self.cells if cell is not None), default=float("inf"))


def hull(boxes: Iterable[BBox]) -> BBox:
    """The smallest box around the boxes."""
    x0s, tops, x1s, bottoms = zip(*boxes, strict=True)
    return (min(x0s), min(tops), max(x1s), max(bottoms))


def parts_of(page: PageWords) -> list[list[Line]]:
    """The page's words as lines from top to bottom; a side-by-side statement as its left half and its right half."""
    words = [word for word in page.words if word.text.strip()]
    lines = _baselines(page.page, words)
    split = _gutter(lines)
    if split is None:
        return [lines]
    first = next(i for i, line in enumerate(lines) if _two_sided(line, split, numbers=True))
    while first > 0 and _two_sided(lines[first - 1], split, numbers=False):
        first -= 1
    top = lines[first].bbox[1] - 1
    above = [word for word in words if word.bbox[3] <= top + 1]
    left = [word for word in words if word.bbox[3] > top + 1 and word.bbox[0] < split - 1]
    right = [word for word in words if word.bbox[3] > top + 1 and word.bbox[0] >= split - 1]
    return [_baselines(page.page, [*above, *left]), _baselines(page.page, right)]


def _baselines(page: int, words: Sequence[Word]) -> list[Line]:
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda w: (w.bbox[1] + w.bbox[3]) / 2):
        middle, height = (word.bbox[1] + word.bbox[3]) / 2, word.bbox[3] - word.bbox[1]
        if rows:
            last = rows[-1]
            reference = max(last, key=lambda w: w.bbox[3] - w.bbox[1])
            centre = (reference.bbox[1] + reference.bbox[3]) / 2
            if abs(middle - centre) < 0.42 * max(height, reference.bbox[3] - reference.bbox[1]):
                last.append(word)
                continue
        rows.append([word])
    return [Line(page, tuple(sorted(row, key=lambda w: w.bbox[0]))) for row in rows]


def _gutter(lines: Sequence[Line]) -> float | None:
    """Where the right half of a side-by-side statement begins, if the page is laid out so."""
    starts: list[float] = []
    for line in lines:
        seen_number = False
        for before, word in pairwise(line.words):
            big = parse_number(before.text)
            seen_number = seen_number or (
                big is not None and ("," in before.text or "." in before.text or abs(big) > 99)
            )
            if (
                seen_number
                and word.bbox[0] - before.bbox[2] > 6
                and re.match(r"[A-Z一-鿿]{1}\w*", plain(word.text))
                and (not NOTE_MARK.fullmatch(plain(word.text)))
            ):
                starts.append(word.bbox[0])
                break
    if len(starts) < 8:
        return None
    left = min(starts)
    near = [start for start in starts if start - left < 60]
    numbers_after = sum(
        1 for line in lines if any(w.bbox[0] > left + 60 and parse_number(w.text) is not None for w in line.words)
    )
    return left if len(near) >= 0.7 * len(starts) and numbers_after >= 8 else None


def _two_sided(line: Line, split: float, *, numbers: bool) -> bool:
    """Whether the line has words of both halves; with ``numbers``, an amount in the left one."""
    left = [word for word in line.words if word.bbox[2] < split - 2]
    begins = any(
        abs(word.bbox[0] - split) < 25 and word.bbox[0] - before.bbox[2] > 6
        for before, word in pairwise(line.words)
        if word.bbox[0] >= split - 1
    )
    amounts = [word for word in left if parse_number(word.text) is not None and re.search(r"[,.]\d", plain(word.text))]
    return begins and bool(amounts if numbers else left)
