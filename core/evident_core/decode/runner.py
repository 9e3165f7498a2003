"""What computes a step: the PyTorch model on any device, or the C++ kernel on a CPU.

Legend: T tokens of the step, S sequences, R rows whose logits are wanted, V vocabulary, B blocks of a table.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evident_core.decode.sampler import Draw

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class StepInput:
    """The tokens of one step, packed without gaps.

    Attributes:
        token_ids_T: Tokens of all sequences, one sequence after the other.
        positions_T: Where each stands in its own sequence.
        slots_T: The cache slot that each is written to.
        starts: Where each sequence begins in T, and the end; S + 1 values.
        contexts_S: Tokens each has in the cache once this step is written.
        tables_SB: Cache blocks of each, in order; padded with 0.
        rows_R: Which of the T are the ones whose logits are wanted.
        allowed_RW: Bit v % 32 of word v // 32 tells whether token v may follow; None where everything may.
    """

    token_ids_T: Int32
    positions_T: Int32
    slots_T: NDArray[np.int64]
    starts: Int32
    contexts_S: Int32
    tables_SB: Int32
    rows_R: Int32
    allowed_RW: Int32 | None


class Runner(Protocol):
    """Computes steps over a cache that it owns."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        ...

    @property
    def block_size(self) -> int:
        """Tokens a block holds."""
        ...

    @property
    def draw(self) -> Draw:
        """How a token is drawn from logits."""
        ...

    @property
    def describes(self) -> str:
        """What computes, for people: ``"cpu kernel, avx2, 2 threads"``."""
        ...

    def run(self, step: StepInput) -> Float32:
        """The logits, float32 [R, V]; minus infinity where a token is not allowed. Valid until the next step."""
        ...
