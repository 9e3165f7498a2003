"""What the template shows and what the detector sees, brought together: which of it is a defect, and how surely.

Each place that either of them names is a proposal. Its probability is a logistic function (Cox, 1958) of what both
know of it, whose few coefficients were fitted on boards that neither was trained on, and lie beside the model. So what
only one of them sees is kept or dropped by how often it was right when it was alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput, ModelNotReady
from evident_core.evidence import BBox, Frozen
from evident_manufacturing.inspection.perceive.difference import Difference, mask_of
from evident_manufacturing.inspection.schema import Candidate, Detection, Seen

Gray = NDArray[np.uint8]
NEAR: Final = 3.0
"""Pixels around a detector's box within which a difference is its own."""
GROWN: Final = 10.0
"""Pixels by which a box is larger than its difference on each side, where a person draws it: of 7 to 14, those whose
boxes overlap the labels of 100 training pairs of DeepPCB best (median IoU 0.88)."""
FLOOR: Final = 0.02
"""Least score of a box that no difference supports."""
SAME: Final = 0.55
"""Overlap (IoU) from which two boxes are of one defect, whatever their kinds."""
_CELL: Final = 256
FEATURES: Final = ("score", "log_area", "contrast", "thickness")


class Weights(Frozen):
    """Coefficients of one case: an intercept, and one for each of :data:`FEATURES`."""

    intercept: float
    score: float = 0.0
    log_area: float = 0.0
    contrast: float = 0.0
    thickness: float = 0.0


class ArbiterModel(Frozen):
    """Fitted coefficients by who saw a place, and the probability from which it is reported."""

    both: Weights
    golden: Weights
    learned: Weights
    threshold: float
    fitted_on: str


def read_arbiter(folder: Path) -> ArbiterModel:
    """The coefficients of a model's folder.

    Raises:
        ModelNotReady: There are none.
        InvalidInput: They cannot be read.
    """
    path = folder / "arbiter.json"
    if not path.is_file():
        raise ModelNotReady(f"There is no arbiter.json in {folder}; fit one: python -m {_FIT}.", path=str(path))
    try:
        return ArbiterModel.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise InvalidInput(f"{path} does not hold an arbiter's coefficients: {error}", path=str(path)) from error


_FIT: Final = "evident_manufacturing.training.arbiter"


@dataclass(frozen=True)
class Proposal:
    """A place that may be a defect: what was detected there, and the differences that lie in it."""

    bbox: BBox
    kind: str
    seen: Seen
    score: float
    candidates: tuple[Candidate, ...]

    @property
    def features(self) -> dict[str, float]:
        """What the logistic function is of: the score's logit, and of the differences the logarithm of their area in
        pixels, the largest contrast (0 to 1) and thickness (pixels).
        """
        clipped = min(max(self.score, 1e-4), 1 - 1e-4)
        areas = sum(each.area for each in self.candidates)
        return {
            "score": math.log(clipped / (1 - clipped)),
            "log_area": math.log(areas) if areas else 0.0,
            "contrast": max((each.contrast for each in self.candidates), default=0.0),
            "thickness": max((_thickness(each) for each in self.candidates), default=0.0),
        }

    def probability(self, model: ArbiterModel) -> float:
        """That it is a defect."""
        weights: Weights = getattr(model, self.seen.value)
        z = weights.intercept + sum(getattr(weights, name) * value for name, value in self.features.items())
        return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, z))))


def propose(
    detections: Sequence[Detection],
    found: Difference | None,
    test: Gray,
    template: Gray | None,
    *,
    floor: float = FLOOR,
) -> list[Proposal]:
    """Bring boxes and differences together.

    Args:
        detections: Of the detector; those under ``floor`` count only as a hint where a difference is.
        found: The differences from the template; None without one.
        test: uint8 [H, W].
        template: uint8 [H, W], as it lies under the test.
        floor: Least score of a box that nothing else supports.
    """
    candidates = found.candidates if found is not None else ()
    kept = suppress([each for each in detections if candidates or each.score >= floor])
    own: list[list[Candidate]] = [[] for _ in kept]
    alone: list[Candidate] = []
    for candidate in candidates:
        holders = [index for index, each in enumerate(kept) if _holds(each.bbox, candidate.bbox)]
        if holders:
            own[holders[0]].append(candidate)  # the surest, as they are in order
        else:
            alone.append(candidate)
    proposals = [
        Proposal(each.bbox, each.kind, Seen.BOTH if parts else Seen.LEARNED, each.score, tuple(parts))
        for each, parts in zip(kept, own, strict=True)
        if parts or each.score >= floor
    ]
    if template is not None:
        for candidate in alone:
            box = grown([candidate.bbox], test.shape)
            kind = kind_of(candidate, test, template)
            proposals.append(Proposal(box, kind, Seen.GOLDEN, 0.0, (candidate,)))
    return proposals


def grown(boxes: Sequence[BBox], shape: tuple[int, ...]) -> BBox:
    """One box around several, with the margin that labels have, within a picture of that shape (H, W)."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return (
        max(0.0, min(x0) - GROWN),
        max(0.0, min(y0) - GROWN),
        min(float(shape[1]), max(x1) + GROWN),
        min(float(shape[0]), max(y1) + GROWN),
    )


def suppress(detections: Sequence[Detection], same: float = SAME) -> list[Detection]:
    """The surest of boxes that are of one defect, the surest first."""
    kept: list[Detection] = []
    near: dict[tuple[int, int], list[BBox]] = {}  # by place: a line scan has thousands
    for each in sorted(detections, key=lambda one: -one.score):
        x0, y0, x1, y1 = each.bbox
        rows, columns = (range(int(a // _CELL), int(b // _CELL) + 1) for a, b in ((y0, y1), (x0, x1)))
        cells = list(product(rows, columns))
        if all(overlap(each.bbox, other) < same for cell in cells for other in near.get(cell, ())):
            kept.append(each)
            for cell in cells:
                near.setdefault(cell, []).append(each.bbox)
    return kept


def overlap(a: BBox, b: BBox) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def kind_of(candidate: Candidate, test: Gray, template: Gray) -> str:
    """What a difference is by how it touches the conductors (dark) around it.

    More conductor that touches two of the template's is a short, one a spur, none copper. Less conductor that parts
    one is an open, that lies within one a pinhole, else a mousebite.
    """
    x0, y0, x1, y1 = (int(each) for each in candidate.bbox)
    margin = max(16, (x1 - x0) // 2, (y1 - y0) // 2)
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    window = np.s_[top : min(test.shape[0], y1 + margin), left : min(test.shape[1], x1 + margin)]
    blob = np.zeros(test[window].shape, np.uint8)
    blob[y0 - top : y1 - top, x0 - left : x1 - left] = mask_of(candidate)
    ring = cv2.dilate(blob, np.ones((7, 7), np.uint8)) > 0
    if candidate.added:
        conductors = cv2.connectedComponents((template[window] < 128).astype(np.uint8))[1]
        touched = len(np.unique(conductors[ring & (conductors > 0)]))
        return "short" if touched > 1 else "spur" if touched else "copper"
    # The blob again a little larger, or its own blurred rim would still join what it parts.
    rest = ((test[window] < 128) & (cv2.dilate(blob, np.ones((3, 3), np.uint8)) == 0)).astype(np.uint8)
    pieces = cv2.connectedComponents(rest)[1]
    before = cv2.connectedComponents((template[window] < 128).astype(np.uint8))[1]
    own = np.unique(before[(blob > 0) & (before > 0)])
    parted = len(np.unique(pieces[ring & (pieces > 0)]))
    if parted > max(1, len(own)):
        return "open"
    inside = bool(np.all(template[window][ring] < 128))
    return "pinhole" if inside else "mousebite"


def _holds(box: BBox, inner: BBox) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return box[0] - NEAR <= x <= box[2] + NEAR and box[1] - NEAR <= y <= box[3] + NEAR


def _thickness(candidate: Candidate) -> float:
    """Twice the largest distance of one of its pixels from its rim: what tells a blob from a displaced edge."""
    mask = np.pad(mask_of(candidate).astype(np.uint8), 1)
    return 2.0 * float(cv2.distanceTransform(mask, cv2.DIST_L2, 3).max())
