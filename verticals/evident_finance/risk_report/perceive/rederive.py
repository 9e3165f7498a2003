"""What follows from the presented values, again: once a person corrects one, derived items and checks are made anew."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from evident_core.evidence import Correction, Derived, Fact, Source, Status
from evident_finance.risk_report.perceive.identities import check, derive, identities


def rederive(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The facts with every value that an identity derived, and every identity's residual, computed from the others.

    A value whose inputs are gone stays as it is; nothing that was presented changes.
    """
    by_id = {fact.id: fact for fact in facts}
    rules = {identity.name: identity for identity in identities()}
    for fact in tuple(by_id.values()):
        where = next((source.where for source in fact.sources if isinstance(source.where, Derived)), None)
        if any(isinstance(source.where, Correction) for source in fact.sources):
            continue  # What a person set stands, though a rule had derived it before.
        if where is None or where.rule not in rules or fact.period is None:
            continue
        identity, values = rules[where.rule], _values(by_id.values(), fact.period)
        if fact.name.startswith("check."):
            tried = check(identity, values, Decimal(_scale(by_id, where.fact_ids)))
            if tried is not None:
                note = "holds" if tried.holds else "leaves a residual"
                by_id[fact.id] = fact.model_copy(update={"value": tried.residual, "note": note})
        elif made := derive(identity, fact.name, {name: value for name, value in values.items() if name != fact.name}):
            value, formula, used = made
            ids = tuple(f"{name}@{fact.period}" for name in used)
            source = Source(where=Derived(rule=identity.name, formula=formula, fact_ids=ids))
            by_id[fact.id] = fact.model_copy(update={"value": value, "sources": (source,), "status": Status.DERIVED})
    return tuple(by_id.values())


def _values(facts: Iterable[Fact], period: str) -> dict[str, Decimal]:
    return {fact.name: fact.value for fact in facts if fact.period == period and isinstance(fact.value, Decimal)}


def _scale(facts: Mapping[str, Fact], ids: Iterable[str]) -> int:
    """The finest scale among the facts of an identity; one that took another's place is not in the filing."""
    return min((facts[each].scale for each in ids if each in facts), default=1)
