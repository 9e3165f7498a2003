"""Labels that nobody gave: places where golden differencing, or it and the detector together, are sure.

Weak labels (no detector yet): a difference that is surely thicker than a displaced edge is a defect, of the kind that
the conductors around it give. Self-training (D.-H. Lee, "Pseudo-Label", 2013; two views that must agree as in
co-training: Blum and Mitchell, 1998): a box is a label only where detector and difference both see it, surely, and as
the same kind. Its box is the difference's: a detector that is taught its own boxes moves them a little in each round,
and they drift from what a person would draw. A picture with any place that is neither surely a defect nor surely none
is left out whole: taught without that box, a missed defect would become background.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.evidence import BBox
from evident_manufacturing.inspection.evaluate.metrics import Boxes
from evident_manufacturing.inspection.perceive.arbiter import Proposal, grown, kind_of, propose
from evident_manufacturing.inspection.perceive.difference import TOLERANCE, Difference
from evident_manufacturing.inspection.schema import KINDS, Detection, Seen

Gray = NDArray[np.uint8]
NO_DEFECT: Final = float(TOLERANCE + 1)
"""Pixels: a difference up to this thick is an edge that moved by the tolerance, and its blur."""
SURE: Final = float(2 * TOLERANCE)
"""Pixels: a thicker difference is no moved edge, as both sides of a line would have to have moved."""
SEEN: Final = 0.25
"""Score from which a detector's box counts as seen (Ultralytics' default): there its vote is a half, 1 at twice it."""
HINT: Final = 0.1
"""Score below which a box is nothing, unless the template speaks for it."""
AGREED: Final = 0.5
"""Least vote of each of the two for a label."""
READY: Final = 0.9
"""Share of the template's sure places that a detector must confirm before its silence counts for anything."""


@dataclass(frozen=True)
class Place:
    """A place that detector or template names, and the vote of each that it is a defect, 0 to 1.

    Attributes:
        kind: As the detector names it, or the conductors around it where the detector is silent.
        by_template: As the conductors around its largest difference name it; empty: there is no difference.
        around: Box around its differences, with the margin of a label; None: there is none.
    """

    bbox: BBox
    kind: str
    by_template: str
    detector: float
    template: float
    around: BBox | None = None

    @property
    def vote(self) -> float:
        """Of the two together that it is a defect, 0 to 1."""
        return (self.detector + self.template) / 2

    @property
    def alike(self) -> bool:
        """Whether no two kinds are named."""
        return self.by_template in ("", self.kind)


def places(detections: Sequence[Detection], found: Difference, test: Gray, laid: Gray) -> list[Place]:
    """Every place of a pair that anything speaks for.

    Args:
        detections: Of the detector; empty where there is none yet.
        found: The differences from the template.
        test: uint8 [H, W].
        laid: uint8 [H, W], the template as it lies under the test.
    """
    return [_place(each, test, laid) for each in propose(detections, found, test, laid, floor=HINT)]


def ready(boards: Sequence[Sequence[Place]]) -> bool:
    """Whether a detector has learned enough to be one of two that agree; until then the template's labels stand."""
    sure = [each for seen in boards for each in seen if each.template >= AGREED]
    confirmed = sum(each.alike and each.detector >= AGREED for each in sure)
    return bool(sure) and confirmed >= READY * len(sure)


def golden_labels(seen: Sequence[Place]) -> Boxes | None:
    """Labels of a picture by its template alone, of places that no detector was asked about; None: one is ambiguous."""
    return _labels(seen, lambda each: each.template >= AGREED, lambda each: each.template == 0.0)


def agreed_labels(seen: Sequence[Place]) -> Boxes | None:
    """Labels of a picture on which detector and template agree; None: a place is ambiguous."""
    return _labels(
        seen,
        lambda each: each.alike and min(each.detector, each.template) >= AGREED,
        lambda each: each.template == 0.0 and each.detector < AGREED,
    )


def _labels(seen: Sequence[Place], defect: Callable[[Place], bool], nothing: Callable[[Place], bool]) -> Boxes | None:
    kept = [each for each in seen if defect(each)]
    if any(not nothing(each) for each in seen if each not in kept):
        return None
    return Boxes(
        np.array([each.around or each.bbox for each in kept], np.float64).reshape(-1, 4),
        np.array([KINDS.index(each.kind) for each in kept], np.int64),
        np.array([each.vote for each in kept], np.float64),
    )


def _place(proposal: Proposal, test: Gray, laid: Gray) -> Place:
    detector = min(1.0, proposal.score / (2 * SEEN))
    if not proposal.candidates:
        return Place(proposal.bbox, proposal.kind, "", detector, 0.0)
    largest = max(proposal.candidates, key=lambda each: each.area)
    named = proposal.kind if proposal.seen is Seen.GOLDEN else kind_of(largest, test, laid)
    thick = (proposal.features["thickness"] - NO_DEFECT) / (SURE - NO_DEFECT)
    around = grown([each.bbox for each in proposal.candidates], test.shape)
    return Place(proposal.bbox, proposal.kind, named, detector, min(1.0, max(0.0, thick)), around)
