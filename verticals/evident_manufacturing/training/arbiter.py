"""Fit the arbiter: how often a place is a defect, by who saw it and how.

``python -m evident_manufacturing.training.arbiter FOLDER --pack .pack [--boards 150]``

It is fitted on DeepPCB's validation part and generated boards, neither of which the detector was trained on; what only
the detector sees on as many boards again, of small defects or of none, as there it is needed and there it errs. The
figure it prints is of two halves, each judged by the coefficients of the other; what is written is fitted on both.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import InvalidInput
from evident_manufacturing.inspection.evaluate import OFFICIAL_IOU, boxes_of, labels_of, see
from evident_manufacturing.inspection.evaluate.metrics import Boxes, average_precision, best_operating, overlaps
from evident_manufacturing.inspection.evaluate.pairs import Pair, unpack
from evident_manufacturing.inspection.perceive import Models
from evident_manufacturing.inspection.perceive.arbiter import FEATURES, ArbiterModel, Proposal, Weights
from evident_manufacturing.inspection.perceive.detector import Detector, name_beside
from evident_manufacturing.inspection.schema import KINDS, Seen
from evident_manufacturing.training.detector import generated

Float = NDArray[np.float64]
USED: Final = {
    Seen.BOTH: ("score", "log_area", "contrast", "thickness"),
    Seen.GOLDEN: ("log_area", "contrast", "thickness"),
    Seen.LEARNED: ("score", "log_area", "contrast", "thickness"),
}
"""What each case's probability is of: there is no score where only the template sees."""
FIRST_SEED: Final = 3_000_000
"""Of the generated boards."""
HARD: Final[tuple[tuple[int, float, Mapping[str, object]], ...]] = (
    (3_500_000, 0.6, {"sizes_mm": (0.05, 0.2)}),
    (3_600_000, 0.4, {"defects": 0}),
)
"""Boards for what only the detector sees: first seed, share of their number, and how they are made."""
_RIDGE: Final = 0.05
_PLAIN: Final = ArbiterModel(
    both=Weights(intercept=0.0, score=1.0),
    golden=Weights(intercept=-4.0),
    learned=Weights(intercept=0.0, score=1.0),
    threshold=0.5,
    fitted_on="",
)


@dataclass(frozen=True)
class Example:
    """The places of one pair and which of them are defects."""

    proposals: tuple[Proposal, ...]
    right: NDArray[np.bool_]
    labels: Boxes


def gather(pairs: Sequence[Pair], models: Models) -> list[Example]:
    """All places that are seen in pairs; pairs whose template does not fit have none."""
    found = []
    for pair in pairs:
        try:
            proposals = tuple(each for each, _ in see(pair, models))
        except InvalidInput:
            continue
        labels = labels_of(pair)
        found.append(Example(proposals, _right(proposals, labels), labels))
    return found


def fit(examples: Sequence[Example], told: str, hard: Sequence[Example] = ()) -> ArbiterModel:
    """The coefficients, and the threshold of the best F on the examples that are not hard."""
    cases = {}
    for seen, names in USED.items():
        mine = [
            (each, ok)
            for one in [*examples, *(hard if seen is Seen.LEARNED else ())]
            for each, ok in zip(one.proposals, one.right, strict=True)
            if each.seen is seen
        ]
        x = np.array([[each.features[name] for name in names] for each, _ in mine], np.float64).reshape(-1, len(names))
        cases[seen.value] = _weights(names, _logistic(x, np.array([ok for _, ok in mine], np.float64)))
    model = ArbiterModel(**cases, threshold=0.5, fitted_on=told)
    best = best_operating(*_judged(examples, model), OFFICIAL_IOU)
    return model.model_copy(update={"threshold": round(best.threshold, 4)})


def _judged(examples: Sequence[Example], model: ArbiterModel) -> tuple[list[Boxes], list[Boxes]]:
    found = [boxes_of([(each, each.probability(model)) for each in one.proposals]) for one in examples]
    return found, [one.labels for one in examples]


def _right(proposals: Sequence[Proposal], labels: Boxes) -> NDArray[np.bool_]:
    right, free = np.zeros(len(proposals), np.bool_), np.ones(len(labels.kinds), np.bool_)
    for index in sorted(range(len(proposals)), key=lambda i: (proposals[i].seen is Seen.GOLDEN, -proposals[i].score)):
        each = proposals[index]
        over = overlaps(np.array([each.bbox]), labels.xyxy)[0] if len(labels.xyxy) else np.empty(0)
        over = np.where(free & (labels.kinds == KINDS.index(each.kind)), over, -1.0)
        if len(over) and over.max() >= OFFICIAL_IOU:
            right[index], free[int(over.argmax())] = True, False
    return right


def _logistic(x: Float, y: Float) -> Float:
    """Ridge-penalised maximum likelihood by Newton's method (Cox, 1958); features are scaled meanwhile."""
    if not len(y) or y.min() == y.max():
        share = (y.sum() + 0.5) / (len(y) + 1.0)
        return np.array([np.log(share / (1 - share)), *np.zeros(x.shape[1])])
    middle, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(x)), (x - middle) / spread])
    ridge = np.diag([0.0, *np.full(x.shape[1], _RIDGE * 10)])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        step = np.linalg.solve(
            (design * (p * (1 - p) + 1e-9)[:, None]).T @ design + ridge, design.T @ (y - p) - ridge @ beta
        )
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    slopes = beta[1:] / spread
    return np.array([beta[0] - float(slopes @ middle), *slopes])


def _weights(names: Sequence[str], beta: Float) -> Weights:
    values = dict.fromkeys(FEATURES, 0.0) | {name: round(float(b), 5) for name, b in zip(names, beta[1:], strict=True)}
    return Weights(intercept=round(float(beta[0]), 5), **values)


def fit_for(folder: Path, pairs: Sequence[Pair], boards: int) -> ArbiterModel:
    """Fit the arbiter of a fused model on pairs and generated boards, and write ``arbiter.json`` beside it.

    Args:
        folder: Of the model.
        pairs: That it was not trained on.
        boards: How many generated ones.
    """
    models = Models(fused=Detector(folder), arbiter=_PLAIN)
    real, made, hard = gather(pairs, models), gather(list(generated(FIRST_SEED, boards)), models), _hard(boards, models)
    model = fit([*real, *made], _told(f"{len(real)} pairs", made, hard), hard)
    _write(folder, model)
    return model


def _hard(boards: int, models: Models) -> list[Example]:
    """As many boards again, for what only the detector sees."""
    made = (generated(first, round(share * boards), **how) for first, share, how in HARD)
    return gather([pair for some in made for pair in some], models)


def _told(pairs: str, made: Sequence[Example], hard: Sequence[Example]) -> str:
    clean = sum(not len(each.labels.kinds) for each in hard)
    return f"{pairs} and {len(made)} generated boards; learned: those and {len(hard)} more, {clean} of them clean"


def _write(folder: Path, model: ArbiterModel) -> None:
    (folder / "arbiter.json").write_text(model.model_dump_json(indent=1) + "\n")
    name_beside(folder, "arbiter.json")


def main() -> None:
    """Fit, print the cross-validated figures, and write ``arbiter.json`` beside the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--boards", type=int, default=150, help="Generated ones, beside the pairs.")
    given = parser.parse_args()
    models = Models(fused=Detector(given.folder), arbiter=_PLAIN)
    real = gather(list(unpack(given.pack / "val")), models)
    made = gather(list(generated(FIRST_SEED, given.boards)), models)
    hard = _hard(given.boards, models)
    halves = (real[::2], real[1::2])
    told = _told(f"{len(real)} pairs of DeepPCB's validation part", made, hard)
    crossed = [_judged(mine, fit([*other, *made], told, hard)) for mine, other in (halves, halves[::-1])]
    found, labels = ([each for half in crossed for each in half[i]] for i in (0, 1))
    plain = _judged(real, _PLAIN)
    for name, (boxes, truth) in {"detector alone": plain, "arbiter": (found, labels)}.items():
        score, best = average_precision(boxes, truth, OFFICIAL_IOU), best_operating(boxes, truth, OFFICIAL_IOU)
        print(f"{name}: map_iou33 {score.mean:.4f} map50 {average_precision(boxes, truth, 0.5).mean:.4f} best {best}")  # noqa: T201
    for name, some in {"real": real, "made": made}.items():
        for seen in Seen:
            mine = [ok for one in some for each, ok in zip(one.proposals, one.right, strict=True) if each.seen is seen]
            print(f"{name} {seen}: {len(mine)} places, {np.mean(mine) if mine else 0:.3f} right")  # noqa: T201
    model = fit([*real, *made], told, hard)
    _write(given.folder, model)
    print(model.model_dump_json(indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
