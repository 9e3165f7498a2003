"""Two models on the same labelled pairs, and whether the newer should take the other's place.

Without PyTorch: both run as they would beside a line, in ONNX Runtime. The sentences of a recommendation are kept apart
from their figures (:class:`Finding`), so that a page can say them in its own language.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.evaluate import OFFICIAL_IOU, boxes_of, labels_of, see
from evident_manufacturing.inspection.evaluate.clean import taken_again
from evident_manufacturing.inspection.evaluate.metrics import Boxes, Score, average_precision, operating
from evident_manufacturing.inspection.evaluate.pairs import Pair
from evident_manufacturing.inspection.perceive import PLAIN_THRESHOLD, Models
from evident_manufacturing.inspection.perceive.arbiter import ArbiterModel, Proposal, propose, read_arbiter
from evident_manufacturing.inspection.perceive.detector import Detector
from evident_manufacturing.inspection.perceive.tiles import detect_in_tiles
from evident_manufacturing.inspection.schema import KINDS

OnProgress = Callable[[int, int], None]
"""Told how much is done, and of how much."""
KIND_LOST: Final = 0.01
"""Most that the average precision of a kind may fall, of 1."""
LEAST_LABELS: Final = 50
"""Fewer labels say nothing of two models that are nearly alike."""
CLEAN: Final = 60
"""Templates that are inspected against themselves, at most."""
Stage = Literal["data", "train", "export", "arbiter", "compare"]
OnStage = Callable[[Stage, int, int], None]
"""Told of each step of a retraining: its name, how much of it is done, and of how much."""
Rule = Literal["kind_lost", "map_lower", "f_lower", "more_false_calls", "too_few_labels", "no_worse"]


class Measured(Frozen):
    """Figures of one model.

    Attributes:
        version: Of the model, with the precision it runs in.
        map_iou33: Mean average precision at IoU 0.33.
        map50: The same at 0.5.
        f1: At the threshold that the model reports from, IoU 0.33, as ``precision`` and ``recall``.
        by_kind: Average precision at 0.33 of each kind that has labels.
        called: Clean boards on which a defect is reported.
    """

    version: str
    map_iou33: float
    map50: float
    precision: float
    recall: float
    f1: float
    threshold: float
    by_kind: dict[str, float]
    called: int


class Finding(Frozen):
    """What the recommendation rests on: a rule, and the figures it was decided by.

    Attributes:
        rule: ``no_worse`` stands alone and promotes the candidate; each other keeps the model in use.
        kind: Of ``kind_lost``.
        current: Figure of the model in use; of ``too_few_labels`` how many are needed.
        candidate: Figure of the new one; of ``too_few_labels`` how many there are.
    """

    rule: Rule
    kind: str = ""
    current: float
    candidate: float


class Comparison(Frozen):
    """Two models on the same pairs.

    Attributes:
        pairs: How many; ``labels`` on them, and ``clean`` boards without a defect.
        refused: Pairs whose template the aligner refused; both models missed all of their defects.
        gains: What each kind's average precision rises by from ``current`` to ``candidate``; negative: falls.
        recommendation: ``promote`` only where no finding says otherwise.
    """

    pairs: int
    refused: int
    labels: int
    clean: int
    current: Measured
    candidate: Measured
    gains: dict[str, float]
    recommendation: Literal["promote", "keep"]
    findings: tuple[Finding, ...]


class Retrained(Frozen):
    """What :func:`evident_manufacturing.training.retrain.retrain` made.

    Attributes:
        folder: With ``manifest.json``, both ONNX files and, of a fused model, ``arbiter.json``: what a store installs.
        weights: The ``.pt`` to go on from next time.
        version: Of the model, as its manifest has it.
        trained_on: Pairs that it was trained on; ``labelled`` of them are of the label set.
        comparison: With the model in use.
    """

    folder: Path
    weights: Path
    version: str
    trained_on: int
    labelled: int
    comparison: Comparison


def compare(current: Path, candidate: Path, pairs: Sequence[Pair], on_progress: OnProgress | None = None) -> Comparison:
    """Measure two exported models (folders with ``manifest.json``; fused ones with ``arbiter.json``) on labelled pairs.

    Args:
        current: The model in use.
        candidate: The one that may take its place.
        pairs: With labels, that neither was trained on.
        on_progress: Told after each look at a board.

    Raises:
        InvalidInput: There is no pair, or one model needs a template and the other does not.
        ModelNotReady: A file is missing, or no file of a model passed its gates.
    """
    if not pairs:
        raise InvalidInput("There is no labelled pair to compare models on; label some boards first.")
    sides = [_open(current), _open(candidate)]
    if (sides[0].arbiter is None) != (sides[1].arbiter is None):
        raise InvalidInput(
            f"Of {sides[0].detector.version} and {sides[1].detector.version} one looks at a template, the other not; "
            "compare models of the same kind."
        )
    clean = [pairs[index] for index in np.unique(np.linspace(0, len(pairs) - 1, min(CLEAN, len(pairs))).astype(int))]
    total, done = len(sides) * (len(pairs) + len(clean)), 0

    def step() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    figures, refused = [], 0
    for side in sides:
        found, refused = [], 0
        for pair in pairs:
            seen = side.look(pair)
            refused += seen is None
            found.append(boxes_of(seen or []))
            step()
        called = 0
        rng = np.random.default_rng(0)
        for pair in clean:
            again = taken_again(pair.template, rng)
            seen = side.look(Pair(pair.name, pair.template, again, pair.boxes[:0], pair.classes[:0]))
            called += any(p >= side.threshold for _, p in seen or [])
            step()
        figures.append(_measured(side, found, [labels_of(pair) for pair in pairs], called))
    labels = sum(len(pair.classes) for pair in pairs)
    findings = judge(figures[0], figures[1], labels)
    return Comparison(
        pairs=len(pairs),
        refused=refused,
        labels=labels,
        clean=len(clean),
        current=figures[0],
        candidate=figures[1],
        gains={kind: round(figures[1].by_kind[kind] - value, 4) for kind, value in figures[0].by_kind.items()},
        recommendation="promote" if findings[0].rule == "no_worse" else "keep",
        findings=findings,
    )


def judge(current: Measured, candidate: Measured, labels: int) -> tuple[Finding, ...]:
    """The rule of a recommendation: every reason to keep the model in use, or the one to change.

    The candidate takes its place where there are at least :data:`LEAST_LABELS`, neither mean average precision at
    IoU 0.33 nor F is lower, no kind's average precision falls by more than :data:`KIND_LOST`, and no more clean boards
    are called defective.
    """
    found = []
    if labels < LEAST_LABELS:
        found.append(Finding(rule="too_few_labels", current=LEAST_LABELS, candidate=labels))
    for kind, value in current.by_kind.items():
        if value - candidate.by_kind[kind] > KIND_LOST:
            found.append(Finding(rule="kind_lost", kind=kind, current=value, candidate=candidate.by_kind[kind]))
    pairs: tuple[tuple[Rule, float, float], ...] = (
        ("map_lower", current.map_iou33, candidate.map_iou33),
        ("f_lower", current.f1, candidate.f1),
        ("more_false_calls", -current.called, -candidate.called),
    )
    found += [Finding(rule=rule, current=abs(a), candidate=abs(b)) for rule, a, b in pairs if b < a]
    best = Finding(rule="no_worse", current=current.map_iou33, candidate=candidate.map_iou33)
    return tuple(found) or (best,)


def sentence(finding: Finding) -> str:
    """A finding in English, for a terminal."""
    a, b = finding.current, finding.candidate
    return {
        "too_few_labels": f"{b:.0f} labels are too few to tell the models apart; at least {a:.0f} are needed.",
        "kind_lost": f"{finding.kind} falls from {a:.3f} to {b:.3f}, more than the {KIND_LOST} that a kind may lose.",
        "map_lower": f"Mean average precision falls from {a:.4f} to {b:.4f}.",
        "f_lower": f"F falls from {a:.4f} to {b:.4f}.",
        "more_false_calls": f"{b:.0f} clean boards are called defective, where it were {a:.0f}.",
        "no_worse": f"Nothing is worse; mean average precision goes from {a:.4f} to {b:.4f}.",
    }[finding.rule]


@dataclass(frozen=True)
class _Side:
    detector: Detector
    arbiter: ArbiterModel | None

    @property
    def threshold(self) -> float:
        return self.arbiter.threshold if self.arbiter else PLAIN_THRESHOLD

    def look(self, pair: Pair) -> list[tuple[Proposal, float]] | None:
        """Every place that may be a defect with its probability; None where the template is refused."""
        if self.arbiter is None:
            seen = detect_in_tiles(np.dstack([pair.test] * 3), self.detector.detect)
            return [(each, each.score) for each in propose(seen, None, pair.test, None, floor=0.0)]
        try:
            return see(pair, Models(fused=self.detector, arbiter=self.arbiter))
        except InvalidInput:
            return None


def _open(folder: Path) -> _Side:
    """A model with an arbiter looks at a template; see ``agent.installed.kind_of``."""
    return _Side(Detector(folder), read_arbiter(folder) if (folder / "arbiter.json").is_file() else None)


def _measured(side: _Side, found: Sequence[Boxes], labels: Sequence[Boxes], called: int) -> Measured:
    official: Score = average_precision(found, labels, OFFICIAL_IOU)
    at = operating(found, labels, OFFICIAL_IOU, side.threshold)
    return Measured(
        version=side.detector.version,
        map_iou33=round(official.mean, 4),
        map50=round(average_precision(found, labels, 0.5).mean, 4),
        precision=round(at.precision, 4),
        recall=round(at.recall, 4),
        f1=round(at.f1, 4),
        threshold=side.threshold,
        by_kind={KINDS[kind]: round(value, 4) for kind, value in official.by_kind.items()},
        called=called,
    )
