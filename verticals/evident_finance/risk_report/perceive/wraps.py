"""Labels that take several lines, put together: by ruling lines where rows are ruled, else by how the words go on."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from evident_finance.risk_report.perceive.lines import GridRow, hull
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.schema import Rule

_OPEN_END = re.compile(
    r"(?:\bat \d{1,2}|(?:holders|owners|members)['’]s?|[,;；\-–—&/、(（]"
    r"|\b(?:and|or|of|the|to|in|for|with|by|on|from|at|net|attributable|including|than|per|a|an|as|under))$",
    re.IGNORECASE,
)


def joined(rows: Sequence[GridRow], rules: Sequence[Rule], left: float, names: Callable[[str], bool]) -> list[GridRow]:
    """Rows with wrapped labels put together. ``names`` tells whether a label is whole: the name of an item."""
    bands = _bands(rules, left)
    ruled = _is_ruled(rows, bands)
    right = _label_limit(rows)
    out: list[GridRow] = []
    for row in rows:
        last = out[-1] if out else None
        if last is not None and (_same_band(last, row, bands) if ruled else _continues(last, row, right, names)):
            out[-1] = one_row(last, row)
        else:
            out.append(row)
    return [row for row in out if row.label or row.filled]


def _bands(rules: Sequence[Rule], left: float) -> list[float]:
    """Heights of ruling lines that run under the label: the page's table has its rows ruled where there are many."""
    tops = sorted(rule.bbox[1] for rule in rules if rule.bbox[2] - rule.bbox[0] > 40 and rule.bbox[0] < left)
    bands: list[float] = []
    for top in tops:
        if not bands or top - bands[-1] > 3:
            bands.append(top)
    return bands


def _is_ruled(rows: Sequence[GridRow], bands: Sequence[float]) -> bool:
    """Whether a line is ruled between (nearly) every two rows that have numbers."""
    filled = [row for row in rows if row.filled]
    pairs = list(pairwise(filled))
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


def _continues(last: GridRow, row: GridRow, right: float, names: Callable[[str], bool]) -> bool:
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
    if after.startswith("(") and names(last.label) and not names(f"{last.label} {row.label}"):
        return False
    if re.match(r"[a-z(&,)]|号填列|列\)", after) and not re.match(r"\([一二三四五六七八九十\d]+\)|\([a-z]\) ", after):
        return last.bold == row.bold or not row.filled
    if _OPEN_END.search(text) and (last.bold == row.bold) and not re.search(r"(?i)\bnet$", text if last.filled else ""):
        return True
    chinese = re.search(r"[一-鿿]$", text) and re.match(r"[一-鿿、)]", after)
    return bool(
        chinese
        and not (any(map(names, (last.label, row.label))) and not names(last.label + row.label))
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
