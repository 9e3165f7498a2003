"""How well a model predicts a text, before and after its weights were rounded.

Shapes: T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evident_core.errors import InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.model import CausalLM
from evident_core.quant.calibration import batches, cut


@dataclass(frozen=True)
class Perplexity:
    """The perplexity of given text before and after, and how many tokens were predicted."""

    before: float
    after: float
    tokens: int

    @property
    def change_percent(self) -> float:
        """After against before: 0.3 is 0.3 % worse."""
        return 100.0 * (self.after / self.before - 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; None is a figure that is not finite."""
        figures = {"before": self.before, "after": self.after, "change_percent": self.change_percent}
        finite = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
        return {**finite, "tokens": self.tokens}


@torch.inference_mode()
def perplexity(
    model: CausalLM, sequences: Sequence[Sequence[int]], window: int = 512, batch_tokens: int = 2048
) -> tuple[float, int]:
    """The perplexity of texts, each cut into windows that are scored on their own.

    Args:
        model: Float or quantised.
        sequences: Token ids of each text.
        window: Most tokens of a window; the model's context where that is shorter.
        batch_tokens: Tokens that run at a time.

    Returns:
        exp of the mean negative log-likelihood of every token but the first of each window, and how many those are.

    Raises:
        InvalidInput: No window has two tokens, or a token is not of the vocabulary.
    """
    longest = min(window, model.config.max_position_embeddings)
    windows = [each for each in cut(sequences, longest, model.config.vocab_size) if len(each) > 1]
    if not windows:
        raise InvalidInput("Perplexity needs a text of at least two tokens.", tokens=0)
    training = model.training
    model.eval()
    loss, count = 0.0, 0
    for group in batches(windows, batch_tokens):
        batch = Batch.packed(group, device=model.norm.weight.device)
        last = torch.tensor(batch.starts[1:], device=batch.device) - 1
        kept = torch.ones(len(batch.token_ids_T), dtype=torch.bool, device=batch.device)
        kept[last] = False
        rows = torch.nonzero(kept).flatten()
        logits_TV = model.logits(model.hidden(batch)[rows])
        losses_T = torch.nn.functional.cross_entropy(logits_TV, batch.token_ids_T[rows + 1], reduction="none")
        loss += float(losses_T.double().sum())
        count += len(rows)
    model.train(training)
    return float(torch.tensor(loss / count, dtype=torch.float64).exp()), count
