"""What the aligner says of defects, as facts and claims beside those of the assessment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evident_core.evidence import Claim, InputRef
from evident_manufacturing.inspection.assess import Assessment
from evident_manufacturing.inspection.assess.ledger import Ledger
from evident_manufacturing.inspection.schema import Defect, Wording


def with_wordings(
    assessed: Assessment,
    defects: Sequence[Defect],
    wordings: Mapping[int, Wording],
    *,
    image: InputRef,
    mm_per_pixel: tuple[float, float] | None,
    chosen_by: str,
) -> Assessment:
    """The same with what the aligner says of some defects, each after the claim on the defect itself.

    Args:
        assessed: Of these defects.
        defects: Of the part.
        wordings: By the number of a defect.
        image: The tested image.
        mm_per_pixel: Of a calibration that holds.
        chosen_by: The aligner's version.
    """
    ledger = Ledger(image, 0, 0, mm_per_pixel)
    of = {f"defect.{defect.number}": defect for defect in defects if defect.number in wordings}
    claims = []
    for claim in assessed.claims:
        claims.append(claim)
        if defect := of.get(claim.id):
            said = wordings[defect.number]
            facts = {"number": claim.facts["number"], **ledger.wording(defect, said, chosen_by)}
            claims.append(
                Claim(
                    id=f"{claim.id}.wording",
                    predicate="defect_described",
                    facts=facts,
                    certainty=said.share,
                    topic="defects",
                )
            )
    return Assessment((*assessed.facts, *ledger.facts.values()), tuple(claims), assessed.verdict)
