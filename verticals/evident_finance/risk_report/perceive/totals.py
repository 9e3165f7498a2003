"""Totals that carry no name: found by what they add up, and named after the heading under which they do.

Many statements print a sub-total as a bare number under a line, or as "Total". It is the sum of an unbroken run of
lines above it, and the run tells of what.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from evident_finance.risk_report.perceive.labels import key
from evident_finance.risk_report.perceive.lines import GridRow

_BARE = {"", "total", "subtotal", "合计", "小计", "总计"}


@dataclass(frozen=True)
class _Block:
    """A line or a recognised total: its values by column, the first row it covers, and its name if it is a total."""

    values: tuple[Decimal | None, ...]
    start: int
    name: str = ""


def name_totals(rows: Sequence[GridRow]) -> dict[int, str]:
    """Keys for the rows that are totals without a name of their own, by row."""
    names: dict[int, str] = {}
    blocks: list[_Block] = []
    for index, row in enumerate(rows):
        if not row.filled:
            continue
        values = tuple(cell.value if cell else None for cell in row.cells)
        own = key(row.label)
        run = (
            _run(blocks, values)
            if own in _BARE or own.startswith("total") or own.endswith(("合计", "总计", "总额"))
            else None
        )
        if run is None:
            blocks.append(_Block(values, index))
            continue
        covered = blocks[-run:]
        name = own if own not in _BARE else _name(rows, covered)
        if own in _BARE and name:
            names[index] = name
        blocks[-run:] = [_Block(values, covered[0].start, name)]
    return _balancing(rows, names)


def _balancing(rows: Sequence[GridRow], names: dict[int, str]) -> dict[int, str]:
    """Of a balance sheet that calls both its sums "Total", the first is the assets, the second what finances them."""
    printed = {i: tuple(cell.value if cell else None for cell in row.cells) for i, row in enumerate(rows) if row.filled}
    most = max((abs(value) for values in printed.values() for value in values if value is not None), default=Decimal(0))
    top = [i for i, values in printed.items() if any(value is not None and abs(value) == most for value in values)]
    if len(top) != 2 or printed[top[0]] != printed[top[1]]:
        return names
    for index, name in zip(top, ("totalassets", "totalliabilitiesandequity"), strict=True):
        if key(rows[index].label) in _BARE:
            names[index] = name
    return names


def _run(blocks: Sequence[_Block], values: Sequence[Decimal | None]) -> int | None:
    """How many of the last blocks add up to the values, in every column that has one."""
    columns = [i for i, value in enumerate(values) if value is not None]
    if not columns:
        return None
    sums = [Decimal(0)] * len(values)
    for count, block in enumerate(reversed(blocks), start=1):
        for i in columns:
            sums[i] += block.values[i] or 0
        slack = count  # each line may be rounded by half of its last digit
        if count >= 2 and all(abs(sums[i] - (values[i] or 0)) * 2 <= slack * _digit(values[i]) for i in columns):
            return count
    return None


def _digit(value: Decimal | None) -> Decimal:
    exponent = value.as_tuple().exponent if value is not None else 0
    return Decimal(10) ** (exponent if isinstance(exponent, int) else 0)


def _name(rows: Sequence[GridRow], covered: Sequence[_Block]) -> str:
    names = " ".join(block.name for block in covered)
    if "totalliabilities" in names and ("equity" in names or "deficit" in names):
        return "totalliabilitiesandequity"
    if "负债" in names and "权益" in names:
        return "负债和权益总计"
    if "流动资产合计" in names:
        return "资产总计"
    if "流动负债合计" in names:
        return "负债合计"
    if "totalcurrentassets" in names:
        return "totalassets"
    if "totalcurrentliabilities" in names:
        return "totalliabilities"
    start = covered[0].start
    heading = rows[start - 1] if start else None
    if heading is None or heading.filled or not heading.label:
        return ""
    own = key(heading.label)
    return f"{own}合计" if re.search(r"[一-鿿]", own) else f"total{own}"
