"""What each defect leads to, and what only all of them together do."""

from __future__ import annotations

from evident_manufacturing.inspection.assess.described import ANY
from evident_manufacturing.inspection.schema import Decision, Inspection, Reason, Verdict


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
    """The limits on the count of all defects that were passed.

    One of zero is not among them: any single defect is beyond it by itself.
    """
    rules = {f"{ANY}.{decision}.count_max" for decision in Decision}
    return tuple(each for each in verdict.reasons if each.rule in rules and each.limit.strip(" 0."))
