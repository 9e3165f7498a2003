"""Words to a grid: lines, columns found by where numbers end, rows with labels put together again.

A statement has no ruled cells in most reports; what holds it together is that the numbers of one column end at the same
place. So columns are clusters of the right edges of numbers that close a line, and everything left of them is label.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from evident_core.evidence import BBox
from evident_finance.risk_report.perceive.lines import NOTE_MARK, GridRow, Line, Printed, hull
from evident_finance.risk_report.perceive.numbers import CURRENCY, is_dash, parse_number, plain
from evident_finance.risk_report.perceive.wraps import joined
from evident_finance.risk_report.schema import Rule, Word

_YEAR = re.compile(r"(?:19|20)\d\d")
_NOTE_NUMBER = re.compile(
    r"[A-Z]?\d{1,2}(?:[.,]\d{1,2})?(?:\([a-z]{1,3}\)|[a-z])?(?:[,&/、-]\d{1,2}(?:\([a-z]\))?)*,?", re.IGNORECASE
)
_NOTE_HEAD = re.compile(r"notes?|note\(s\)|附注.*|附註.*|注释.*|註釋|行次", re.IGNORECASE)
_HEAD_WORDS = re.compile(
    r"(?i)(?<!\d)(?:19|20)\d\d(?!\d)|million|thousand|in [$€£]|dollars|ended|'000|consolidated"
    r"|(?:january|february|march|april|may|june|july|august|september|october|november|december) \d{1,2},?$"
    r"|单位|單位|币种|年度|[千万萬亿億百]\s*[港美日欧歐]?元|项目|項目|附注|附註|notes?\b|综合|綜合|合并|合併|[二一][〇零○]|^\W*$|^\d+$|\bpage\b"
)


@dataclass(frozen=True)
class Grid:
    """The rows of one table on one page, the (x0, x1) of its columns, and the lines of its head."""

    page: int
    columns: tuple[tuple[float, float], ...]
    rows: tuple[GridRow, ...]
    head: tuple[Line, ...]


def grid_of(
    lines: Sequence[Line], rules: Sequence[Rule] = (), names: Callable[[str], bool] = lambda _: False
) -> Grid | None:
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
    body = joined(rows[first:], rules, columns[0][0] - 20, names)
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
    """The numbers and dashes that close a line, left to right; signs and loose parentheses go with their number."""
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
            found.append(Printed(word.text, value, word.bbox, word.red))
        elif CURRENCY.fullmatch(text.strip("( ")) or text in {"(", "-"}:
            if "(" in text and found and found[-1].value is not None and ")" in found[-1].text and found[-1].value > 0:
                last = found[-1]
                found[-1] = replace(last, text=f"({last.text}", value=_credit(last), bbox=hull((word.bbox, last.bbox)))
            elif text == "-" and found and found[-1].value is not None and found[-1].bbox[0] - word.bbox[2] < 6:
                last = found[-1]
                found[-1] = replace(last, text=f"-{last.text}", value=_credit(last), bbox=hull((word.bbox, last.bbox)))
        elif re.fullmatch(r"\d[\d,.]*%|\([\d,.]+%\)|[\d.]+%?pts?", text) or re.fullmatch(r"\(?[a-z*†‡]\)?", text):
            pass
        else:
            break
        i -= 1
    return _rejoined(found[::-1])


def _credit(cell: Printed) -> Decimal | None:
    return None if cell.value is None else -abs(cell.value)


def _rejoined(tail: list[Printed]) -> list[Printed]:
    """Numbers whose thousands are set apart by thin spaces (12 345 678) are one number."""
    out: list[Printed] = []
    for cell in tail:
        if out and cell.value is not None and re.fullmatch(r"\d{3}\)?", cell.text) and out[-1].value is not None:
            last = out[-1]
            gap = cell.bbox[0] - last.bbox[2]
            if 0 <= gap < 0.45 * (cell.bbox[3] - cell.bbox[1]) and re.fullmatch(r"\(?-?\d{1,3}(?: \d{3})*", last.text):
                text = f"{last.text} {cell.text}"
                out[-1] = Printed(
                    text, parse_number(text.replace(" ", "")), hull((last.bbox, cell.bbox)), last.red and cell.red
                )
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
        if _in_note(word.bbox, note) and label_words and (_NOTE_NUMBER.fullmatch(text) or NOTE_MARK.fullmatch(text)):
            continue
        if label_words and NOTE_MARK.fullmatch(text) and word.bbox[0] - label_words[-1].bbox[2] > 3:
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
    """Whether a number ends a phrase ("477 and 484", "Note (1)") rather than stands in a column."""
    before = [word for word in line.words if word.bbox[2] <= cell.bbox[0] + 0.5]
    if not before or CURRENCY.fullmatch(plain(before[-1].text)) or _numeric(before[-1].text):
        return False
    height = cell.bbox[3] - cell.bbox[1]
    aligned = abs(cell.bbox[2] - column[1]) < 7
    return cell.bbox[0] - before[-1].bbox[2] < 0.55 * height and not (aligned and _weighty(cell.text))


def _numeric(text: str) -> bool:
    return parse_number(text) is not None or is_dash(text)


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
