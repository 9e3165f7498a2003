"""The three primary statements of a filing: found, rebuilt, chosen, and turned into facts."""

import re
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from evident_core.evidence import Derived, Fact, PageBox, Source, Status

from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.choose import Chosen, choose
from evident_finance.risk_report.perceive.drafts import drafts
from evident_finance.risk_report.perceive.grid import GridRow, Printed
from evident_finance.risk_report.perceive.heads import currency_in, dates_in
from evident_finance.risk_report.perceive.identities import Check, check, derive, identities
from evident_finance.risk_report.perceive.items import Item, catalogue
from evident_finance.risk_report.perceive.labels import says_loss_is_minus, squash
from evident_finance.risk_report.perceive.numbers import plain
from evident_finance.risk_report.perceive.pages import candidates
from evident_finance.risk_report.schema import Cell, Column, Row, Statement, StatementKind

NO_CURRENCY = "XXX"
_PRINTS_EXPENSE = re.compile(
    r"(?i)(?:expenses?|loss(?:es)?|costs?)\s*/?\s*\((?:income|gains?)\)|\((?:income|gains?)\)\s*/?\s*(?:and )?(?:expenses?|loss)"
)
_STANDS_FOR = {"profit_loss": "net_income", "total_equity": "equity_parent"}  # where only one of the two is printed


@dataclass
class _Value:
    """One item's value for one period, on its way to a fact."""

    item: Item
    value: Decimal
    cell: Printed
    row: GridRow
    scale: int
    certain: float
    rows: list[GridRow]
    index: int
    column: int
    notes: list[str] = field(default_factory=list)
    confirmed: bool = False
    contested: bool = False


_Values = dict[date, dict[str, _Value]]


def read_statements(filing: Filing) -> tuple[tuple[Statement, ...], tuple[Fact, ...]]:
    """The consolidated primary statements, and a fact for each item and period, with the checks that were made on them."""
    chosen = choose(drafts(candidates(filing.texts), filing.words, _year_end(filing)))
    if not chosen:
        return (), tuple(_absent(filing, item, None) for item in catalogue().values())
    currency = _currency(filing, chosen)
    scales = _scales(filing, chosen)
    values: _Values = {}
    for kind, statement in chosen.items():
        _read(statement, scales[kind], values)
    _orient(values)
    checks = _checked(values)
    facts = _facts(filing, values, checks, currency)
    statements = tuple(_statement(each, currency, scales[kind]) for kind, each in chosen.items())
    return statements, facts


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
    return found[0] if found else ("CNY" if filing.language == "zh" else NO_CURRENCY)


def _scales(filing: Filing, chosen: dict[StatementKind, Chosen]) -> dict[StatementKind, int]:
    """The scale of each statement: its own head's, else that of the statements beside it, else the filing's."""
    own = {kind: each.draft.scale for kind, each in chosen.items()}
    beside = [scale for scale in own.values() if scale]
    stated = [
        int(fact.value) for fact in filing.facts if fact.name == "filing.scale" and isinstance(fact.value, Decimal)
    ]
    return {kind: scale or next(iter((*beside, *stated)), 1) for kind, scale in own.items()}


def _read(chosen: Chosen, scale: int, values: _Values) -> None:
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
            made = _Value(item, value, cell, row, each, certain, draft.rows, match.row, index)
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


def _orient(values: _Values) -> None:
    """Turn tax and noncontrolling shares around where only so the statement adds up."""
    for name, identity_name in (("income_tax", "profit_after_tax"), ("net_income_noncontrolling", "profit_by_owner")):
        identity = next(each for each in identities() if each.name == identity_name)
        votes = 0
        for known in values.values():
            if name not in known or not known[name].value:
                continue
            numbers = _numbers(known)
            turned = {**numbers, name: -numbers[name]}
            unit = _unit(known)
            as_is, other = check(identity, numbers, unit), check(identity, turned, unit)
            if as_is is not None and other is not None:
                votes += (abs(as_is.residual) * 4 < abs(other.residual)) - (
                    abs(other.residual) * 4 < abs(as_is.residual)
                )
        if votes < 0:
            for known in values.values():
                if name in known:
                    known[name].value = -known[name].value


def _numbers(known: dict[str, _Value]) -> dict[str, Decimal]:
    numbers = {name: value.value for name, value in known.items()}
    for name in _STANDS_FOR:
        if name not in numbers and _standing(name, known) is not None:
            numbers[name] = numbers[_STANDS_FOR[name]]
    return numbers


def _standing(name: str, known: dict[str, _Value]) -> _Value | None:
    """The value printed for an item, or the one that stands for it where owners are not told apart."""
    if name in known or name not in _STANDS_FOR:
        return known.get(name)
    return (
        None
        if {"noncontrolling_interests", "net_income_noncontrolling"} & known.keys()
        else known.get(_STANDS_FOR[name])
    )


def _unit(known: dict[str, _Value]) -> Decimal:
    """The value of the last digit in which the period's money is printed."""
    units = [
        Decimal(each.scale) * Decimal(10) ** min(0, int(each.cell.value.as_tuple().exponent))
        for each in known.values()
        if each.cell.value is not None and each.item.measure == "money"
    ]
    return min(units, default=Decimal(1))


def _checked(values: _Values) -> list[tuple[date, Check]]:
    """Every identity on every period; each value learns which confirm it and which contest it."""
    checks: list[tuple[date, Check]] = []
    for period, known in values.items():
        for identity in identities():
            if len(identity.terms) == len(identity.optional) + 1 and not any(
                name in known for name in identity.optional
            ):
                if identity.terms[0][1] == identity.left:
                    continue
            tried = check(identity, _numbers(known), _unit(known))
            if tried is None or (identity.weak and not tried.holds):
                continue
            involved = [value for name in tried.used if (value := _standing(name, known)) is not None]
            if len({id(each.row) for each in involved}) < 2:
                continue
            together = None if tried.holds else _explained(tried, involved)
            good = tried.holds or together is not None
            checks.append(
                (period, replace(tried, together=together or "", used=tuple(each.item.name for each in involved)))
            )
            for each in involved:
                each.confirmed |= good
                each.contested |= not good
    return checks


def _explained(tried: Check, involved: list[_Value]) -> str | None:
    """The label of a printed line, read as no item of its own, that accounts for the residual (equity-method results)."""
    first = involved[0]
    if any(each.rows is not first.rows for each in involved):
        return None
    places = [each.index for each in involved]
    for index in range(min(places) + 1, max(places)):
        cell = first.rows[index].cells[first.column]
        if index in places or cell is None or not cell.value:
            continue
        if abs(abs(cell.value * first.scale) - abs(tried.residual)) <= tried.tolerance:
            return first.rows[index].label
    return None


def _facts(filing: Filing, values: _Values, checks: list[tuple[date, Check]], currency: str) -> tuple[Fact, ...]:
    facts: dict[str, Fact] = {}
    for period, known in values.items():
        for name, each in known.items():
            fact = _fact(filing, each, period, currency)
            facts[fact.id] = fact
    current = _current(values)
    for period in values:
        for fact in _derived(facts, period, currency):
            facts[fact.id] = fact
    for item in catalogue().values():
        if f"{item.name}@{current.isoformat()}" not in facts:
            fact = _absent(filing, item, current)
            facts[fact.id] = fact
    for period, tried in checks:
        fact = _check_fact(period, tried, currency)
        facts[fact.id] = fact
    return tuple(facts.values())


def _current(values: _Values) -> date:
    return max(
        period for period, known in values.items() if len(known) >= 0.3 * max(len(each) for each in values.values())
    )


def _fact(filing: Filing, each: _Value, period: date, currency: str) -> Fact:
    confidence = each.certain
    notes = list(each.notes)
    if each.confirmed:
        confidence = 0.9 if each.contested else 0.985
    elif each.contested:
        confidence = 0.6
        notes.append("contested: an accounting identity leaves a residual")
    quote = " ".join(line.text for line in each.row.lines)
    return Fact(
        id=f"{each.item.name}@{period.isoformat()}",
        name=each.item.name,
        value=each.value,
        unit="1" if each.item.measure == "shares" else currency,
        scale=each.scale,
        period=period.isoformat(),
        confidence=confidence,
        sources=(Source(input=filing.input, where=PageBox(page=each.row.page, bbox=each.cell.bbox, quote=quote)),),
        note="; ".join(notes),
    )


def _derived(facts: dict[str, Fact], period: date, currency: str) -> list[Fact]:
    """What the identities yield for items that are not printed."""
    here = {f.name: f for f in facts.values() if f.period == period.isoformat() and isinstance(f.value, Decimal)}
    out: list[Fact] = []
    for identity in identities():
        for item in identity.derives:
            if item in here or (item == "equity_parent" and "total_equity" not in here):
                continue
            made = derive(identity, item, {name: fact.number for name, fact in here.items()})
            if made is None or not _worth(item, made[2]):
                continue
            value, formula, used = made
            fact = Fact(
                id=f"{item}@{period.isoformat()}",
                name=item,
                value=value,
                unit=currency,
                period=period.isoformat(),
                status=Status.DERIVED,
                confidence=min(here[name].confidence for name in used),
                sources=(
                    Source(
                        where=Derived(rule=identity.name, formula=formula, fact_ids=tuple(here[n].id for n in used))
                    ),
                ),
            )
            out.append(fact)
            here[item] = fact
    return out


def _worth(item: str, used: tuple[str, ...]) -> bool:
    return item != "profit_loss" or "net_income_noncontrolling" in used


def _absent(filing: Filing, item: Item, current: date | None) -> Fact:
    period = current.isoformat() if current else None
    return Fact(
        id=f"{item.name}@{period}" if period else item.name,
        name=item.name,
        value=None,
        period=period,
        status=Status.NOT_PRESENTED,
        confidence=0.9,
    )


def _check_fact(period: date, tried: Check, currency: str) -> Fact:
    name = f"check.{tried.identity.name}"
    note = "holds" if tried.holds else "leaves a residual"
    if tried.together:
        note = f"holds together with the printed line {tried.together!r}"
    ids = tuple(f"{used}@{period.isoformat()}" for used in tried.used)
    return Fact(
        id=f"{name}@{period.isoformat()}",
        name=name,
        value=tried.residual,
        unit=currency,
        period=period.isoformat(),
        status=Status.DERIVED,
        confidence=1.0,
        sources=(Source(where=Derived(rule=tried.identity.name, formula=tried.identity.formula, fact_ids=ids)),),
        note=note,
    )


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
