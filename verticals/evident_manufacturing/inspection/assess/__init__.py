"""Defects to facts, claims and a verdict: what a specification says of one part, every step of it a rule to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from evident_core.evidence import Claim, Fact, InputRef, Polarity, Severity
from evident_manufacturing.inspection.assess.described import ANY
from evident_manufacturing.inspection.assess.judge import (
    WITHOUT_SPECIFICATION,
    CalibrationState,
    Finding,
    Outcome,
    calibration_state,
    findings,
    judged,
    refuse_millimetres,
    verdict,
)
from evident_manufacturing.inspection.assess.ledger import SIZES, Ledger, derived
from evident_manufacturing.inspection.assess.specification import Specification
from evident_manufacturing.inspection.schema import (
    KINDS,
    Alignment,
    Calibration,
    Decision,
    Defect,
    Part,
    Verdict,
)

__all__ = ["Assessment", "CalibrationState", "Specification", "assess", "calibration_state"]

_SEVERITY = {Decision.ACCEPT: Severity.NONE, Decision.REWORK: Severity.MEDIUM, Decision.REJECT: Severity.HIGH}


class Assessment(NamedTuple):
    """What is known of a part and what follows from it."""

    facts: tuple[Fact, ...]
    claims: tuple[Claim, ...]
    verdict: Verdict


def assess(
    defects: Sequence[Defect],
    specification: Specification | None,
    *,
    image: InputRef,
    width: int,
    height: int,
    part: Part,
    on: date,
    calibration: Calibration | None = None,
    template: InputRef | None = None,
    alignment: Alignment | None = None,
    told: bool = True,
) -> Assessment:
    """Judge one part.

    Args:
        defects: Measured in mm exactly where the calibration holds (:func:`calibration_state`), else in pixels.
        specification: None: any defect rejects the part, and the verdict is weak.
        image: The tested image.
        width: Of it, pixels.
        height: Of it, pixels.
        part: Which part it is of; its camera decides whether the calibration is of this one.
        on: The day on which the calibration must hold: that of the picture, or of the inspection.
        calibration: The certificate, expired or not.
        template: The golden sample it was compared with; None where there was none, and the verdict is weak.
        alignment: Where that lies under the image.
        told: Whether facts and claims say what is known and why; a MES gets the verdict alone.

    Raises:
        InvalidInput: A size is in millimetres, and the calibration does not hold; or a zone with limits lies outside
            the image.
    """
    state = calibration_state(calibration, part.camera, on)
    holding = calibration if state is CalibrationState.VALID else None
    scale = holding.mm_per_pixel if holding else None
    if specification:
        specification.refuse_misplaced(width, height, scale)
    if scale is None:
        refuse_millimetres(defects)
    found = findings(defects, specification, width=width, height=height, alignment=alignment, mm_per_pixel=scale)
    described = [each.number for each in judged(defects, specification) if each.naming]
    decided = verdict(found, specification, calibration=state, template=template is not None, described=described)
    if not told:
        return Assessment((), (), decided)
    ledger = Ledger(image, width, height, scale)
    evidence = list(_evidence(ledger, template, alignment, calibration, state, on))
    roles = {defect.number: ledger.defect(defect, specification) for defect in defects}
    claims = [
        *_verdict(ledger, part, defects, found, decided, specification),
        *_reasons(ledger, found, roles, specification),
        *_named(ledger, defects, roles),
        *_unjudged(ledger, defects, roles, specification),
        *_defects(defects, roles),
        *evidence,
        *_zones(ledger, specification, width, height),
        *_not_found(ledger, defects, specification),
    ]
    return Assessment(tuple(ledger.facts.values()), tuple(claims), decided)


def _verdict(
    ledger: Ledger,
    part: Part,
    defects: Sequence[Defect],
    found: Sequence[Finding],
    decided: Verdict,
    specification: Specification | None,
) -> Iterator[Claim]:
    yield Claim(id="part", predicate="part_inspected", facts=ledger.part(part), topic="verdict")
    limits = [f"rule.{each.rule}" for each in found if each.limit and specification]
    for each in found:
        if each.limit and specification:
            ledger.limit(each.limit, specification)
    facts = {
        "decision": ledger.text(
            "board.decision",
            decided.decision,
            derived(specification.decision_rule if specification else "no_specification", "", dict.fromkeys(limits)),
            name="decision",
        )
    }
    if specification:
        at = specification.source("/version", specification.version)
        facts["specification"] = ledger.text("board.specification", specification.name, at)
    yield Claim(id="verdict", predicate="verdict", facts=facts, severity=_SEVERITY[decided.decision], topic="verdict")
    if decided.weak:
        yield Claim(id="verdict.weak", predicate="verdict_weak", severity=Severity.LOW, topic="verdict")
    kinds = [f"defect.{defect.number}.kind" for defect in defects]
    if defects:
        source = derived("count", "number of defects", kinds)
        count = ledger.number("board.defects", Decimal(len(defects)), "1", source, name="count")
        yield Claim(id="defects", predicate="defects_counted", facts={"count": count}, topic="verdict")
    else:
        count = ledger.number("board.defects", Decimal(0), "1", ledger.whole, name="count")
        facts = {"count": count}
        yield Claim(id="defects", predicate="no_defect", facts=facts, polarity=Polarity.ABSENT, topic="verdict")


def _reasons(
    ledger: Ledger,
    found: Sequence[Finding],
    roles: dict[int, dict[str, str]],
    specification: Specification | None,
) -> Iterator[Claim]:
    """One claim for each rule and defect, or for each rule where it is about a count."""
    if specification is None:
        decision = ledger.text(
            "rule.no_specification", WITHOUT_SPECIFICATION, derived("no_specification"), name="decision"
        )
        yield Claim(
            id="rule.specification_missing",
            predicate="specification_missing",
            facts={"decision": decision},
            polarity=Polarity.ABSENT,
            severity=Severity.LOW,
            topic="verdict",
        )
        return
    for each in found:
        shared = {"severity": _SEVERITY[each.decision], "topic": "verdict"}
        if each.limit is None:
            source = specification.source("/default", specification.default)
            decision = ledger.text("rule.default.decision", each.decision, source, name="decision")
            about = {"decision": decision, "kind": ledger.kind(each.kind, each.defects)}
            for number in each.defects:
                facts = {**about, "number": roles[number]["number"]}
                yield _claim(f"rule.default.{number}", "kind_default", facts, shared)
            continue
        limit = ledger.limit(each.limit, specification)
        if each.limit.quantity == "count":
            at = [roles[number]["kind"] for number in each.defects]
            count = ledger.number(
                f"rule.{each.rule}.count",
                Decimal(len(each.defects)),
                "1",
                derived("count", each.kind, at),
                name="count",
            )
            facts = {**limit, "count": count, "kind": ledger.kind(each.kind, each.defects)}
            yield _claim(f"rule.{each.rule}", "count_above", facts, shared)
            continue
        (number,) = each.defects
        mine, quantity = roles[number], each.limit.quantity
        claim_id = f"rule.{each.rule}.{number}"
        if each.outcome is Outcome.UNASSESSED:
            source = specification.source("/unmeasured", specification.unmeasured)
            limit["decision"] = ledger.text("rule.unmeasured.decision", each.decision, source, name="decision")
            shared["polarity"] = Polarity.NOT_ASSESSED
            yield _claim(claim_id, "limit_unassessed", {**limit, "number": mine["number"]}, shared)
            continue
        facts = {**limit, "number": mine["number"], "kind": mine["kind"], "value": mine[quantity]}
        facts["uncertainty"] = mine[f"{quantity}_uncertainty"]
        upper = each.limit.side == "max"
        # A value past its limit is told so, though by less than its uncertainty: both numbers are in the sentence.
        past = each.value and (each.value.value > each.limit.value if upper else each.value.value < each.limit.value)
        side = "limit_above" if upper else "limit_below"
        yield _claim(claim_id, side if past else "limit_uncertain", facts, shared)


def _claim(claim_id: str, predicate: str, facts: dict[str, str], shared: Mapping[str, object]) -> Claim:
    return Claim.model_validate({"id": claim_id, "predicate": predicate, "facts": facts, **shared})


def _named(ledger: Ledger, defects: Sequence[Defect], roles: dict[int, dict[str, str]]) -> Iterator[Claim]:
    for defect in defects:
        if defect.naming:
            mine = roles[defect.number]
            facts = {"number": mine["number"], "kind": mine["kind"], **ledger.naming(defect, defect.naming)}
            yield Claim(
                id=f"named.{defect.number}",
                predicate="kind_described",
                facts=facts,
                certainty=defect.naming.share,
                severity=Severity.LOW,
                topic="verdict",
            )


def _unjudged(
    ledger: Ledger, defects: Sequence[Defect], roles: dict[int, dict[str, str]], specification: Specification | None
) -> Iterator[Claim]:
    if specification is None:
        return
    counted = {defect.number for defect in judged(defects, specification)}
    for defect in defects:
        if defect.number not in counted:
            source = specification.source("/score", str(specification.score))
            least = ledger.number("rule.score", specification.score, "1", source, name="score.limit")
            mine = roles[defect.number]
            facts = {"number": mine["number"], "score": mine["score"], "threshold": least}
            yield Claim(id=f"rule.score.{defect.number}", predicate="score_below", facts=facts, topic="defects")


def _defects(defects: Sequence[Defect], roles: dict[int, dict[str, str]]) -> Iterator[Claim]:
    for defect in defects:
        mine, measured = roles[defect.number], defect.size is not None
        yield Claim(
            id=f"defect.{defect.number}",
            predicate="defect_measured" if measured else "defect_unmeasured",
            facts={role: fact for role, fact in mine.items() if measured or role not in SIZES},
            polarity=Polarity.PRESENT if measured else Polarity.NOT_ASSESSED,
            certainty=defect.score,
            topic="defects",
        )


def _evidence(
    ledger: Ledger,
    template: InputRef | None,
    alignment: Alignment | None,
    calibration: Calibration | None,
    state: CalibrationState,
    on: date,
) -> Iterator[Claim]:
    weaker = {"topic": "evidence", "severity": Severity.LOW}
    if template:
        from_template = ledger.whole.model_copy(update={"input": template})
        name = ledger.text("board.template", template.name or template.sha256[:12], from_template)
        yield Claim(id="template", predicate="template_compared", facts={"template": name}, topic="evidence")
    else:
        yield _claim("template", "template_missing", {}, {**weaker, "polarity": Polarity.ABSENT})
    if alignment:
        facts = ledger.alignment(alignment)
        yield Claim(id="alignment", predicate="aligned", facts=facts, certainty=alignment.confidence, topic="evidence")
    if state is CalibrationState.MISSING or calibration is None:
        yield _claim("calibration", "calibration_missing", {}, {**weaker, "polarity": Polarity.ABSENT})
        return
    facts = ledger.calibration(calibration, on)
    if state is CalibrationState.VALID:
        used = {role: facts[role] for role in ("certificate", "until", "residual")}
        yield Claim(id="calibration", predicate="calibration_valid", facts=used, topic="evidence")
    else:
        used = {role: facts[role] for role in ("certificate", "made", "until", "day")}
        yield _claim("calibration", "calibration_expired", used, weaker)


def _zones(ledger: Ledger, specification: Specification | None, width: int, height: int) -> Iterator[Claim]:
    """What reaches beyond the image: a person should see whether that was meant."""
    if specification is None:
        return
    for each in specification.misplaced(width, height, ledger.mm_per_pixel):
        facts = ledger.zone(each, specification) | ledger.board_size(width, height)
        yield _claim(f"zone.{each.zone}", "zone_beyond", facts, {"topic": "evidence", "severity": Severity.LOW})


def _not_found(ledger: Ledger, defects: Sequence[Defect], specification: Specification | None) -> Iterator[Claim]:
    seen = {defect.kind for defect in defects}
    described = specification.descriptions if specification else {}
    for kind in specification.kinds if specification else KINDS:
        # A kind that is only described is often missed (CARD.md): that nothing was named so says little.
        if kind not in seen and kind != ANY and kind not in described:
            fact = ledger.text(f"not_found.{kind}", kind, ledger.whole, name="kind")
            yield Claim(
                id=f"not_found.{kind}",
                predicate="kind_absent",
                facts={"kind": fact},
                polarity=Polarity.ABSENT,
                topic="not_found",
            )
