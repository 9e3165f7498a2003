"""From measures to claims: the rules of ``rules.toml``, movements from the year before, and what could not be said."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from evident_core.evidence import Claim, Correction, Fact, Polarity, Severity, Status
from evident_finance.risk_report.assess import catalogue
from evident_finance.risk_report.assess.catalogue import Rule, Trend
from evident_finance.risk_report.assess.formula import PURE, RATIO_UNITS, CannotCompute, Missing, Refused, evaluate
from evident_finance.risk_report.assess.ledger import Ledger, holds

GRAVITY = list(Severity)
SWOT = ("strengths", "weaknesses", "opportunities", "threats")
_PRECISION = {PURE: Decimal("0.01"), "%": Decimal("0.1"), "d": Decimal(1)}
UNSURE = 0.7
"""Below this confidence a reader is asked to look at the page, and nothing is concluded from the value."""


@dataclass(frozen=True)
class Finding:
    """A claim and the rule that made it; the risk matrix weighs it."""

    claim: Claim
    rule: Rule


class Conclusions:
    """Collects the claims of one filing, and the facts without value that they speak of."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.absent: dict[str, Fact] = {}

    # Rules ----------------------------------------------------------------------------------------------------------

    def findings(self) -> Iterator[Finding]:
        """What the rules conclude, in the order of their file."""
        for rule in catalogue.rules():
            if rule.each is None:
                claim = self._claim(rule, None)
                if claim:
                    yield Finding(claim, rule)
                continue
            made = [claim for fact in self._facts_of(rule) if (claim := self._claim(rule, fact))]
            gravest = sorted(made, key=lambda claim: -GRAVITY.index(claim.severity))[: rule.most]
            yield from (Finding(claim, rule) for claim in made if claim in gravest)

    def _facts_of(self, rule: Rule) -> Iterator[Fact]:
        wanted = rule.each or ""
        for fact in self.ledger.facts.all:
            named = fact.name.startswith(wanted[:-1]) if wanted.endswith("*") else fact.name == wanted
            if not named or fact.name in rule.but or fact.value is None or not fact.note.startswith(rule.noted):
                continue
            denied = fact.note.startswith(Polarity.ABSENT)
            if (rule.stated is None or rule.stated is not denied) and (
                not rule.newest or fact.period == self.ledger.newest
            ):
                yield fact

    def _claim(self, rule: Rule, fact: Fact | None) -> Claim | None:
        book = _With(self.ledger, fact) if fact else self.ledger
        period = self.ledger.newest
        if not holds(rule.when, book, period):
            return None
        severity = rule.severity
        for higher, expression in rule.severe.items():
            if holds(expression, book, period):
                severity = higher
        if rule.severity_of_passage and fact:
            severity = _severity_of(fact) or severity
        roles = {}
        for role, expression in rule.roles.items():
            found = self._fact_in(expression, fact, rule.polarity is Polarity.NOT_ASSESSED)
            if found is not None:
                roles[role] = found
        if rule.topic != "data_quality" and any(found.confidence < UNSURE for found in roles.values()):
            return None
        needed = {role for role in catalogue.predicates()[rule.predicate].roles if not role.endswith("?")}
        if not needed <= roles.keys():
            return None
        name = f"{rule.id}.{fact.id}" if fact else f"{rule.id}@{period}" if period else rule.id
        return _claim(name, rule.predicate, roles.items(), rule.topic, severity, rule.polarity)

    def _fact_in(self, expression: str, fact: Fact | None, even_absent: bool) -> Fact | None:
        if expression == "$":
            return fact
        try:
            return evaluate(expression, self.ledger, self.ledger.newest).facts[0]
        except CannotCompute:
            return self._without_value(expression, None) if even_absent else None

    # Movements ------------------------------------------------------------------------------------------------------

    def movements(self) -> Iterator[Claim]:
        """How the items and measures moved from the year before."""
        for trend in catalogue.trends():
            claim = self._movement(trend)
            if claim:
                yield claim

    def _movement(self, trend: Trend) -> Claim | None:
        ledger, newest = self.ledger, self.ledger.newest
        if newest is None or (trend.only_for and ledger.form.key not in trend.only_for):
            return None
        try:
            now = ledger.find(trend.name, newest)
        except CannotCompute:
            return None
        name = f"trend.{trend.name}@{newest}"
        try:
            before = ledger.find(trend.name, ledger.before(newest))
        except CannotCompute:
            said = trend.name in catalogue.items() and now.confidence >= UNSURE
            return _claim(name, "stated", (("value", now),), trend.topic) if said else None
        if now.unit != before.unit or now.unit is None or min(now.confidence, before.confidence) < UNSURE:
            return None
        roles = [("value", now), ("before", before)]
        if now.unit in RATIO_UNITS:
            predicate, weight = _ratio_moved(now, before)
        else:
            predicate, weight = _amount_moved(now.number, before.number)
            if predicate in ("amount_rose", "amount_fell"):
                roles.append(("change", ledger.find(f"{trend.name}.change", newest)))
        adverse = {"higher": weight < 0, "lower": weight > 0, "": False}[trend.better]
        size = abs(weight)
        severity = Severity.NONE if not adverse or size < Decimal("0.1") else Severity.LOW
        if adverse and size >= Decimal("0.25") and now.unit not in RATIO_UNITS:
            severity = Severity.MEDIUM
        return _claim(name, predicate, roles, trend.topic, severity)

    # What could not be said -----------------------------------------------------------------------------------------

    def silences(self, said: Iterable[Claim]) -> Iterator[Claim]:
        """Each headline measure that no claim speaks of: its value, or why there is none. Then items not presented.

        Of the measures that do not apply to the company's form a topic mentions one; the facts list them all.
        """
        newest = self.ledger.newest
        if newest is None:
            return
        refused: set[str] = set()
        spoken = {fact_id for claim in said for fact_id in claim.facts.values()}
        for name in catalogue.headline():
            measure = catalogue.measures()[name]
            if (measure.only_for and self.ledger.form.key not in measure.only_for) or self.ledger.set_aside(name):
                continue
            obstacle = self.ledger.obstacle(name, newest)
            key = f"{name}@{newest}"
            if obstacle is None:
                value = self.ledger.find(name, newest)
                if key not in spoken and value.confidence >= UNSURE:
                    yield _claim(f"stated.{key}", "stated", (("value", value),), measure.group)
            elif name not in self.ledger.form.refuses or measure.group not in refused:
                refused |= {measure.group} if name in self.ledger.form.refuses else set()
                yield from self._silence(key, name, newest, obstacle)
        unread = self._unread()
        for name in catalogue.expected():
            fact = self.ledger.facts.get(name, newest)
            if fact is None or catalogue.items()[name]["statement"] in unread:
                continue
            if fact.status is Status.NOT_PRESENTED:
                claim_id = f"not_presented.{fact.id}"
                yield _unassessed(claim_id, "item_not_presented", (("item", fact),), "data_quality")

    def unread(self) -> Iterator[Claim]:
        """Each primary statement that was not found: what it presents is not known."""
        for statement in self._unread():
            fact = self._without_value(f"statement.{statement}", None)
            claim_id = f"statement_not_found.{statement}"
            yield _unassessed(claim_id, "statement_not_found", (("statement", fact),), "filing", Severity.HIGH)

    def _unread(self) -> list[str]:
        """The statements whose items were looked for, and of which not one has a value in any year."""
        read = {fact.name: False for fact in self.ledger.facts.all if fact.name in catalogue.items()}
        read |= {fact.name: True for fact in self.ledger.facts.all if fact.name in read and fact.value is not None}
        found: dict[str, bool] = {}
        for name, has_value in read.items():
            statement = catalogue.items()[name]["statement"]
            found[statement] = found.get(statement, False) or has_value
        return [statement for statement, has_value in found.items() if not has_value]

    def _silence(self, key: str, name: str, period: str, obstacle: CannotCompute) -> Iterator[Claim]:
        roles = [("measure", self.ledger.without_value(name, period, obstacle))]
        self.absent[roles[0][1].id] = roles[0][1]
        if name in self.ledger.form.refuses:
            predicate = "does_not_apply"
            roles.append(("form", self.ledger.find("assessment.form", None)))
        elif isinstance(obstacle, Missing) and obstacle.cause:
            predicate = "cannot_compute"
            roles.append(("input", self._without_value(*obstacle.cause)))
        elif isinstance(obstacle, Refused) and obstacle.cause:
            predicate = "no_meaning"
            roles.append(("cause", self.ledger.find(*obstacle.cause)))
        else:
            return
        yield _unassessed(f"{predicate}.{key}", predicate, roles, catalogue.measures()[name].group)

    def _without_value(self, name: str, period: str | None) -> Fact:
        """The fact, read or to be added, that says that this is not in the filing."""
        read = self.ledger.facts.get(name, period)
        if read is not None:
            return read
        fact_id = f"{name}@{period}" if period else name
        note = "not found in the filing"
        return self.absent.setdefault(
            fact_id, Fact(id=fact_id, name=name, value=None, period=period, status=Status.NOT_PRESENTED, note=note)
        )

    # Quality of the data --------------------------------------------------------------------------------------------

    def cautions(self) -> Iterator[Claim]:
        """Values a reader should look at: read without certainty, restated, or set by a person."""
        recent = self.ledger.periods[:2]
        for fact in self.ledger.facts.all:
            if fact.value is None:
                continue
            if any(isinstance(source.where, Correction) for source in fact.sources):
                yield _about(fact, "value_corrected", Severity.LOW)
            elif fact.name in catalogue.items() and fact.period in recent and fact.confidence < UNSURE:
                yield _about(fact, "value_contested", Severity.MEDIUM)
            if fact.name in catalogue.items() and "restated" in fact.note and fact.period in recent:
                yield _about(fact, "value_restated", Severity.LOW)


def swot(findings: Iterable[Finding]) -> Iterator[Claim]:
    """The claims repeated in a quadrant, gravest first, at most seven each; a rule gives a quadrant at most four."""
    quadrants: dict[str, list[Finding]] = {key: [] for key in SWOT}
    for finding in findings:
        quadrant = finding.rule.topic if finding.rule.topic in SWOT else finding.rule.swot
        if quadrant and GRAVITY.index(finding.claim.severity) >= GRAVITY.index(finding.rule.least_for_swot):
            quadrants[quadrant].append(finding)
    for quadrant, members in quadrants.items():
        taken: dict[str, int] = {}
        kept: list[Claim] = []
        for finding in sorted(members, key=lambda member: -GRAVITY.index(member.claim.severity)):
            taken[finding.rule.id] = taken.get(finding.rule.id, 0) + 1
            if taken[finding.rule.id] <= 4 and len(kept) < 7:
                kept.append(finding.claim)
        yield from (claim.model_copy(update={"id": f"swot.{claim.id}", "topic": quadrant}) for claim in kept)


class _With:
    """A ledger in which ``each`` names one fact."""

    def __init__(self, ledger: Ledger, fact: Fact) -> None:
        self.ledger = ledger
        self.fact = fact
        self.before = ledger.before
        self.resolve = ledger.resolve
        self.label = ledger.label

    def find(self, name: str, period: str | None) -> Fact:
        return self.fact if name == "each" else self.ledger.find(name, period)


def _claim(
    claim_id: str,
    predicate: str,
    roles: Iterable[tuple[str, Fact]],
    topic: str,
    severity: Severity = Severity.NONE,
    polarity: Polarity = Polarity.PRESENT,
) -> Claim:
    facts = dict(roles)
    return Claim(
        id=claim_id,
        predicate=predicate,
        facts={role: fact.id for role, fact in facts.items()},
        polarity=polarity,
        certainty=min((fact.confidence for fact in facts.values()), default=1.0),
        severity=severity,
        topic=topic,
    )


def _unassessed(
    claim_id: str,
    predicate: str,
    roles: Iterable[tuple[str, Fact]],
    topic: str,
    severity: Severity = Severity.NONE,
) -> Claim:
    return _claim(claim_id, predicate, roles, topic, severity, Polarity.NOT_ASSESSED)


def _about(fact: Fact, predicate: str, severity: Severity) -> Claim:
    return _claim(f"{predicate}.{fact.id}", predicate, (("value", fact),), "data_quality", severity)


def _ratio_moved(now: Fact, before: Fact) -> tuple[str, Decimal]:
    """The predicate of a ratio's movement, and the movement relative to where it was."""
    step = _PRECISION[str(now.unit)]
    after, earlier = now.number.quantize(step), before.number.quantize(step)
    if after == earlier:
        return "ratio_unchanged", Decimal(0)
    return "ratio_rose" if after > earlier else "ratio_fell", (after - earlier) / (abs(earlier) or Decimal(1))


def _amount_moved(now: Decimal, before: Decimal) -> tuple[str, Decimal]:
    """The predicate of an amount's movement, and the movement relative to where it was."""
    if now >= 0 and before > 0:
        change = now / before - 1
        if abs(change) < Decimal("0.0005"):
            return "amount_unchanged", Decimal(0)
        return "amount_rose" if change > 0 else "amount_fell", change
    move = (now - before) / (abs(before) or abs(now) or Decimal(1))
    if now == before:
        return "amount_unchanged", Decimal(0)
    if now < 0 <= before:
        return "amount_turned_negative", Decimal(-1)
    if before <= 0 < now:
        return "amount_turned_positive", Decimal(1)
    return "negative_amount_widened" if now < before else "negative_amount_narrowed", move


def _severity_of(fact: Fact) -> Severity | None:
    found = re.search(r"severity (\w+)", fact.note)
    return Severity(found[1]) if found and found[1] in set(Severity) else None
