"""Values on their way to facts: turned the way in which the statement adds up, and weighed by the identities."""

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from evident_finance.risk_report.perceive.identities import Check, check, identities
from evident_finance.risk_report.perceive.items import Item
from evident_finance.risk_report.perceive.lines import GridRow, Printed

_STANDS_FOR = {"profit_loss": "net_income", "total_equity": "equity_parent"}  # where only one of the two is printed
_SHARE_SCALES = (1, 1_000, 10_000, 1_000_000, 100_000_000)
_NEARLY = Decimal("0.3")


@dataclass
class Value:
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


Values = dict[date, dict[str, Value]]


def scale_shares(values: Values) -> None:
    """Take the scale of share counts from the earnings per share beside them, where the head's is off by thousands.

    Heads that say "in millions" often leave out that shares are in thousands or in full; the quotient of profit and
    earnings per share tells the three apart beyond doubt.
    """
    for count, per_share in (("shares_basic", "eps_basic"), ("shares_diluted", "eps_diluted")):
        fitting = {scale for known in values.values() if (scale := _fitting_scale(known, count, per_share))}
        if len(fitting) != 1:
            continue
        (scale,) = fitting
        for known in values.values():
            if (each := known.get(count)) is not None and each.scale != scale:
                each.value = each.value / each.scale * scale
                each.scale = scale
                each.notes.append("scale told by earnings per share")


def _fitting_scale(known: dict[str, Value], count: str, per_share: str) -> int | None:
    """The one scale of share counts with which profit over shares is about the earnings per share that are printed."""
    shares, earned, profit = known.get(count), known.get(per_share), known.get("net_income") or known.get("profit_loss")
    if shares is None or earned is None or profit is None or not shares.value or not earned.value or not profit.value:
        return None
    printed = shares.value / shares.scale
    fitting = [scale for scale in _SHARE_SCALES if abs(profit.value / (printed * scale) / earned.value - 1) < _NEARLY]
    return fitting[0] if len(fitting) == 1 else None


def orient(values: Values) -> None:
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


def _numbers(known: dict[str, Value]) -> dict[str, Decimal]:
    numbers = {name: value.value for name, value in known.items()}
    for name in _STANDS_FOR:
        if name not in numbers and _standing(name, known) is not None:
            numbers[name] = numbers[_STANDS_FOR[name]]
    return numbers


def _standing(name: str, known: dict[str, Value]) -> Value | None:
    """The value printed for an item, or the one that stands for it where owners are not told apart."""
    if name in known or name not in _STANDS_FOR:
        return known.get(name)
    return (
        None
        if {"noncontrolling_interests", "net_income_noncontrolling"} & known.keys()
        else known.get(_STANDS_FOR[name])
    )


def _unit(known: dict[str, Value]) -> Decimal:
    """The value of the last digit in which the period's money is printed."""
    units = [
        Decimal(each.scale) * Decimal(10) ** min(0, int(each.cell.value.as_tuple().exponent))
        for each in known.values()
        if each.cell.value is not None and each.item.measure == "money"
    ]
    return min(units, default=Decimal(1))


def checked(values: Values) -> list[tuple[date, Check]]:
    """Every identity on every period; each value learns which confirm it and which contest it."""
    checks: list[tuple[date, Check]] = []
    for period, known in values.items():
        for identity in identities():
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


def _explained(tried: Check, involved: list[Value]) -> str | None:
    """The label of a printed line between them that accounts for the residual (equity-method results)."""
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
