"""Facts of the statements: what is printed, what the identities derive from it, what is not there, and the checks."""

from datetime import date
from decimal import Decimal

from evident_core.evidence import Derived, Fact, PageBox, Source, Status
from evident_finance.risk_report.ingest import Filing
from evident_finance.risk_report.perceive.identities import Check, derive, identities
from evident_finance.risk_report.perceive.items import Item, catalogue
from evident_finance.risk_report.perceive.values import Value, Values


def facts(filing: Filing, values: Values, checks: list[tuple[date, Check]], currency: str) -> tuple[Fact, ...]:
    """A fact for each item and printed year, for what follows by identities, for each check, and for what is absent."""
    facts: dict[str, Fact] = {}
    for period, known in values.items():
        for each in known.values():
            fact = _fact(filing, each, period, currency)
            facts[fact.id] = fact
    current = _current(values)
    for period in values:
        for fact in _derived(facts, period, currency):
            facts[fact.id] = fact
    for item in catalogue().values():
        if f"{item.name}@{current.isoformat()}" not in facts:
            fact = absent(item, current)
            facts[fact.id] = fact
    for period, tried in checks:
        fact = _check_fact(period, tried, currency)
        facts[fact.id] = fact
    return tuple(facts.values())


def _current(values: Values) -> date:
    return max(
        period for period, known in values.items() if len(known) >= 0.3 * max(len(each) for each in values.values())
    )


def _fact(filing: Filing, each: Value, period: date, currency: str) -> Fact:
    confidence = each.certain
    notes = list(each.notes)
    if each.cell.red:
        notes.append("printed in red, read as negative")
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


def absent(item: Item, current: date | None) -> Fact:
    """The fact that the statements do not print the item."""
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
