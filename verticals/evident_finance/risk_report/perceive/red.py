"""红字: Chinese statements may print a negative number in red, without a sign."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from evident_finance.risk_report.perceive.lines import GridRow, Printed

_MOST = 0.6
_CHINESE = re.compile("[一-鿿]")


def signed_by_colour(rows: Sequence[GridRow], positive: Collection[int]) -> list[GridRow]:
    """The rows of a Chinese statement with the numbers that only their red marks as negative.

    Red is a sign where nothing else is: in a statement without minus or parenthesis, most of it black,
    and none in a row that cannot be negative (``positive``, such as total assets). Elsewhere it is decoration.
    """
    printed = [(i, cell) for i, row in enumerate(rows) for cell in row.cells if cell is not None and cell.value]
    red = [i for i, cell in printed if cell.red]
    signed = any(cell.value is not None and cell.value < 0 for _, cell in printed)
    chinese = any(_CHINESE.search(row.label) for row in rows)
    means = chinese and not signed and len(red) <= _MOST * len(printed) and not set(red) & set(positive)
    return [replace(row, cells=[cell and _read(cell, means) for cell in row.cells]) for row in rows]


def _read(cell: Printed, means: bool) -> Printed:
    if cell.red and means and cell.value:
        return replace(cell, value=-cell.value)
    return replace(cell, red=False) if cell.red else cell
