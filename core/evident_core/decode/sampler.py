"""Which token is next, given the logits: penalties, filters, and one uniform number a token.

The order is Hugging Face's: repetition_penalty, no_repeat_ngram, grammar, temperature, top_k, top_p, min_p. Each
sequence draws from a generator of its own, so the same seed gives the same text whatever else is in the batch.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from evident_core.decode.generator import SamplingParams

Draw = Callable[[NDArray[np.float32], float, int, float, float, float], int]
"""Chooses from logits_V by temperature, top_k, top_p, min_p and a uniform number in [0, 1)."""


def draw(
    logits_V: NDArray[np.float32], temperature: float, top_k: int, top_p: float, min_p: float, uniform: float
) -> int:
    """Choose a token: the definition, and what is used where the kernels were not built.

    Of equal logits that of the lower token id counts as the greater. ``top_p`` keeps the smallest set of the most
    probable tokens whose probabilities sum to at least it (Holtzman et al. 2020); ``min_p`` then drops those below that
    share of the most probable one (Nguyen et al. 2024). What is left is laid out by token id, and ``uniform`` points.
    """
    if temperature == 0.0 or top_k == 1:
        return int(np.argmax(logits_V))
    order = np.argsort(-logits_V, kind="stable")
    if top_k:
        order = order[:top_k]
    weights = np.exp((logits_V[order].astype(np.float64) - float(logits_V[order[0]])) / temperature)
    kept = len(order)
    if top_p < 1.0:
        kept = int(np.searchsorted(np.cumsum(weights) / weights.sum(), top_p)) + 1
    if min_p > 0.0:
        kept = min(kept, int(np.count_nonzero(weights >= min_p * weights[0])))
    by_id = np.argsort(order[:kept])
    reached = np.cumsum(weights[:kept][by_id])
    chosen = int(np.searchsorted(reached, uniform * reached[-1], side="right"))
    return int(order[by_id[min(chosen, len(by_id) - 1)]])


def penalise(logits_V: NDArray[np.float32], tokens: Sequence[int], params: SamplingParams) -> None:
    """Change logits in place by what was written already (``tokens``: the prompt and the text so far)."""
    if params.repetition_penalty != 1.0:  # Keskar et al. 2019
        seen = np.fromiter(set(tokens), np.int64)
        values = logits_V[seen]
        logits_V[seen] = np.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    size = params.no_repeat_ngram
    if size and len(tokens) >= size:
        head = tuple(tokens[len(tokens) - size + 1 :])
        banned = [
            tokens[at + size - 1] for at in range(len(tokens) - size + 1) if tuple(tokens[at : at + size - 1]) == head
        ]
        # Where a grammar leaves only tokens that would repeat, the grammar wins: it is what the text must be.
        if banned and np.isfinite(np.delete(logits_V, banned)).any():
            logits_V[banned] = -np.inf


def mask(logits_V: NDArray[np.float32], allowed: NDArray[np.int32]) -> None:
    """Set all logits in place to minus infinity whose bit in ``allowed`` (ceil(V / 32) words) is not set."""
    bits = np.unpackbits(allowed.view(np.uint8), bitorder="little", count=len(logits_V))
    logits_V[bits == 0] = -np.inf
