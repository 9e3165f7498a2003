"""The three primary statements of a filing: found, rebuilt, chosen, and turned into facts."""

import re
from datetime import date
from decimal import Decimal

from evident_core.evidence import Fact
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.choose import Chosen, choose
from evident_finance.risk_report.perceive.dates import dates_in
from evident_finance.risk_report.perceive.drafts import drafts
from evident_finance.risk_report.perceive.facts import absent, facts
from evident_finance.risk_report.perceive.items import Item, catalogue
from evident_finance.risk_report.perceive.labels import says_loss_is_minus, squash
from evident_finance.risk_report.perceive.lines import GridRow
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.perceive.pages import candidates
from evident_finance.risk_report.perceive.supplement import with_supplement
from evident_finance.risk_report.perceive.units import currency_in
from evident_finance.risk_report.perceive.values import Value, Values, checked, orient, scale_shares
from evident_finance.risk_report.schema import Cell, Column, Row, Statement, StatementKind

NO_CURRENCY = "XXX"
_PRINTS_EXPENSE = re.compile(
    r"(?i)(?:expenses?|loss(?:es)?|costs?)\s*/?\s*\((?:income|gains?)\)"
    r"|\((?:income|gains?)\)\s*/?\s*(?:and )?(?:expenses?|loss)"
)


def read_statements(filing: Filing) -> tuple[tuple[Statement, ...], tuple[Fact, ...]]:
    """The consolidated primary statements, a fact for each item and period, and the checks made on them."""
    chosen = choose(drafts(candidates(filing.texts), filing.words, _year_end(filing)))
    if not chosen:
        return (), tuple(absent(item, None) for item in catalogue().values())
    currency = _currency(filing, chosen)
    scales = _scales(filing, chosen)
    values: Values = {}
    for kind, statement in chosen.items():
        _read(statement, scales[kind], values)
    orient(values)
    scale_shares(values)
    checks = checked(values)
    made = with_supplement(filing, facts(filing, values, checks, currency))
    statements = tuple(_statement(each, currency, scales[kind]) for kind, each in chosen.items())
    return statements, made


def _year_end(filing: Filing) -> date | None:
    for fact in filing.facts:
        if fact.name == "filing.fiscal_year_end" and isinstance(fact.value, str):
            return date.fromisoformat(fact.value[:10])
    for text in filing.texts[:6]:
        match = re.search(r"(?is)(?:fiscal\s+)?year\s+ended:?\s*(.{6,40})", text)
        found = dates_in(match[1]) if match else []
        if found:
            return found[0][1]
        match = re.search(r"((?:19|20)\d\d)年?年度报告", squash(text))
        if match:
            return date(int(match[1]), 12, 31)
    return None


def _currency(filing: Filing, chosen: dict[StatementKind, Chosen]) -> str:
    named = [each.draft.currency for each in chosen.values()]
    printed = [
        currency_in(
            " ".join(
                word.text
                for row in each.draft.rows
                for line in row.lines
                for word in line.words
                if re.search(r"[$€£¥]", word.text)
            )
        )
        for each in chosen.values()
    ]
    stated = [fact.value for fact in filing.facts if fact.name == "filing.currency" and isinstance(fact.value, str)]
    found = [code for code in (*named, *stated, *printed) if code]
    return found[0] if found else NO_CURRENCY


def _scales(filing: Filing, chosen: dict[StatementKind, Chosen]) -> dict[StatementKind, int]:
    """The scale of each statement: its own head's, else that of the statements beside it, else the filing's."""
    own = {kind: each.draft.scale for kind, each in chosen.items()}
    beside = [scale for scale in own.values() if scale]
    stated = [
        int(fact.value) for fact in filing.facts if fact.name == "filing.scale" and isinstance(fact.value, Decimal)
    ]
    return {kind: scale or next(iter((*beside, *stated)), 1) for kind, scale in own.items()}


def _read(chosen: Chosen, scale: int, values: Values) -> None:
    draft = chosen.draft
    outflows_negative = _outflows_negative(chosen)
    for name, match in chosen.rows.items():
        item, row = catalogue()[name], draft.rows[match.row]
        each = {"money": scale, "per_share": 1, "shares": draft.share_scale(scale)}[item.measure]
        sign = _sign(item, row, draft.kind, outflows_negative)
        for index, (period, cell) in enumerate(zip(draft.head.periods, row.cells, strict=True)):
            if cell is None or period is None:
                continue
            known = values.setdefault(period, {})
            if name in known and not draft.head.restated[index]:
                continue
            value = sign * (cell.value or Decimal(0)) * each
            certain = 0.95 if match.rank < 3 else 0.9
            made = Value(item, value, cell, row, each, certain, draft.rows, match.row, index)
            if cell.value is None:
                made.notes.append("printed as a dash, read as nil")
            if draft.head.restated[index]:
                made.notes.append("restated")
            known[name] = made


def _outflows_negative(chosen: Chosen) -> bool:
    """Whether the statement prints what it takes off as negative."""
    printed = [
        cell.value
        for name, match in chosen.rows.items()
        if catalogue()[name].outflow
        and name not in ("income_tax", "interest_paid", "income_taxes_paid", "interest_expense")
        for cell in chosen.draft.rows[match.row].cells
        if cell is not None and cell.value
    ]
    return sum(value < 0 for value in printed) > len(printed) / 2


def _sign(item: Item, row: GridRow, kind: StatementKind, outflows_negative: bool) -> int:
    if item.name == "other_income_net":
        return -1 if _PRINTS_EXPENSE.search(plain(row.label)) else 1
    if not item.outflow:
        return 1
    printed = [cell.value for cell in row.cells if cell is not None and cell.value]
    negative = sum(value < 0 for value in printed)
    if kind is StatementKind.INCOME_STATEMENT:
        if says_loss_is_minus(row.label):
            return -1
        if outflows_negative:
            return -1 if negative or item.name in ("finance_costs", "impairment_loss", "restructuring") else 1
        return (
            -1
            if printed
            and negative == len(printed)
            and item.name not in ("finance_costs", "income_tax", "credit_loss_provision")
            else 1
        )
    if kind is StatementKind.CASH_FLOW and item.name not in ("interest_paid", "income_taxes_paid"):
        return -1 if outflows_negative else 1
    return -1 if negative > len(printed) / 2 else 1


def _statement(chosen: Chosen, currency: str, scale: int) -> Statement:
    draft = chosen.draft
    names = {match.row: name for name, match in chosen.rows.items()}
    last = max((index for index, row in enumerate(draft.rows) if row.filled), default=-1)
    margin = min((row.indent for row in draft.rows), default=0.0)
    announced = draft.announced
    return Statement(
        kind=draft.kind,
        title=announced.title if announced else "",
        scope="consolidated" if announced and announced.consolidated else "",
        pages=draft.pages,
        currency=currency,
        scale=scale,
        columns=tuple(
            Column(period=period, label=label, restated=restated)
            for period, label, restated in zip(draft.head.periods, draft.head.labels, draft.head.restated, strict=True)
            if period is not None
        ),
        rows=tuple(
            Row(
                label=row.label,
                page=row.page,
                bbox=row.bbox,
                cells=tuple(
                    cell and Cell(text=cell.text, value=cell.value, page=row.page, bbox=cell.bbox) for cell in row.cells
                ),
                depth=max(0, round((row.indent - margin) / 8)),
                heading=not row.filled,
                item=names.get(index),
            )
            for index, row in enumerate(draft.rows[: last + 1])
        ),
    )
