"""A model whose next token depends on each token before it, as the cache has them: it notices every wrong block."""

import hashlib
from collections.abc import Callable

import numpy as np

from evident_core.decode import sampler
from evident_core.decode.runner import Float32, StepInput
from evident_core.decode.sampler import Draw

EMPTY = -1


class LedgerRunner:
    """Keeps the token and position of each cache slot, and checks that a sequence finds its own beginning there."""

    describes = "ledger"

    def __init__(self, num_blocks: int, block_size: int, vocab_size: int = 256) -> None:
        self.num_blocks, self.block_size, self.vocab_size = num_blocks, block_size, vocab_size
        self.tokens = np.full(num_blocks * block_size, EMPTY)
        self.positions = np.full(num_blocks * block_size, EMPTY)
        self.steps: list[StepInput] = []
        self.before_write: Callable[[int], None] = lambda block: None
        self.fails = False

    @property
    def draw(self) -> Draw:
        return sampler.draw

    def run(self, step: StepInput) -> Float32:
        if self.fails:
            raise RuntimeError("the device is gone")
        self.steps.append(step)
        assert len(set(step.slots_T.tolist())) == len(step.slots_T), "two tokens are written to one slot"
        for slot, token, position in zip(step.slots_T, step.token_ids_T, step.positions_T, strict=True):
            self.before_write(int(slot) // self.block_size)
            self.tokens[slot], self.positions[slot] = token, position
        logits_RV = np.empty((len(step.rows_R), self.vocab_size), np.float32)
        row = 0
        for index, (begin, end) in enumerate(zip(step.starts[:-1], step.starts[1:], strict=True)):
            context = int(step.contexts_S[index])
            at = np.arange(context)
            slots = step.tables_SB[index][at // self.block_size] * self.block_size + at % self.block_size
            assert (self.positions[slots] == at).all(), "a block is not where its table says"
            assert (step.positions_T[begin:end] == at[context - (end - begin) :]).all()
            if row < len(step.rows_R) and step.rows_R[row] == end - 1:
                logits_RV[row] = logits_after(self.tokens[slots].tolist(), self.vocab_size)
                row += 1
        assert row == len(step.rows_R)
        if step.allowed_RW is not None:
            for logits_V, allowed in zip(logits_RV, step.allowed_RW, strict=True):
                sampler.mask(logits_V, allowed)
        return logits_RV


def logits_after(tokens: list[int], vocab_size: int) -> Float32:
    """Logits that any change of any token changes."""
    digest = hashlib.sha256(np.array(tokens, np.int64).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(vocab_size).astype(np.float32)


def written_alone(prompt: list[int], count: int, vocab_size: int = 256) -> list[int]:
    """What the greedy text after a prompt must be, computed without any engine."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(np.argmax(logits_after(tokens, vocab_size))))
    return tokens[len(prompt) :]
