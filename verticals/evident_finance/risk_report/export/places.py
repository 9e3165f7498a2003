"""Where each value of an analysis was read: facts by id, and the boxes behind derived values."""

from collections.abc import Iterator
from decimal import Decimal

from evident_core.evidence import Correction, Derived, Fact, PageBox, Status
from evident_finance.risk_report.schema import Analysis


class Places:
    """All facts of an analysis (read and computed) with the way back to their pages."""

    def __init__(self, analysis: Analysis) -> None:
        self.facts: dict[str, Fact] = {
            fact.id: fact for fact in (*analysis.reading.facts, *analysis.assessment.facts, *analysis.report.facts)
        }

    def boxes(self, fact_id: str) -> tuple[PageBox, ...]:
        """Each box that a fact's value rests on: its own, or those of the facts it was computed from, in order."""
        return tuple(dict.fromkeys(self._boxes(fact_id, set())))

    def _boxes(self, fact_id: str, seen: set[str]) -> Iterator[PageBox]:
        if fact_id in seen or fact_id not in self.facts:
            return
        seen.add(fact_id)
        for source in self.facts[fact_id].sources:
            if isinstance(source.where, PageBox):
                yield source.where
            elif isinstance(source.where, Derived):
                for each in source.where.fact_ids:
                    yield from self._boxes(each, seen)

    def formula(self, fact_id: str) -> str:
        """The formula of a derived fact, or an empty string."""
        wheres = [source.where for source in self.facts[fact_id].sources]
        return next((where.formula for where in wheres if isinstance(where, Derived)), "")

    def correction(self, fact_id: str) -> Correction | None:
        """The last correction that a person made to a fact, or None."""
        wheres = [source.where for source in self.facts[fact_id].sources]
        return next((where for where in reversed(wheres) if isinstance(where, Correction)), None)

    def named(self, prefix: str) -> tuple[Fact, ...]:
        """Facts whose name begins so."""
        return tuple(fact for fact in self.facts.values() if fact.name.startswith(prefix))


def shown_value(fact: Fact) -> str:
    """A fact's value as a table prints it: grouped digits with the unit, or the status where there is none."""
    if fact.status is Status.NOT_PRESENTED:
        return "—"
    if not isinstance(fact.value, Decimal):
        return str(fact.value)
    if fact.unit == "%":
        return f"{fact.value:,.1f}%"
    if fact.unit == "d":
        return f"{fact.value:,.1f} d"
    if fact.unit == "1":
        return f"{fact.value:,.2f}"
    digits = -1 * int(fact.value.normalize().as_tuple().exponent) if fact.scale == 1 else 0
    digits = max(2, min(digits, 4)) if digits > 0 else 0  # cents have two places
    return f"{fact.value:,.{digits}f} {fact.unit}"
