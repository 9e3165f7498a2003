"""One step's work: the tokens of several sequences, packed one after the other.

Shapes: T tokens, S sequences, B blocks of a table, R rows whose logits are wanted, C tokens of a context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from evident_core.errors import InvalidInput


@dataclass
class Batch:
    """The tokens that a step runs, and where their keys and values go.

    Attributes:
        token_ids_T: Tokens, int64.
        positions_T: Their positions in their sequences, int64.
        slots_T: The cache slot that each token's key and value are written to, int64: ``block * block_size + offset``.
        starts: S + 1 offsets: sequence ``s`` has the tokens ``starts[s]:starts[s + 1]``.
        contexts: Of each sequence, its tokens in the cache once this step is written, this step's included.
        tables_SB: The blocks of each sequence in order, int64, padded with 0.
        rows_R: The tokens (indices into T) whose logits are wanted, int64.
        block_size: Slots of a block.
        domains_T: The expert domain of each token (``MoEConfig.domain_index``), int64; -1 is any. None is any for all.
    """

    token_ids_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    starts: list[int]
    contexts: list[int]
    tables_SB: Tensor
    rows_R: Tensor
    block_size: int
    domains_T: Tensor | None = None
    _context_slots: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)
    _padded: dict[int | None, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        tokens = self.token_ids_T.shape[0]
        if self.starts[0] != 0 or self.starts[-1] != tokens or len(self.starts) != len(self.contexts) + 1:
            raise InvalidInput(
                f"starts {self.starts} do not cut {tokens} tokens into {len(self.contexts)} sequences.", field="starts"
            )
        for sequence, (length, context) in enumerate(zip(self.lengths, self.contexts, strict=True)):
            if not 0 < length <= context:
                raise InvalidInput(
                    f"Sequence {sequence} has {length} tokens in this step and a context of {context}; "
                    "a step needs at least one token, and the context includes them.",
                    field="contexts",
                )

    @classmethod
    def packed(cls, sequences: Sequence[Sequence[int] | Tensor], device: torch.device | str = "cpu") -> "Batch":
        """Whole sequences without a cache, with the logits of every token: for training and scoring."""
        tokens = [torch.as_tensor(sequence, dtype=torch.int64, device=device) for sequence in sequences]
        lengths = [len(each) for each in tokens]
        if not lengths or min(lengths) == 0:
            raise InvalidInput("A batch needs at least one sequence, and each sequence at least one token.")
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        everything = torch.arange(starts[-1], device=device)
        return cls(
            token_ids_T=torch.cat(tokens),
            positions_T=torch.cat([torch.arange(length, device=device) for length in lengths]),
            slots_T=everything,
            starts=starts,
            contexts=lengths,
            tables_SB=torch.zeros(len(lengths), 0, dtype=torch.int64, device=device),
            rows_R=everything,
            block_size=1,
        )

    @property
    def lengths(self) -> list[int]:
        """Of each sequence, its tokens in this step."""
        return [end - start for start, end in pairwise(self.starts)]

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        return self.token_ids_T.device

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        names = ("token_ids_T", "positions_T", "slots_T", "tables_SB", "rows_R")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        domains = None if self.domains_T is None else self.domains_T.to(device, non_blocking=True)
        return replace(self, **moved, domains_T=domains, _context_slots={}, _padded={})

    def context_slots(self, sequence: int) -> Tensor:
        """The cache slots of a sequence's whole context in order, [C]; all layers share it."""
        if sequence not in self._context_slots:
            places_C = torch.arange(self.contexts[sequence], device=self.device)
            blocks_C = self.tables_SB[sequence, places_C // self.block_size]
            self._context_slots[sequence] = blocks_C * self.block_size + places_C % self.block_size
        return self._context_slots[sequence]

    def padded_rows(self) -> Tensor:
        """Where each token stands when every sequence is padded on the right to the longest, [T]."""
        longest = max(self.lengths)
        shifts = [sequence * longest - start for sequence, start in enumerate(self.starts[:-1])]
        lengths_S = torch.tensor(self.lengths, device=self.device)
        shifts_T = torch.tensor(shifts, device=self.device).repeat_interleave(lengths_S, output_size=self.starts[-1])
        return torch.arange(self.starts[-1], device=self.device) + shifts_T

    def padded_slots(self, window: int | None) -> tuple[Tensor, Tensor]:
        """The slots that the last token of each sequence sees, [S, C], and which of them are real, bool [S, C].

        The others repeat the last real one: what a masked place holds must be finite, as 0 * NaN is NaN.

        Args:
            window: Only so many tokens back, the token's own included; None is all of them.
        """
        if window not in self._padded:
            contexts_S = torch.tensor(self.contexts, device=self.device)
            width = max(self.contexts)
            first_S = torch.zeros_like(contexts_S)
            if window is not None and window < width:
                width, first_S = window, (contexts_S - window).clamp(min=0)
            places_SC = first_S[:, None] + torch.arange(width, device=self.device)
            seen_SC = places_SC < contexts_S[:, None]
            places_SC = torch.minimum(places_SC, contexts_S[:, None] - 1)
            blocks_SC = self.tables_SB.gather(1, places_SC // self.block_size)
            self._padded[window] = blocks_SC * self.block_size + places_SC % self.block_size, seen_SC
        return self._padded[window]
