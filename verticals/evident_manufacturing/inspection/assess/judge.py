"""What a specification says of the defects of one part: each limit that is passed, and the verdict they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from itertools import groupby

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess.described import ANY
from evident_manufacturing.inspection.assess.specification import (
    DecisionRule,
    Limit,
    Specification,
    graver,
)
from evident_manufacturing.inspection.assess.zones import on_template, touches
from evident_manufacturing.inspection.schema import (
    Alignment,
    Calibration,
    Decision,
    Defect,
    Quantity,
    Reason,
    Verdict,
)

WITHOUT_SPECIFICATION = Decision.REJECT
"""What any defect leads to where nothing says what is allowed."""
SCORE_WITHOUT_SPECIFICATION = 0.5
_ORDER = (Decision.REJECT, Decision.REWORK, Decision.ACCEPT)


class CalibrationState(StrEnum):
    """Whether millimetres may be stated."""

    VALID = "valid"
    MISSING = "missing"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """How a size stands to a limit."""

    KEPT = "kept"
    UNCERTAIN = "uncertain"
    """Closer to the limit than its uncertainty."""
    BEYOND = "beyond"
    UNASSESSED = "unassessed"
    """There is no size, or it is in pixels and the limit in millimetres."""


class Finding(Frozen):
    """A rule of the specification that some defects met.

    Attributes:
        limit: None for the default of the specification, and where there is no specification.
        defects: Their numbers.
        value: The size that was compared; None for counts and where there is none.
    """

    rule: str
    decision: Decision
    outcome: Outcome
    kind: str
    defects: tuple[int, ...]
    limit: Limit | None = None
    value: Quantity | None = None


def calibration_state(calibration: Calibration | None, camera: str, on: date) -> CalibrationState:
    """Whether a calibration holds for a camera on a day; one of another camera is as good as none."""
    if calibration is None or (calibration.camera and calibration.camera != camera):
        return CalibrationState.MISSING
    holds = calibration.made <= on <= calibration.valid_until
    return CalibrationState.VALID if holds else CalibrationState.EXPIRED


def compare(value: Quantity | None, limit: Limit, rule: DecisionRule) -> Outcome:
    """How a measured size stands to a limit (ISO 14253-1 with U, k = 2, as the guard band).

    A size is KEPT when value and U together keep the limit, BEYOND when value less U passes it, else UNCERTAIN; under
    the rule ``simple`` it is one of the first two by its value alone. A value on the limit keeps it.
    """
    if value is None or value.unit != limit.unit:
        return Outcome.UNASSESSED
    over = value.value - limit.value if limit.side == "max" else limit.value - value.value
    if rule is DecisionRule.SIMPLE:
        return Outcome.BEYOND if over > 0 else Outcome.KEPT
    if over <= -value.uncertainty:
        return Outcome.KEPT
    return Outcome.BEYOND if over > value.uncertainty else Outcome.UNCERTAIN


def judged(defects: Iterable[Defect], specification: Specification | None) -> tuple[Defect, ...]:
    """The defects that are likely enough to count."""
    least = float(specification.score) if specification else SCORE_WITHOUT_SPECIFICATION
    return tuple(defect for defect in defects if defect.score >= least)


def findings(
    defects: Sequence[Defect],
    specification: Specification | None,
    *,
    width: int,
    height: int,
    alignment: Alignment | None,
    mm_per_pixel: tuple[float, float] | None,
) -> tuple[Finding, ...]:
    """All rules that the judged defects met, the gravest first.

    Where a reject limit is met, the rework limit of the same quantity is not named again.

    Args:
        defects: As they were measured; those below the score threshold are left out here.
        specification: None: any defect rejects the part.
        width: Of the tested image, pixels.
        height: Of the tested image, pixels.
        alignment: Where the template lies, on which the zones are drawn; None: the image lies as the template.
        mm_per_pixel: Of a calibration that holds; None: zones in mm cannot be located, and then the limits of each
            such zone apply together with those outside of it.
    """
    kept = judged(defects, specification)
    if specification is None:
        numbers = tuple(defect.number for defect in kept)
        rule = {"rule": "specification_missing", "decision": WITHOUT_SPECIFICATION, "outcome": Outcome.BEYOND}
        return (Finding.model_validate({**rule, "kind": ANY, "defects": numbers}),) if numbers else ()
    buckets: dict[tuple[str, str | None], list[Defect]] = {}
    others: dict[str, list[Defect]] = {}
    for defect in kept:
        outline = on_template(defect.bbox, alignment, width, height)
        touched, unlocated = [], []
        for drawn in specification.zones:
            corners = drawn.corners(mm_per_pixel)
            if corners is None:
                unlocated.append(drawn.name)
            elif touches(outline, corners):
                touched.append(drawn.name)
        if defect.kind not in specification.classes:
            others.setdefault(defect.kind, []).append(defect)
        for kind in (defect.kind, ANY):
            if kind not in specification.classes:
                continue
            own = [zone for of, zone in specification.zoned if of == kind]
            inside: list[str | None] = [zone for zone in own if zone in touched]
            maybe: list[str | None] = [zone for zone in own if zone in unlocated]
            for zone in [*inside, *maybe] + ([] if inside else [None]):
                buckets.setdefault((kind, zone), []).append(defect)
    found = [
        Finding(
            rule="default",
            decision=specification.default,
            outcome=Outcome.BEYOND,
            kind=kind,
            defects=tuple(defect.number for defect in them),
        )
        for kind, them in others.items()
        if specification.default is not Decision.ACCEPT
    ]
    for (kind, zone), them in buckets.items():
        found += _met(specification.limits_of(kind, zone), them, specification)
    return tuple(sorted(found, key=lambda each: (_ORDER.index(each.decision), each.defects, each.rule)))


def verdict(
    found: Sequence[Finding],
    specification: Specification | None,
    *,
    calibration: CalibrationState,
    template: bool,
    described: Sequence[int] = (),
) -> Verdict:
    """The decision on a part, its reasons, and whether its evidence is weaker than it should be.

    It is weak without a template, without a calibration that holds, without a specification, where a limit could not be
    assessed, and where defects (``described``: their numbers) have their kind from a description alone.
    """
    reasons = [
        Reason(rule=rule, decision=decision, defects=_together(them), limit=limit)
        for (rule, decision, limit), them in groupby(
            sorted(found, key=lambda each: (_ORDER.index(each.decision), each.rule)),
            key=lambda each: (each.rule, each.decision, each.limit.text if each.limit else ""),
        )
    ]
    weak = [each.rule for each in found if each.outcome is Outcome.UNASSESSED]
    if specification is None and not found:
        reasons.append(Reason(rule="specification_missing"))
    if not template:
        reasons.append(Reason(rule="template_missing"))
    if calibration is not CalibrationState.VALID:
        reasons.append(Reason(rule=f"calibration_{calibration}"))
    if described:
        reasons.append(Reason(rule="kind_by_description", defects=tuple(described)))
    evidenced = specification is not None and template and calibration is CalibrationState.VALID
    return Verdict(
        decision=graver(each.decision for each in found),
        specification=specification.name if specification else "",
        reasons=tuple(reasons),
        weak=bool(weak) or bool(described) or not evidenced,
    )


def _met(limits: Sequence[Limit], defects: Sequence[Defect], specification: Specification) -> Iterator[Finding]:
    """The findings of one class in one zone: reject limits are tried before rework limits."""
    sides = dict.fromkeys((limit.quantity, limit.side) for limit in limits)
    for quantity, side in sides:
        ordered = [
            limit for decision in _ORDER for limit in limits
            if (limit.quantity, limit.side, limit.decision) == (quantity, side, decision)
        ]  # fmt: skip
        if quantity == "count":
            passed = (limit for limit in ordered if len(defects) > limit.value)
            if limit := next(passed, None):
                numbers = tuple(defect.number for defect in defects)
                yield _finding(limit, limit.decision, Outcome.BEYOND, limit.kind, numbers)
            continue
        for defect in defects:
            value: Quantity | None = getattr(defect.size, quantity) if defect.size else None
            over = defect.size.gap_over if defect.size and quantity == "gap" else None
            for limit in ordered:
                outcome = compare(value, limit, specification.decision_rule)
                if over and side == "min" and compare(over, limit, specification.decision_rule) is Outcome.KEPT:
                    outcome = Outcome.KEPT
                lenient = specification.decision_rule is DecisionRule.PROVE_NONCONFORMITY
                if outcome is Outcome.KEPT or (outcome is Outcome.UNCERTAIN and lenient):
                    continue
                decision = specification.unmeasured if outcome is Outcome.UNASSESSED else limit.decision
                yield _finding(limit, decision, outcome, defect.kind, (defect.number,), value)
                break


def _finding(
    limit: Limit,
    decision: Decision,
    outcome: Outcome,
    kind: str,
    defects: tuple[int, ...],
    value: Quantity | None = None,
) -> Finding:
    return Finding(
        rule=limit.key, decision=decision, outcome=outcome, kind=kind, defects=defects, limit=limit, value=value
    )


def _together(found: Iterable[Finding]) -> tuple[int, ...]:
    return tuple(sorted({number for each in found for number in each.defects}))


def refuse_millimetres(defects: Iterable[Defect]) -> None:
    """Refuse sizes in millimetres where no calibration holds: nobody knows where they come from.

    Raises:
        InvalidInput: There is one.
    """
    for defect in defects:
        if defect.size and defect.size.length.unit == "mm":
            raise InvalidInput(
                f"Defect {defect.number} is measured in mm, and no calibration holds for this image; measure it in px.",
                defect=defect.number,
            )
