"""Years and companies side by side: the same items and measures, each cell still a fact with its page."""

from collections.abc import Sequence

from evident_core.errors import InvalidInput
from evident_core.evidence import Fact, Frozen
from evident_finance.risk_report.export.view import View
from evident_finance.risk_report.schema import Analysis

ITEMS = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "total_assets",
    "total_liabilities",
    "total_equity",
    "cash_and_equivalents",
    "operating_cash_flow",
    "capex",
)


class Column(Frozen):
    """One company's year. ``analysis`` counts from 0 in the order that was given."""

    analysis: int
    company: str
    period: str
    currency: str


class Line(Frozen):
    """One item or measure over all columns; None where a filing does not state that year."""

    name: str
    group: str
    facts: tuple[Fact | None, ...]


class Comparison(Frozen):
    """A table of years and companies. ``notes`` say what must not be compared (other currencies, another form)."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def compare(analyses: Sequence[Analysis]) -> Comparison:
    """Put filings side by side, the years of one company in a row, a year that two filings print taken from each.

    Raises:
        InvalidInput: Less than one filing was given, or more than eight, which no page can show.
    """
    if not 1 <= len(analyses) <= 8:
        raise InvalidInput(f"{len(analyses)} filings cannot be compared; give one to eight.", count=len(analyses))
    views = [View(analysis) for analysis in analyses]
    columns = [
        Column(analysis=index, company=view.company, period=period, currency=_currency(view))
        for index, view in enumerate(views)
        for period in reversed(view.periods)
    ]
    lines = [Line(name=item, group="statements", facts=_facts(views, columns, item)) for item in ITEMS]
    lines += [
        Line(name=name, group=views[0].items.group(name), facts=_facts(views, columns, name))
        for name in views[0].items.measures
    ]
    currencies = sorted({column.currency for column in columns if column.currency})
    notes = []
    if len(currencies) > 1:
        notes.append(f"Amounts are in {' and '.join(currencies)}; compare ratios, not amounts.")
    return Comparison(
        columns=tuple(columns),
        lines=tuple(line for line in lines if any(fact is not None and fact.value is not None for fact in line.facts)),
        notes=tuple(notes),
    )


def _facts(views: Sequence[View], columns: Sequence[Column], name: str) -> tuple[Fact | None, ...]:
    return tuple(views[column.analysis].facts.get(name, column.period) for column in columns)


def _currency(view: View) -> str:
    fact = view.about("currency")
    return str(fact.value) if fact else ""
