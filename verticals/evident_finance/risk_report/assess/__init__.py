"""Facts to claims: ratios and scores with their formulas, and what rules conclude from them.

Everything is computed anew from the facts on each call, in milliseconds: a corrected fact changes all that rests on it.
"""

from collections.abc import Iterable

from evident_core.evidence import Claim, Derived, Fact
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.ledger import Ledger
from evident_finance.risk_report.assess.matrix import matrix
from evident_finance.risk_report.assess.rules import SWOT, Conclusions, swot
from evident_finance.risk_report.schema import Assessment, Facts

__all__ = ["assess"]


def assess(facts: Iterable[Fact]) -> Assessment:
    """Every measure of the data files for every year, and every claim the rules make from them.

    A measure without a value is a NOT_PRESENTED fact of the newest year, whose note says why.
    """
    ledger = Ledger(Facts(facts))
    measured = _measured(ledger)
    conclusions = Conclusions(ledger)
    findings = list(conclusions.findings())
    claims = [finding.claim for finding in findings if finding.rule.topic not in SWOT]
    claims += conclusions.movements()
    claims += conclusions.silences(claims)
    claims += conclusions.unread()
    claims += conclusions.cautions()
    claims += swot(findings)
    rated = list(matrix(findings, ledger.facts))
    claims += [claim for claim, _ in rated]
    made = {fact.id: fact for fact in (*ledger.computed.values(), *conclusions.absent.values(), *measured)}
    made |= {fact.id: fact for _, added in rated for fact in added}
    read = {fact.id for fact in ledger.facts.all}
    order = {topic: n for n, topic in enumerate(catalogue.topics())}
    return Assessment(
        facts=tuple(_needed({i: f for i, f in made.items() if i not in read}, claims)),
        claims=tuple(sorted(claims, key=lambda claim: order[claim.topic])),
    )


def _measured(ledger: Ledger) -> list[Fact]:
    """Each measure of each year; without a value only for the newest, and only where it is meant for such a company."""
    facts = []
    for period in ledger.periods:
        for measure in catalogue.measures().values():
            if measure.only_for and ledger.form.key not in measure.only_for:
                continue
            fact = ledger.measure(measure.name, period)
            if fact.value is not None or period == ledger.newest:
                facts.append(fact)
    return facts


def _needed(made: dict[str, Fact], claims: Iterable[Claim]) -> Iterable[Fact]:
    """All but the thresholds and changes that nothing rests on."""
    used = {fact_id for claim in claims for fact_id in claim.facts.values()}
    used |= {i for f in made.values() for s in f.sources if isinstance(s.where, Derived) for i in s.where.fact_ids}
    return (fact for i, fact in made.items() if i in used or fact.name in catalogue.measures() or "." not in fact.name)
