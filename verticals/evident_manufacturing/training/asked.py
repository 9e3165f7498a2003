"""What a person who is asked meets: errors of the labels that nobody gave, on the boards that are chosen first.

``python -m evident_manufacturing.training.asked MODEL --pack .pack``

Without training: a model that is exported looks at the validation pairs, which it was not trained on. It stands for the
detector of a late round; early ones know less.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate import OFFICIAL_IOU, labels_of
from evident_manufacturing.inspection.evaluate.metrics import Boxes, overlaps
from evident_manufacturing.inspection.evaluate.pairs import Pair, unpack
from evident_manufacturing.inspection.perceive.detector import Detector
from evident_manufacturing.inspection.perceive.tiles import Detect
from evident_manufacturing.training.choose import look, order
from evident_manufacturing.training.weak import agreed_labels, golden_labels

SHARES: Final = (0.05, 0.10, 0.20, 0.40)
_DRAWS: Final = 200


class Asked(Frozen):
    """Errors (labels that are wrong, and defects without one) of golden differencing's labels, and who meets them.

    Attributes:
        boards: How many have an error.
        agreed: Labels on which detector and template agree, with errors on those boards.
        active: Share of all errors on the boards that are chosen first, by the share of labels they take.
        random: The same of boards in any order, mean of many.
    """

    labels: int
    errors: int
    boards: int
    agreed: tuple[int, int]
    active: dict[float, float]
    random: dict[float, float]


def measure(pairs: Sequence[Pair], detect: Detect) -> Asked:
    """Look at labelled pairs as a round of the loop does, and count.

    Raises:
        InvalidInput: A template does not fit its board.
    """
    truth = [labels_of(pair) for pair in pairs]
    counts = np.array([len(each.kinds) for each in truth])
    wrong = np.zeros(len(pairs), np.int64)
    for index, (seen, labels) in enumerate(zip(look(pairs), truth, strict=True)):
        given = golden_labels(seen.places)
        wrong[index] = len(labels.kinds) if given is None else errors(given, labels)
    looks = look(pairs, detect)
    told = [(agreed_labels(seen.places), labels) for seen, labels in zip(looks, truth, strict=True)]
    agreed = [(given, labels) for given, labels in told if given is not None]

    def met(queue: NDArray[np.int64], share: float) -> float:
        within = np.cumsum(counts[queue]) <= share * counts.sum()
        return float(wrong[queue][within].sum() / max(1, wrong.sum()))

    rng = np.random.default_rng(0)
    draws = [rng.permutation(len(pairs)) for _ in range(_DRAWS)]
    first = np.array(order(looks))
    return Asked(
        labels=int(counts.sum()),
        errors=int(wrong.sum()),
        boards=int((wrong > 0).sum()),
        agreed=(sum(len(given.kinds) for given, _ in agreed), sum(errors(*each) for each in agreed)),
        active={share: round(met(first, share), 3) for share in SHARES},
        random={share: round(float(np.mean([met(draw, share) for draw in draws])), 3) for share in SHARES},
    )


def errors(given: Boxes, truth: Boxes) -> int:
    """Labels that no true one matches (kind, and IoU 0.33), and true ones that none matches."""
    same = (given.kinds[:, None] == truth.kinds[None, :]) & (overlaps(given.xyxy, truth.xyxy) >= OFFICIAL_IOU)
    return int((~same.any(axis=1)).sum() + (~same.any(axis=0)).sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    given = parser.parse_args()
    print(measure(list(unpack(given.pack / "val")), Detector(given.model).detect).model_dump_json(indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
