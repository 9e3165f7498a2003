"""Which lots of a product pass, and under which severity the next one is inspected (ISO 2859-1).

- A board conforms where its verdict is accept. One to rework does not: as it came, it is beyond a limit.
- The sample is the first n parts of the lot, in the order in which each was first inspected. Each part counts once, as
  it was found then (*original* inspection): rework mends a board, and neither the rest of its lot nor the process.
  Parts after the sample are inspected all the same, and do not count.
- The lot is not accepted as soon as Re parts of the sample do not conform, and accepted when all n are inspected and
  at most Ac do not. Until then it is open.
- Severity switches on the same (9.3). It holds from the first board of a lot on. So a lot begins under what the lots
  that were settled by then left, and one that is settled later under another severity switches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess.lot_rule import LotRule
from evident_manufacturing.inspection.assess.sampling import (
    LotDecision,
    Plan,
    Standing,
    lot_decision,
    resume,
    switch,
)
from evident_manufacturing.inspection.schema import Decision


@dataclass(frozen=True, slots=True)
class Judged:
    """One inspection of a part of a lot; ``weak`` as its verdict has it."""

    part_id: str
    decision: Decision
    inspected: datetime
    revision: int = 1
    weak: bool = False
    job_id: str = ""

    @property
    def conforms(self) -> bool:
        """Whether the board keeps its specification as it is: only "accept" says so."""
        return self.decision is Decision.ACCEPT


@dataclass(frozen=True, slots=True)
class LotPart:
    """A part of a lot: its first and its newest inspection, which are the same where there was one."""

    first: Judged
    newest: Judged

    @property
    def mended(self) -> bool:
        """Whether it conforms only since it was inspected again."""
        return self.newest.conforms and not self.first.conforms


class LotVerdict(StrEnum):
    """What the sample says of its lot."""

    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    OPEN = "open"


LotReason = Literal["sample_passed", "reject_reached", "sample_incomplete", "no_rule", "stopped"]


class LotResult(Frozen):
    """A lot's verdict and what it rests on.

    Attributes:
        began: When its first board was inspected.
        plan: None where there is none: no rule, or inspection was stopped.
        verdict: None where there is no plan.
        inspected: Parts of the sample so far.
        nonconforming: How many of them did not conform when they were first inspected.
        mended: How many of these conform since they were inspected again.
        weak: How many of them were judged on weaker evidence.
        parts: Parts of the whole lot so far.
        parts_nonconforming: How many of all these do not conform now.
    """

    lot: str
    began: datetime
    rule: LotRule | None
    plan: Plan | None
    verdict: LotVerdict | None
    reason: LotReason
    inspected: int = 0
    nonconforming: int = 0
    mended: int = 0
    weak: int = 0
    parts: int
    parts_nonconforming: int


def parts_of(boards: Iterable[Judged]) -> list[LotPart]:
    """The parts of a lot, in the order in which each was first inspected."""
    first: dict[str, Judged] = {}
    newest: dict[str, Judged] = {}
    for board in sorted(boards, key=lambda each: (each.inspected, each.job_id)):
        first.setdefault(board.part_id, board)
        if board.revision >= newest.setdefault(board.part_id, board).revision:
            newest[board.part_id] = board
    return [LotPart(first=first[each], newest=newest[each]) for each in first]


def judge_lots(
    lots: Mapping[str, Sequence[Judged]], rules: Mapping[str, LotRule | None], resumed: Iterable[datetime] = ()
) -> tuple[tuple[LotResult, ...], Standing]:
    """The lots of one product in the order in which they began, and what they leave to the next.

    Args:
        lots: Every inspection of each lot by its name, at least one, in any order.
        rules: Of each lot; None: it is not sampled.
        resumed: When a person resumed inspection that was stopped.
    """
    parts = {name: parts_of(boards) for name, boards in lots.items()}
    # What moves the severity, by its time: a lot that is settled, or None where inspection is resumed.
    events: list[tuple[datetime, LotDecision | None]] = [(at, None) for at in resumed]
    standing, found = Standing(), []
    for name in sorted(parts, key=lambda each: (parts[each][0].first.inspected, each)):
        began, rule = parts[name][0].first.inspected, rules[name]
        standing = _after(standing, [each for each in events if each[0] <= began], rule)
        events = [each for each in events if each[0] > began]
        plan = rule.plan(standing.inspection) if rule and not standing.stopped else None
        found.append(_result(name, parts[name], rule, plan))
        if plan and (settled := _settled(plan, parts[name])):
            events.append(settled)
        last = rule
    return tuple(found), _after(standing, events, last if found else None)


def _result(name: str, parts: Sequence[LotPart], rule: LotRule | None, plan: Plan | None) -> LotResult:
    about = {
        "lot": name,
        "began": parts[0].first.inspected,
        "rule": rule,
        "plan": plan,
        "parts": len(parts),
        "parts_nonconforming": sum(not each.newest.conforms for each in parts),
    }
    if plan is None:
        return LotResult(**about, verdict=None, reason="stopped" if rule else "no_rule")
    sample = parts[: plan.sample_size]
    decision = _decide(plan, [each.first for each in sample])
    verdict = _verdict(decision)
    reasons: dict[LotVerdict, LotReason] = {
        LotVerdict.ACCEPTED: "sample_passed",
        LotVerdict.NOT_ACCEPTED: "reject_reached",
        LotVerdict.OPEN: "sample_incomplete",
    }
    return LotResult(
        **about,
        verdict=verdict,
        reason=reasons[verdict],
        inspected=decision.inspected,
        nonconforming=decision.nonconforming,
        mended=sum(each.mended for each in sample),
        weak=sum(each.first.weak for each in sample),
    )


def _decide(plan: Plan, sample: Sequence[Judged]) -> LotDecision:
    return lot_decision(plan, sum(not each.conforms for each in sample), len(sample))


def _verdict(decision: LotDecision) -> LotVerdict:
    if decision.accepted is None:
        return LotVerdict.OPEN
    return LotVerdict.ACCEPTED if decision.accepted else LotVerdict.NOT_ACCEPTED


def _settled(plan: Plan, parts: Sequence[LotPart]) -> tuple[datetime, LotDecision] | None:
    """When original inspection settled a lot, and how; None: it has not."""
    firsts = [each.first for each in parts[: plan.sample_size]]
    for count, board in enumerate(firsts, 1):
        if not board.conforms or count == plan.sample_size:
            decision = _decide(plan, firsts[:count])
            if decision.accepted is not None:
                return board.inspected, decision
    return None


def _after(standing: Standing, events: Sequence[tuple[datetime, LotDecision | None]], rule: LotRule | None) -> Standing:
    """The severity after some events, in the order of their time."""
    wanted = rule is not None and rule.reduced
    for _, decision in sorted(events, key=lambda each: each[0]):
        if decision is None:
            standing = resume(standing)
        elif not standing.stopped and decision.plan.inspection == standing.inspection:
            standing = switch(standing, decision, steady=wanted, reduce=wanted)
    # A specification that no longer asks for reduced inspection ends it.
    return Standing() if standing.inspection == "reduced" and not wanted else standing
