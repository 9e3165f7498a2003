"""Runs a language model over a paged cache whose blocks are scattered and whose unwritten slots are NaN."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from evident_core.moe.attention import LayerCache, cache_shapes
from evident_core.moe.batch import Batch
from evident_core.moe.model import CausalLM


class PagedRun:
    """Several sequences that grow step by step; a slot that is read before it is written turns every logit to NaN."""

    def __init__(self, model: CausalLM, block_size: int = 4, blocks: int = 40, seed: int = 0) -> None:
        self.model, self.block_size = model, block_size
        self.device = model.embed.weight.device
        keys, values = cache_shapes(model.config)
        slots = blocks * block_size
        self.cache = [
            LayerCache(
                self._empty(slots, *keys),
                None if values is None else self._empty(slots, *values),
            )
            for _ in range(model.config.num_layers)
        ]
        self.free = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed)).tolist()
        self.tables: dict[str, list[int]] = {}
        self.lengths: dict[str, int] = {}

    def _empty(self, *shape: int) -> Tensor:
        return torch.full(shape, torch.nan, device=self.device, dtype=self.model.embed.weight.dtype)

    def step(self, tokens: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Run these tokens of these sequences; the logits of every one of them, [L, V] a sequence."""
        ids, positions, slots, starts = [], [], [], [0]
        for name, sequence in tokens.items():
            table, first = self.tables.setdefault(name, []), self.lengths.get(name, 0)
            for position, token in enumerate(sequence, first):
                if position // self.block_size == len(table):
                    table.append(self.free.pop())
                ids.append(token)
                positions.append(position)
                slots.append(table[position // self.block_size] * self.block_size + position % self.block_size)
            self.lengths[name] = first + len(sequence)
            starts.append(len(ids))
        width = max(len(self.tables[name]) for name in tokens)
        tables = [self.tables[name] + [0] * (width - len(self.tables[name])) for name in tokens]
        batch = Batch(
            token_ids_T=torch.tensor(ids),
            positions_T=torch.tensor(positions),
            slots_T=torch.tensor(slots),
            starts=starts,
            contexts=[self.lengths[name] for name in tokens],
            tables_SB=torch.tensor(tables),
            rows_R=torch.arange(len(ids)),
            block_size=self.block_size,
        ).to(self.device)
        with torch.inference_mode():
            logits = self.model(batch, self.cache)
        return dict(zip(tokens, logits.split([len(each) for each in tokens.values()]), strict=True))
