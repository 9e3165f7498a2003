"""Training by contrast: one loop for each stage, since a stage is no more than what stands on either side.

Two views of pictures on the two sides train the image tower alone, paraphrases the text tower, pictures against
descriptions both. The first two come first: towers that tell their own kind apart are easier to bring together.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evident_core.align.loss import info_nce
from evident_core.align.model import Aligner


@dataclass(frozen=True)
class Pairs:
    """A batch: crops or descriptions on each side, and which belong together (None: row i with row i)."""

    left: Tensor | Sequence[str]
    right: Tensor | Sequence[str]
    positives_NM: Tensor | None = None


@dataclass(frozen=True)
class Schedule:
    """How a stage is trained: AdamW, a rising and then falling (cosine) rate.

    Attributes:
        steps: Batches; what the source has beyond them is left.
        learning_rate: The highest.
        warmup: Share of the steps over which it rises.
        weight_decay: Of matrices and kernels only.
        clip: Largest norm of the gradients.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0


def fit(
    aligner: Aligner, batches: Iterable[Pairs], schedule: Schedule, tell: Callable[[int, float], None] | None = None
) -> list[float]:
    """Train a stage, on the device that the model is on.

    Args:
        aligner: Changed in place.
        batches: At least ``schedule.steps``, or training ends early.
        schedule: Steps and rates.
        tell: Called after each step with its number, from 1, and its loss.

    Returns:
        The loss of each step.
    """
    optimiser, losses = _optimiser(aligner, schedule), []
    aligner.train()
    for step, pairs in zip(range(schedule.steps), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * _rate(step, schedule)
        left, right = (aligner(_moved(side, aligner)) for side in (pairs.left, pairs.right))
        positives = None if pairs.positives_NM is None else pairs.positives_NM.to(left.device)
        loss = info_nce(left, right, positives, aligner.temperature)
        # Set to None, so that a tower that takes no part in a stage is not even decayed.
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(aligner.parameters(), schedule.clip)
        optimiser.step()
        losses.append(float(loss.detach()))
        if tell:
            tell(step + 1, losses[-1])
    aligner.eval()
    return losses


def _moved(side: Tensor | Sequence[str], aligner: Aligner) -> Tensor | Sequence[str]:
    return side.to(aligner.log_temperature.device, non_blocking=True) if isinstance(side, Tensor) else side


def _rate(step: int, schedule: Schedule) -> float:
    rising = max(1, round(schedule.warmup * schedule.steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, schedule.steps - rising)))


def _optimiser(aligner: Aligner, schedule: Schedule) -> torch.optim.AdamW:
    trained = [p for p in aligner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate)
