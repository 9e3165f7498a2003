"""The risk matrix: how likely and how grave each risk is, by the rule above ``[risk.*]`` in ``rules.toml``."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from evident_core.evidence import Claim, Derived, Fact, Severity, Source, Status
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.rules import GRAVITY, Finding
from evident_finance.risk_report.schema import Facts

_IMPACT = {Severity.NONE: 1, Severity.LOW: 2, Severity.MEDIUM: 3, Severity.HIGH: 4, Severity.CRITICAL: 4}
_RATING = ((15, Severity.CRITICAL), (10, Severity.HIGH), (5, Severity.MEDIUM), (0, Severity.LOW))
_MANY = 3
_EVIDENCE = 6


@dataclass
class Row:
    """What speaks for a risk and against it."""

    likelihood: int = 0
    impact: int = 0
    speaking: set[str] = field(default_factory=set)
    mitigating: set[str] = field(default_factory=set)
    evidence: list[str] = field(default_factory=list)

    @property
    def rated(self) -> tuple[int, int]:
        """Likelihood and impact, 1 to 5 each."""
        likelihood = self.likelihood + (len(self.speaking) >= _MANY) - bool(self.mitigating)
        return min(5, max(1, likelihood)), min(5, max(1, self.impact))


def matrix(findings: Iterable[Finding], facts: Facts) -> Iterator[tuple[Claim, tuple[Fact, ...]]]:
    """Each risk that something speaks for, gravest first, as a claim with the facts that it adds."""
    rows = _weigh(findings, facts)
    graded = [(row.rated[0] * row.rated[1], key, row) for key, row in rows.items() if row.speaking]
    for rating, key, row in sorted(graded, key=lambda each: (-each[0], each[1])):
        likelihood, impact = row.rated
        made = (
            _fact(f"matrix.{key}", key, None, row, "row of the risk matrix"),
            _fact(f"matrix.{key}.likelihood", Decimal(likelihood), "1", row, _how(row)),
            _fact(f"matrix.{key}.impact", Decimal(impact), "1", row, "the highest impact of what speaks for it"),
            _fact(f"matrix.{key}.rating", Decimal(rating), "1", row, "likelihood * impact"),
        )
        roles = dict(zip(("risk", "likelihood", "impact", "rating"), (fact.id for fact in made), strict=True))
        roles |= {f"evidence_{n}": fact_id for n, fact_id in enumerate(row.evidence[:_EVIDENCE], start=1)}
        severity = next(level for least, level in _RATING if rating >= least)
        yield (
            Claim(id=f"matrix.{key}", predicate="risk_rated", facts=roles, severity=severity, topic="risk_matrix"),
            made,
        )


def _weigh(findings: Iterable[Finding], facts: Facts) -> dict[str, Row]:
    rows = {key: Row() for key in catalogue.risks()}
    for claim, rule in ((finding.claim, finding.rule) for finding in findings):
        if rule.mitigates:
            rows[rule.mitigates].mitigating.add(rule.id)
        if rule.risk:
            row = rows[rule.risk]
            row.likelihood = max(row.likelihood, rule.likelihood)
            # A finding that turned out graver than its rule's own severity weighs one step more.
            row.impact = max(row.impact, rule.impact + (GRAVITY.index(claim.severity) > GRAVITY.index(rule.severity)))
            row.speaking.add(rule.id)
            _cite(row, claim.facts.values())
    for fact in facts.named("risk.severity"):
        if fact.subject in rows and isinstance(fact.value, str):
            row = rows[fact.subject]
            severity = Severity(fact.value)
            row.likelihood = max(row.likelihood, 3 if severity in (Severity.HIGH, Severity.CRITICAL) else 2)
            row.impact = max(row.impact, _IMPACT[severity])
            row.speaking.add("risk_factor")
            _cite(row, (i for s in fact.sources if isinstance(s.where, Derived) for i in s.where.fact_ids[:3]))
    return rows


def _cite(row: Row, fact_ids: Iterable[str]) -> None:
    row.evidence.extend(i for i in fact_ids if i not in row.evidence and not i.startswith("threshold."))


def _how(row: Row) -> str:
    many = f" + 1 ({len(row.speaking)} rules speak for it)" if len(row.speaking) >= _MANY else ""
    less = f" - 1 ({', '.join(sorted(row.mitigating))})" if row.mitigating else ""
    return f"the highest likelihood of what speaks for it ({row.likelihood}){many}{less}, within 1 to 5"


def _fact(fact_id: str, value: Decimal | str, unit: str | None, row: Row, how: str) -> Fact:
    source = Source(where=Derived(rule=fact_id, formula=how, fact_ids=tuple(row.evidence)))
    return Fact(id=fact_id, name=fact_id, value=value, unit=unit, status=Status.DERIVED, sources=(source,))
