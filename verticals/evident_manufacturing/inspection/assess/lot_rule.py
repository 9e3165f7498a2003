"""How lots of a product are sampled: the key ``lot`` of its specification, as ``{size: 500, level: II, aql: 1.0}``."""

from __future__ import annotations

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess import sampling
from evident_manufacturing.inspection.assess.document import Node
from evident_manufacturing.inspection.assess.sampling import Inspection, Plan

_SUCH = "lot: {size: 500, level: II, aql: 1.0}"


class LotRule(Frozen):
    """How lots are sampled (ISO 2859-1).

    Attributes:
        size: Boards in a lot.
        aql: Percent of nonconforming boards.
        level: Inspection level.
        reduced: Production is steady, and reduced inspection is wanted (9.3.3.1 b and c).
    """

    size: int
    aql: float
    level: str = "II"
    reduced: bool = False

    def plan(self, inspection: Inspection = "normal") -> Plan:
        """The plan of a lot under a severity."""
        return sampling.plan(self.size, self.aql, self.level, inspection)


def read_lot(node: Node) -> LotRule:
    """The rule that a specification gives.

    Raises:
        InvalidInput: Size or AQL is missing, or the standard has no plan for them; the message names the line.
    """
    fields = node.fields("size", "level", "aql", "reduced")
    for needed in ("size", "aql"):
        if needed not in fields:
            node.refuse(f"a lot needs {needed}, such as {_SUCH}.")
    level = fields["level"].text if "level" in fields else "II"
    if level not in sampling.LEVELS:
        fields["level"].refuse(f"{level!r} is not an inspection level; there are {', '.join(sampling.LEVELS)}.")
    reduced = fields["reduced"].text if "reduced" in fields else "false"
    if reduced not in ("true", "false"):
        fields["reduced"].refuse(f"reduced is true or false, and {reduced!r} is neither.")
    return LotRule(size=_size(fields["size"]), aql=_aql(fields["aql"]), level=level, reduced=reduced == "true")


def _size(node: Node) -> int:
    size = node.number()
    if size != int(size) or size < 2:
        node.refuse(f"size is a whole number of boards from 2 on, and {node.text} is not; a single board has no lot.")
    return int(size)


def _aql(node: Node) -> float:
    aql, known = float(node.number()), [each for each in sampling.aqls() if each <= sampling.HIGHEST_PERCENT]
    if aql > sampling.HIGHEST_PERCENT:
        node.refuse(
            f"aql is a percentage of nonconforming boards, at most {sampling.HIGHEST_PERCENT:g}; {node.text} would "
            "count defects per 100 boards, for which each kind has its own count_max."
        )
    if aql not in known:
        near = min(known, key=lambda each: abs(each - aql))
        node.refuse(
            f"ISO 2859-1 has no AQL {node.text}; the nearest is {near:g}, and there are "
            f"{', '.join(f'{each:g}' for each in known)}."
        )
    return aql
