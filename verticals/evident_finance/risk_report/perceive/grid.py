"""Words to a grid: lines, columns found by where numbers end, rows with labels put together again.

A statement has no ruled cells in most reports; what holds it together is that the numbers of one column end at the same
place. So columns are clusters of the right edges of numbers that close a line, and everything left of them is label.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property

from evident_core.evidence import BBox

from evident_finance.risk_report.perceive.numbers import CURRENCY, is_dash, parse_number, plain
from evident_finance.risk_report.schema import PageWords, Rule, Word

_YEAR = re.compile(r"(?:19|20)\d\d")
_NOTE_MARK = re.compile(
    r"[一二三四五六七八九十]{1,3}[、.,(（]+\s*[(（]?[\d一二三四五六七八九十]+.*|[(（]?[一二三四五六七八九十]{1,3}[)）]\d*"
)
_NOTE_NUMBER = re.compile(
    r"[A-Z]?\d{1,2}(?:[.,]\d{1,2})?(?:\([a-z]{1,3}\)|[a-z])?(?:[,&/、-]\d{1,2}(?:\([a-z]\))?)*,?", re.IGNORECASE
)
_NOTE_HEAD = re.compile(r"notes?|note\(s\)|附注.*|附註.*|注释.*|註釋|行次", re.IGNORECASE)
_HEAD_WORDS = re.compile(
    r"(?i)(?<!\d)(?:19|20)\d\d(?!\d)|million|thousand|in [$€£]|dollars|ended|单位|單位|币种|年度|[千万萬亿億百]\s*(?:[港美日欧歐]?元)|'000|consolidated"
    r"|项目|項目|附注|附註|notes?\b|综合|綜合|合并|合併|[二一][〇零○]|^\W*$|^\d+$|\bpage\b"
)
_OPEN_END = re.compile(
    r"(?:\bat \d{1,2}|\b(?:and|or|of|the|to|in|for|with|by|on|from|at|net|attributable|including|than|per|a|an|as|under)|(?:holders|owners|members)['’]s?|[,;；\-–—&/、(（])$",
    re.IGNORECASE,
)


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


@dataclass(frozen=True)
class Grid:
    """The rows of one table on one page, and the (x0, x1) of its columns; ``head`` are the lines above the first row."""

    page: int
    columns: tuple[tuple[float, float], ...]
    rows: tuple[GridRow, ...]
    head: tuple[Line, ...]


def hull(boxes: Iterable[BBox]) -> BBox:
    """The smallest box around the boxes."""
    x0s, tops, x1s, bottoms = zip(*boxes, strict=True)
    return (min(x0s), min(tops), max(x1s), max(bottoms))


def parts_of(page: PageWords) -> list[list[Line]]:
    """The page's words as lines from top to bottom; of a side-by-side statement the left half first, then the right half."""
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


def _numeric(text: str) -> bool:
    return parse_number(text) is not None or is_dash(text)


def _gutter(lines: Sequence[Line]) -> float | None:
    """Where the right half of a side-by-side statement begins, if the page is laid out so."""
    starts: list[float] = []
    for line in lines:
        seen_number = False
        for before, word in zip(line.words, line.words[1:], strict=False):
            big = parse_number(before.text)
            seen_number = seen_number or (
                big is not None and ("," in before.text or "." in before.text or abs(big) > 99)
            )
            if (
                seen_number
                and word.bbox[0] - before.bbox[2] > 6
                and re.match(r"[A-Z一-鿿]{1}\w*", plain(word.text))
                and (not _NOTE_MARK.fullmatch(plain(word.text)))
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
    begins = any(abs(word.bbox[0] - split) < 25 for word in line.words if word.bbox[0] >= split - 1)
    amounts = [word for word in left if parse_number(word.text) is not None and re.search(r"[,.]\d", plain(word.text))]
    return begins and bool(amounts if numbers else left)


def grid_of(lines: Sequence[Line], rules: Sequence[Rule] = ()) -> Grid | None:
    """The table that the lines of one page print, or None where no column of numbers stands."""
    if not lines:
        return None
    note = _note_zone(lines)
    tails = [_tail(line, note) for line in lines]
    columns = _columns(tails)
    if not columns:
        return None
    rows: list[GridRow] = []
    for line, tail in zip(lines, tails, strict=True):
        rows.append(_row(line, tail, columns, note))
    first = next((i for i, row in enumerate(rows) if row.filled and not _is_head(row)), None)
    if first is None:
        return None
    while first > 0 and _belongs_to_row(rows[first - 1], rows[first]):
        first -= 1
    head = tuple(lines[:first])
    body = _joined(rows[first:], _bands(rules, columns))
    return Grid(lines[0].page, tuple(columns), tuple(body), head)


def _note_zone(lines: Sequence[Line]) -> tuple[float, float] | None:
    for line in lines[:16]:
        for word in line.words:
            if _NOTE_HEAD.fullmatch(plain(word.text).strip()) and len(line.words) <= 14:
                return (word.bbox[0] - 8, word.bbox[2] + 8)
    return None


def _in_note(word_box: BBox, note: tuple[float, float] | None) -> bool:
    return note is not None and note[0] <= (word_box[0] + word_box[2]) / 2 <= note[1]


def _tail(line: Line, note: tuple[float, float] | None) -> list[Printed]:
    """The numbers and dashes that close a line, left to right; currency signs and loose parentheses go with their number."""
    found: list[Printed] = []
    size = max(word.size for word in line.words)
    words = [
        word
        for word in line.words
        if not (0 < word.size < 0.8 * size and re.fullmatch(r"\(?[0-9a-z*]{1,3}\)?", plain(word.text)))
    ]
    i = len(words) - 1
    while i >= 0:
        word = words[i]
        text = plain(word.text)
        if _in_note(word.bbox, note) and not re.search(r"\d{3}", text):
            break
        if (
            text in {")", ")%", "%", "-"}
            and i
            and parse_number(words[i - 1].text + text.replace("%", "")) is not None
            and (word.bbox[0] - words[i - 1].bbox[2] < 6)
        ):
            merged = Word(text=words[i - 1].text + word.text, bbox=hull((words[i - 1].bbox, word.bbox)), size=word.size)
            words[i - 1 : i + 1] = [merged]
            i -= 1
            continue
        value = parse_number(text)
        if value is not None or is_dash(text):
            found.append(Printed(word.text, value, word.bbox))
        elif CURRENCY.fullmatch(text.strip("( ")) or text in {"(", "-"}:
            if "(" in text and found and found[-1].value is not None and ")" in found[-1].text and found[-1].value > 0:
                last = found[-1]
                found[-1] = replace(
                    last, text=f"({last.text}", value=-abs(last.value or 0), bbox=hull((word.bbox, last.bbox))
                )
            elif text == "-" and found and found[-1].value is not None and found[-1].bbox[0] - word.bbox[2] < 6:
                last = found[-1]
                found[-1] = replace(
                    last, text=f"-{last.text}", value=-abs(last.value or 0), bbox=hull((word.bbox, last.bbox))
                )
        elif re.fullmatch(r"\d[\d,.]*%|\([\d,.]+%\)|[\d.]+%?pts?", text) or re.fullmatch(r"\(?[a-z*†‡]\)?", text):
            pass
        else:
            break
        i -= 1
    return _rejoined(found[::-1])


def _rejoined(tail: list[Printed]) -> list[Printed]:
    """Numbers whose thousands are set apart by thin spaces (12 345 678) are one number."""
    out: list[Printed] = []
    for cell in tail:
        if out and cell.value is not None and re.fullmatch(r"\d{3}\)?", cell.text) and out[-1].value is not None:
            last = out[-1]
            gap = cell.bbox[0] - last.bbox[2]
            if 0 <= gap < 0.45 * (cell.bbox[3] - cell.bbox[1]) and re.fullmatch(r"\(?-?\d{1,3}(?: \d{3})*", last.text):
                text = f"{last.text} {cell.text}"
                out[-1] = Printed(text, parse_number(text.replace(" ", "")), hull((last.bbox, cell.bbox)))
                continue
        out.append(cell)
    return out


def _columns(tails: Sequence[Sequence[Printed]]) -> list[tuple[float, float]]:
    """Clusters of right edges of real numbers; note numbers and years in the head do not make one."""
    strong = sorted(
        (
            cell
            for tail in tails
            for cell in tail
            if cell.value is not None and not _YEAR.fullmatch(cell.text.strip(" ,")) and _weighty(cell.text)
        ),
        key=lambda cell: _edge(cell),
    )
    clusters: list[list[Printed]] = []
    for cell in strong:
        if clusters and _edge(cell) - _edge(clusters[-1][-1]) < 5:
            clusters[-1].append(cell)
        else:
            clusters.append([cell])
    clusters = _merged(clusters)
    if not clusters:
        return []
    most = max(len(cluster) for cluster in clusters)
    kept = [cluster for cluster in clusters if len(cluster) >= max(2, 0.2 * most)] if most > 2 else clusters
    return [(min(c.bbox[0] for c in cluster), max(c.bbox[2] for c in cluster)) for cluster in kept]


def _weighty(text: str) -> bool:
    return bool(re.search(r"[,.]\d|\d{3}|\(\d{2}", plain(text)))


def _edge(cell: Printed) -> float:
    """Where the last digit ends: a closing parenthesis often hangs outside of the column."""
    width = (cell.bbox[2] - cell.bbox[0]) / max(len(cell.text), 1)
    return cell.bbox[2] - (0.7 * width if plain(cell.text).endswith(")") else 0)


def _merged(clusters: list[list[Printed]]) -> list[list[Printed]]:
    """Clusters whose numbers lie over one another are one column, set centred or to the left."""
    out: list[list[Printed]] = []
    for cluster in clusters:
        if out:
            left, right = min(c.bbox[0] for c in cluster), max(c.bbox[2] for c in cluster)
            before_left, before_right = min(c.bbox[0] for c in out[-1]), max(c.bbox[2] for c in out[-1])
            overlap = min(right, before_right) - max(left, before_left)
            if overlap > 0.35 * min(right - left, before_right - before_left):
                out[-1] = out[-1] + cluster
                continue
        out.append(cluster)
    return out


def _row(
    line: Line, tail: Sequence[Printed], columns: Sequence[tuple[float, float]], note: tuple[float, float] | None
) -> GridRow:
    cells: list[Printed | None] = [None] * len(columns)
    taken: list[BBox] = []
    for cell in tail:
        index = _column_of(cell, columns)
        if index is None or _better(cells[index], cell, columns[index]):
            continue
        if _glued_to_label(line, cell, columns[index]):
            continue
        cells[index] = cell
        taken.append(cell.bbox)
    limit = min((box[0] for box in taken), default=float("inf"))
    size = max((word.size for word in line.words), default=0.0)
    label_words: list[Word] = []
    for word in line.words:
        text = plain(word.text)
        if word.bbox[0] >= limit - 0.5 or (
            taken and CURRENCY.fullmatch(text) and word.bbox[2] > columns[0][0] - 60 and _after_gap(line, word)
        ):
            continue
        if _in_note(word.bbox, note) and label_words and (_NOTE_NUMBER.fullmatch(text) or _NOTE_MARK.fullmatch(text)):
            continue
        if label_words and _NOTE_MARK.fullmatch(text) and word.bbox[0] - label_words[-1].bbox[2] > 3:
            continue
        if label_words and 0 < word.size < 0.8 * size and re.fullmatch(r"\(?[0-9a-z*]{1,3}\)?", text):
            continue
        label_words.append(word)
    label = " ".join(word.text for word in label_words)
    label = re.sub(r"(?:[.·…]\s*){4,}", " ", label)
    label = re.sub(r"(?:\s*[$€£¥]|\s*\()+$", "", label).strip()
    return GridRow(
        page=line.page,
        label=label,
        bbox=line.bbox,
        cells=cells,
        indent=line.words[0].bbox[0],
        bold=bool(label_words) and all(word.bold for word in label_words),
        label_right=max((word.bbox[2] for word in label_words), default=0.0),
        lines=[line],
    )


def _better(cell: Printed | None, other: Printed, column: tuple[float, float]) -> bool:
    """Whether the cell that a column has already is more likely its number than the other."""
    if cell is None:
        return False
    if _weighty(cell.text) is not _weighty(other.text):
        return _weighty(cell.text)
    return _distance(cell, column) <= _distance(other, column)


def _after_gap(line: Line, word: Word) -> bool:
    index = line.words.index(word)
    return index == 0 or word.bbox[0] - line.words[index - 1].bbox[2] > 4


def _distance(cell: Printed, column: tuple[float, float]) -> float:
    return abs(cell.bbox[2] - column[1])


def _column_of(cell: Printed, columns: Sequence[tuple[float, float]]) -> int | None:
    best, most = None, 0.0
    for index, (x0, x1) in enumerate(columns):
        overlap = min(cell.bbox[2], x1 + 4) - max(cell.bbox[0], x0 - 2)
        if overlap > most:
            best, most = index, overlap
    return best


def _glued_to_label(line: Line, cell: Printed, column: tuple[float, float]) -> bool:
    """Whether a number ends a phrase ("477 and 484", "Note (1)") rather than stands in the column over which it lies."""
    before = [word for word in line.words if word.bbox[2] <= cell.bbox[0] + 0.5]
    if not before or CURRENCY.fullmatch(plain(before[-1].text)) or _numeric(before[-1].text):
        return False
    height = cell.bbox[3] - cell.bbox[1]
    aligned = abs(cell.bbox[2] - column[1]) < 7
    return cell.bbox[0] - before[-1].bbox[2] < 0.55 * height and not (aligned and _weighty(cell.text))


def _is_head(row: GridRow) -> bool:
    """Whether a row's numbers are years of a head, or the row is one of dates and units."""
    values = [cell for cell in row.cells if cell is not None]
    if all(_YEAR.fullmatch(cell.text.strip("() ,")) for cell in values):
        return True
    return bool(re.search(r"(?i)(?:months?|weeks?|years?|period)s? ended|^(?:at|as at|as of) ", row.label))


def _belongs_to_row(before: GridRow, row: GridRow) -> bool:
    """Whether a line without numbers above the first row is a heading or the start of a label, not of the head."""
    if before.filled or not before.label or before.page != row.page:
        return False
    if _HEAD_WORDS.search(plain(before.label)):
        return False
    gap = row.bbox[1] - before.bbox[3]
    return gap < 2.5 * (before.bbox[3] - before.bbox[1]) and before.bbox[0] < row.cells_left


def _bands(rules: Sequence[Rule], columns: Sequence[tuple[float, float]]) -> list[float]:
    """Heights of ruling lines that run under the label: the page's table has its rows ruled where there are many."""
    left = columns[0][0] - 20
    tops = sorted(rule.bbox[1] for rule in rules if rule.bbox[2] - rule.bbox[0] > 40 and rule.bbox[0] < left)
    bands: list[float] = []
    for top in tops:
        if not bands or top - bands[-1] > 3:
            bands.append(top)
    return bands


def _joined(rows: list[GridRow], bands: list[float]) -> list[GridRow]:
    """Rows with wrapped labels put together."""
    ruled = _is_ruled(rows, bands)
    right = _label_limit(rows)
    out: list[GridRow] = []
    for row in rows:
        last = out[-1] if out else None
        if last is not None and (_same_band(last, row, bands) if ruled else _continues(last, row, right)):
            out[-1] = one_row(last, row)
        else:
            out.append(row)
    return [row for row in out if row.label or row.filled]


def _is_ruled(rows: Sequence[GridRow], bands: Sequence[float]) -> bool:
    """Whether a line is ruled between (nearly) every two rows that have numbers."""
    filled = [row for row in rows if row.filled]
    pairs = list(zip(filled, filled[1:], strict=False))
    parted = sum(any(a.bbox[3] - 4 < band < b.bbox[1] + 4 for band in bands) for a, b in pairs)
    return len(pairs) >= 4 and parted >= 0.85 * len(pairs)


def _label_limit(rows: Sequence[GridRow]) -> float:
    """Where labels are wrapped: the right edge that more than one of them reaches."""
    edges = sorted((row.label_right for row in rows), reverse=True)
    return edges[0] if len(edges) > 1 and edges[0] - edges[1] < 12 else float("inf")


def _same_band(last: GridRow, row: GridRow, bands: Sequence[float]) -> bool:
    if (
        (last.filled and row.filled)
        or re.search(r"[:：]$", last.label)
        or row.bbox[1] - last.lines[-1].bbox[3] > 0.6 * row.lines[0].height
    ):
        return False
    middle_last = (last.lines[-1].bbox[1] + last.lines[-1].bbox[3]) / 2
    middle = (row.bbox[1] + row.bbox[3]) / 2
    if middle - middle_last > 30:
        return False
    return not any(middle_last < band < middle for band in bands)


def _continues(last: GridRow, row: GridRow, right: float) -> bool:
    """Whether ``row`` goes on with the label of ``last``."""
    if last.filled and row.filled:
        return False
    height = row.lines[0].height
    last_line = last.lines[-1]
    gap = row.bbox[1] - last_line.bbox[3]
    if gap > 1.1 * height:
        return False
    if (
        not row.label
    ):  # numbers alone: they belong to a label line that they overlap, or that had none and is no heading
        return gap < -0.25 * height or (
            not last.filled and not last.label.rstrip().endswith((":", "：")) and gap < 0.5 * height
        )
    if not last.label:
        return gap < -0.25 * height
    text, after = plain(last.label), plain(row.label)
    if text.endswith((":", "：")):
        return False
    if text.count("(") > text.count(")"):
        return True
    if re.match(r"[a-z(&,)]|号填列|列\)", after) and not re.match(r"\([一二三四五六七八九十\d]+\)|\([a-z]\) ", after):
        return last.bold == row.bold or not row.filled
    if _OPEN_END.search(text) and (last.bold == row.bold) and not re.search(r"(?i)\bnet$", text if last.filled else ""):
        return True
    chinese = re.search(r"[一-鿿]$", text) and re.match(r"[一-鿿、)]", after)
    return bool(
        chinese
        and last.label_right > right - 1.3 * height
        and not re.match(r"[一二三四五六七八九十]+、|\(?[一二三四五六七八九十\d]+[)、.]|其中|加:|减:|減:", after)
        and gap < 0.6 * height
    )


def one_row(last: GridRow, row: GridRow) -> GridRow:
    """Two lines of one row: their labels joined, and the numbers of whichever has them."""
    glue = (
        "" if re.search(r"[一-鿿“”、）)(（－-]$", last.label) and re.match(r"[一-鿿“”、）)(（－号]", row.label) else " "
    )
    return GridRow(
        page=last.page,
        label=(last.label + glue + row.label).strip(),
        bbox=hull((last.bbox, row.bbox)),
        cells=[b if b is not None else a for a, b in zip(last.cells, row.cells, strict=True)],
        indent=last.indent,
        bold=last.bold,
        label_right=row.label_right or last.label_right,
        lines=last.lines + row.lines,
    )
