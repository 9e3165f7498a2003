"""What each defect leads to, and what only all of them together do."""

from __future__ import annotations

from collections.abc import Iterable

from evident_manufacturing.inspection.assess.described import ANY
from evident_manufacturing.inspection.assess.ledger import SIZES
from evident_manufacturing.inspection.assess.specification import QUANTITIES
from evident_manufacturing.inspection.schema import Decision, Defect, Inspection, Quantity, Reason, Verdict


def called(inspection: Inspection) -> dict[int, str]:
    """What each defect leads to by its own kind, size and zone, by number.

    A decision, or ``unjudged`` below the specification's score. What a limit on the count of all defects of the board
    leads to is not theirs (:func:`of_the_board`): each of them could be left as it is were there fewer others.
    """
    facts = {fact.id: fact for fact in inspection.facts}
    unjudged = {
        int(facts[claim.facts["number"]].number) for claim in inspection.claims if claim.predicate == "score_below"
    }
    together = of_the_board(inspection.verdict)
    found: dict[int, str] = {}
    for decision in (Decision.ACCEPT, Decision.REWORK, Decision.REJECT):
        for reason in inspection.verdict.reasons:
            if reason.decision is decision and reason not in together:
                found |= dict.fromkeys(reason.defects, str(decision))
    return {
        defect.number: found.get(defect.number, "unjudged" if defect.number in unjudged else str(Decision.ACCEPT))
        for defect in inspection.defects
    }


def of_the_board(verdict: Verdict) -> tuple[Reason, ...]:
    """The limits on the count of all defects, of the board or in a zone of it, that were passed.

    One of zero is not among them: any single defect is beyond it by itself.
    """
    return tuple(each for each in verdict.reasons if _counts_all(each.rule) and each.limit.strip(" 0."))


def unmeasured(reason: Reason, defects: Iterable[Defect]) -> tuple[int, ...]:
    """The defects of a reason that no size shows to be beyond its limit: it could not be assessed of them.

    Args:
        reason: Of a verdict.
        defects: All of the part.
    """
    quantity = reason.rule.rpartition(".")[2].rpartition("_")[0]
    if quantity not in SIZES:
        return ()
    sizes: dict[int, Quantity | None] = {
        each.number: getattr(each.size, quantity) if each.size else None for each in defects
    }
    found = ((number, sizes.get(number)) for number in reason.defects)
    return tuple(number for number, size in found if size is None or size.unit != QUANTITIES[quantity])


def _counts_all(rule: str) -> bool:
    place, _, asked = rule.rpartition(".")
    place, _, decision = place.rpartition(".")  # a zone's name may have points
    return place.partition("@")[0] == ANY and asked == "count_max" and decision in tuple(Decision)
