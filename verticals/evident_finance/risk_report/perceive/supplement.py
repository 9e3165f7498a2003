"""Depreciation and amortization of mainland reports, whose cash-flow statement leaves them to a note.

The note (现金流量表补充资料) reconciles the year's profit with operating cash flow. Its columns are trusted only where
its own profit line repeats the profits of the income statement: then period, scale and order are known, not guessed.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from evident_core.evidence import Derived, Fact, PageBox, Source, Status
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.labels import squash
from evident_finance.risk_report.perceive.lines import Line, parts_of
from evident_finance.risk_report.perceive.numbers import parse_number, plain
from evident_finance.risk_report.schema import Word

ITEM = "depreciation_amortization"
RULE = "cash_flow_supplement"
_OPENS = re.compile(r"将净利润调节为经营活动现金流量")
_CLOSES = re.compile(r"^经营活动产生的现金流量净额")
_PROFIT = re.compile(r"^净利润")
_PART = re.compile(
    r"固定资产折旧|油气资产折耗|生物资产折旧|使用权资产(?:折旧|摊销)|投资性房地产(?:的)?(?:折旧|摊销)|无形资产摊销|长期待摊费用摊销"
)
_SCALE = re.compile(r"单位[:：]?(?:人民币)?(亿|百万|万|千)?元")
_SCALES = {"亿": 10**8, "百万": 10**6, "万": 10**4, "千": 10**3, None: 1}
_NEAR = 12.0
"""Points between the right edges of numbers in one column."""


def with_supplement(filing: Filing, facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """The facts, with depreciation and amortization derived from the note where the statements do not print it."""
    by_id = {fact.id: fact for fact in facts}
    if filing.language != "zh" or any(fact.name == ITEM and fact.value is not None for fact in facts):
        return facts
    first = next((n for n, text in enumerate(filing.texts, start=1) if _OPENS.search(squash(text))), None)
    if first is None:
        return facts
    lines = [
        line for n in (first, first + 1) if n <= filing.page_count for p in parts_of(filing.words(n)) for line in p
    ]
    for fact in _read(filing, lines, by_id):
        by_id[fact.id] = fact
    return tuple(by_id.values())


def _read(filing: Filing, lines: Sequence[Line], known: Mapping[str, Fact]) -> list[Fact]:
    start = next((i for i, line in enumerate(lines) if _OPENS.search(squash(line.text))), None)
    if start is None:
        return []
    heads = [match[1] for line in lines[:start] if (match := _SCALE.search(squash(line.text)))]
    scale = _SCALES[heads[-1]] if heads else 1
    body = lines[start + 1 :]
    end = next((i for i, line in enumerate(body) if _CLOSES.search(squash(line.text))), None)
    if end is None:
        return []
    body = body[:end]
    profit = next((line for line in body if _PROFIT.search(squash(line.text))), None)
    columns = _columns(profit, scale, known) if profit else []
    made: list[Fact] = []
    for period, edge, unit in columns:
        parts: list[Fact] = []
        for line in body:
            label = squash("".join(word.text for word in line.words if parse_number(word.text) is None))
            word = next((w for w in line.words if _is_amount(w) and abs(w.bbox[2] - edge) < _NEAR), None)
            if word is None or not _PART.search(label):
                continue
            value = parse_number(word.text)
            if value is not None:
                parts.append(_part(filing, line, word, label, value * scale, period, unit, scale, len(parts) + 1))
        if parts:
            made += [*parts, _sum(parts, period, unit, scale)]
    return made


def _columns(profit: Line, scale: int, known: Mapping[str, Fact]) -> list[tuple[str, float, str]]:
    """Period, right edge and currency of each column whose profit is the income statement's; none if two are not."""
    found = []
    for word in (word for word in profit.words if _is_amount(word)):
        value = (parse_number(word.text) or Decimal(0)) * scale
        same = [
            fact
            for fact in known.values()
            if fact.name in ("profit_loss", "net_income") and fact.period and fact.value == value and fact.unit
        ]
        if not same:
            return []
        found.append((str(same[0].period), word.bbox[2], str(same[0].unit)))
    return found if len({period for period, _, _ in found}) == len(found) else []


def _is_amount(word: Word) -> bool:
    return parse_number(word.text) is not None and ("," in plain(word.text) or "." in plain(word.text))


def _part(
    filing: Filing, line: Line, word: Word, label: str, value: Decimal, period: str, unit: str, scale: int, number: int
) -> Fact:
    where = PageBox(page=line.page, bbox=word.bbox, quote=line.text)
    return Fact(
        id=f"supplement.{ITEM}#{number}@{period}",
        name=f"supplement.{ITEM}",
        value=value,
        unit=unit,
        scale=scale,
        period=period,
        subject=label,
        confidence=0.95,
        sources=(Source(input=filing.input, where=where),),
    )


def _sum(parts: Sequence[Fact], period: str, unit: str, scale: int) -> Fact:
    formula = f"{ITEM} = {' + '.join(str(part.subject) for part in parts)}"
    where = Derived(rule=RULE, formula=formula, fact_ids=tuple(part.id for part in parts))
    return Fact(
        id=f"{ITEM}@{period}",
        name=ITEM,
        value=sum((part.number for part in parts), Decimal(0)),
        unit=unit,
        scale=scale,
        period=period,
        status=Status.DERIVED,
        confidence=0.95,
        sources=(Source(where=where),),
        note="from the supplement to the cash-flow statement",
    )
