"""What a specification would have decided on past boards, from what was measured of them then."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess import CalibrationState, Specification
from evident_manufacturing.inspection.assess.judge import findings, verdict
from evident_manufacturing.inspection.assess.judge import judged as counted
from evident_manufacturing.inspection.assess.zones import Misplaced
from evident_manufacturing.inspection.perceive.aligner import Whole, unit
from evident_manufacturing.inspection.perceive.naming import as_detected, by_description
from evident_manufacturing.inspection.schema import Decision, Inspection, Verdict
from evident_manufacturing.likeness import vectors_of
from evident_manufacturing.line import Board


class Change(Frozen):
    """A board on which a specification would decide otherwise than was decided.

    Attributes:
        reasons: The rules that the new decision rests on; none where it is to accept.
        no_longer: The rules that the old decision rested on and that would not be met.
    """

    job_id: str
    part_id: str
    before: Decision
    after: Decision
    reasons: tuple[str, ...]
    no_longer: tuple[str, ...]


class ZoneOff(Frozen):
    """A zone with limits that does not lie wholly on past boards.

    Attributes:
        boards: How many of them.
        message: What is wrong, in English.
        zone: Which it is, where it lies, and how large those boards are.
    """

    boards: int
    message: str
    zone: Misplaced


class Preview(Frozen):
    """What a specification would have decided on past boards.

    Attributes:
        specification: Its ``product@version``.
        boards: How many past boards of its product there are.
        without_product: How many past boards name no product; they are left out.
        before: How many of them were decided how.
        after: The same, by this specification; those that it would refuse are not among them.
        refused: How many it would refuse to judge, because a zone with limits lies outside of them.
        changes: The boards whose decision changes, newest first.
        zones: Zones with limits that do not lie wholly on some of them.
    """

    specification: str
    boards: int
    without_product: int
    before: dict[Decision, int]
    after: dict[Decision, int]
    refused: int
    changes: tuple[Change, ...]
    zones: tuple[ZoneOff, ...] = ()


def preview(specification: Specification, past: Sequence[Board]) -> Preview:
    """What a specification would have decided on past boards of its product.

    Args:
        specification: Of a product; boards that name another one, or none, are left out.
        past: The newest first.
    """
    judged = [
        (board, board.record.inspection)
        for board in past
        if board.record and _product(board.record.inspection) == specification.product
    ]
    vectors = vectors_of([board.result_id or "" for board, _ in judged]) if specification.described else {}
    after = [
        (board, inspection, judge(inspection, specification, vectors.get(board.result_id or "")))
        for board, inspection in judged
        if not _refused(inspection, specification)
    ]
    return Preview(
        specification=specification.name,
        boards=len(judged),
        without_product=sum(1 for board in past if board.record and not _product(board.record.inspection)),
        before=_counted([inspection.verdict.decision for _, inspection in judged]),
        after=_counted([decided.decision for _, _, decided in after]),
        refused=len(judged) - len(after),
        changes=tuple(
            Change(
                job_id=board.job_id,
                part_id=inspection.part.part_id,
                before=inspection.verdict.decision,
                after=decided.decision,
                reasons=_rules(decided),
                no_longer=tuple(each for each in _rules(inspection.verdict) if each not in _rules(decided)),
            )
            for board, inspection, decided in after
            if decided.decision is not inspection.verdict.decision
        ),
        zones=_off(specification, [inspection for _, inspection in judged]),
    )


def judge(inspection: Inspection, specification: Specification, vectors: Whole | None = None) -> Verdict:
    """What a specification says of a board that was inspected before, from what was measured then.

    Args:
        inspection: Of that board.
        specification: It describes kinds of its own: then they are named anew, from ``vectors``.
        vectors: Of the board's defects; None, or none: a kind that was named then stays where it is described now.
    """
    if vectors is not None and len(vectors) == len(inspection.defects):
        defects = by_description(inspection.defects, unit(vectors.astype(np.float32)), specification.descriptions)
    else:
        defects = as_detected(inspection.defects, but=specification.descriptions)
    state = _state(inspection)
    found = findings(
        defects,
        specification,
        width=inspection.width,
        height=inspection.height,
        alignment=inspection.alignment,
        mm_per_pixel=inspection.mm_per_pixel,
    )
    described = [each.number for each in counted(defects, specification) if each.naming]
    return verdict(
        found, specification, calibration=state, template=inspection.template is not None, described=described
    )


def _refused(inspection: Inspection, specification: Specification) -> bool:
    """Whether a board like this one would not be judged at all, as an inspection would refuse it."""
    zones = specification.misplaced(inspection.width, inspection.height, inspection.mm_per_pixel)
    return any(each.outside for each in zones)


def _product(inspection: Inspection) -> str:
    """Which product a board is: as was said, or that of the specification which its verdict cites; empty: unknown."""
    return inspection.part.product or inspection.verdict.specification.rpartition("@")[0]


def _rules(decided: Verdict) -> tuple[str, ...]:
    """The rules that a decision rests on, with their limits."""
    return tuple(f"{each.rule} {each.limit}".strip() for each in decided.reasons if each.decision is decided.decision)


def _state(inspection: Inspection) -> CalibrationState:
    """How the calibration stood on the day of the inspection, as its verdict says."""
    rules = {reason.rule for reason in inspection.verdict.reasons}
    for state in (CalibrationState.MISSING, CalibrationState.EXPIRED):
        if f"calibration_{state}" in rules:
            return state
    return CalibrationState.VALID


def _off(specification: Specification, past: Sequence[Inspection]) -> tuple[ZoneOff, ...]:
    """The zones that lie outside of past boards first, then those that reach beyond them."""
    counted: dict[tuple[str, str, int, int], list[Misplaced]] = {}
    for each in past:
        for zone in specification.misplaced(each.width, each.height, each.mm_per_pixel):
            counted.setdefault((zone.zone, zone.where, each.width, each.height), []).append(zone)
    # Of boards of one size, one with a calibration says that also in mm.
    told = [(max(them, key=lambda each: len(each.board)), len(them)) for them in counted.values()]
    found = sorted(told, key=lambda item: (not item[0].outside, item[0].zone, -item[1]))
    return tuple(ZoneOff(boards=boards, message=zone.message, zone=zone) for zone, boards in found)


def _counted(decisions: Sequence[Decision]) -> dict[Decision, int]:
    counted = Counter(decisions)
    return {decision: counted[decision] for decision in Decision}
