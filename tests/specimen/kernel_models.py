"""Small random models as the whole-step kernel is told of them, and steps of token sequences to run them with.

Shapes: see ``evident_kernels.spec``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from evident_kernels.spec import Attention, DenseMLP, Kind, LayerSpec, ModelSpec, MoEMLP, Weight


def quantised(w: torch.Tensor, kind: Kind, group_size: int = 32, bias: torch.Tensor | None = None) -> Weight:
    """Float weights [.., O, I] as a weight of a kind, rounded to nearest."""
    if kind == "f32":
        return Weight(w, bias=bias)
    if kind == "int8":
        scales = w.abs().amax(-1) / 127
        return Weight((w / scales[..., None]).round().to(torch.int8), scales.contiguous(), bias=bias)
    grouped = w.unflatten(-1, (-1, group_size))
    scales = grouped.abs().amax(-1) / 7
    nibbles = ((grouped / scales[..., None]).round().clamp(-8, 7) + 8).flatten(-2).to(torch.uint8)
    packed = nibbles[..., 0::2] | nibbles[..., 1::2] << 4
    return Weight(packed.contiguous(), scales.contiguous(), group_size, bias)


@dataclass(frozen=True)
class Plan:
    """What a random model is to be like; the defaults are a small mixture of experts."""

    kind: Kind = "f32"
    vocab: int = 203
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    experts: int = 8
    top_k: int = 2
    inner: int = 32
    shared: int = 0
    group_size: int = 32
    dense_layers: tuple[int, ...] = ()
    tied: bool = False
    qk_norm: Literal["head", "full"] | None = None
    window: int | None = None
    bias: bool = False
    score: Literal["softmax", "sigmoid"] = "softmax"
    expert_bias: bool = False
    num_groups: int = 1
    top_k_groups: int = 1
    group_score: Literal["max", "top2_sum"] = "max"
    normalise: bool = True
    scaling: float = 1.0
    interleaved: bool = False
    rotated: int | None = None
    seed: int = 0

    def build(self) -> ModelSpec:
        """The model, with weights that depend on the plan alone."""
        generator = torch.Generator().manual_seed(self.seed)
        query, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        def weight(*shape: int, bias: bool = False) -> Weight:
            return quantised(
                draw(*shape) / shape[-1] ** 0.5, self.kind, self.group_size, draw(shape[0]) if bias else None
            )

        def rows(*shape: int, spread: float) -> Weight:
            return quantised(draw(*shape) * spread, "f32" if self.kind == "f32" else "int8")

        def norm(width: int) -> torch.Tensor:
            return 1 + 0.1 * draw(width)

        def dense(inner: int) -> DenseMLP:
            return DenseMLP(weight(2 * inner, self.hidden), weight(self.hidden, inner))

        def moe() -> MoEMLP:
            return MoEMLP(
                gate=3 * draw(self.experts, self.hidden) / self.hidden**0.5,
                w13=weight(self.experts, 2 * self.inner, self.hidden),
                w2=weight(self.experts, self.hidden, self.inner),
                top_k=self.top_k,
                score=self.score,
                expert_bias=0.1 * draw(self.experts) if self.expert_bias else None,
                normalise_top_k=self.normalise,
                scaling_factor=self.scaling,
                num_groups=self.num_groups,
                top_k_groups=self.top_k_groups,
                group_score=self.group_score,
                shared=dense(self.shared) if self.shared else None,
            )

        def layer(index: int) -> LayerSpec:
            widths = {None: (0, 0), "head": (self.head_dim, self.head_dim), "full": (query, shared)}[self.qk_norm]
            return LayerSpec(
                attn_norm=norm(self.hidden),
                attention=Attention(
                    wq=weight(query, self.hidden, bias=self.bias),
                    wk=weight(shared, self.hidden, bias=self.bias),
                    wv=weight(shared, self.hidden, bias=self.bias),
                    wo=weight(self.hidden, query, bias=self.bias),
                    q_norm=norm(widths[0]) if self.qk_norm else None,
                    k_norm=norm(widths[1]) if self.qk_norm else None,
                    window=self.window if index % 2 == 0 else None,
                ),
                mlp_norm=norm(self.hidden),
                mlp=dense(self.inner) if index in self.dense_layers else moe(),
            )

        half = (self.rotated or self.head_dim) // 2
        angles = torch.arange(512)[:, None] / 10000 ** (torch.arange(half) / half)
        return ModelSpec(
            num_heads=self.heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            rms_norm_eps=1e-6,
            embedding=rows(self.vocab, self.hidden, spread=1.0),
            layers=tuple(layer(index) for index in range(self.layers)),
            norm=norm(self.hidden),
            head=None if self.tied else rows(self.vocab, self.hidden, spread=self.hidden**-0.5),
            cos=angles.cos(),
            sin=angles.sin(),
            interleaved=self.interleaved,
        )


class Cache:
    """Keys and values of every layer, and block tables that are handed out in a shuffled order."""

    def __init__(self, spec: ModelSpec, blocks: int = 64, block_size: int = 4, dtype: torch.dtype = torch.float32):
        shape = (blocks * block_size, spec.num_kv_heads, spec.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in spec.layers]
        self.values = [torch.zeros(shape, dtype=dtype) for _ in spec.layers]
        self.block_size = block_size
        self.free = list(np.random.default_rng(blocks).permutation(blocks))


class Text:
    """The tokens of one text, and the blocks it has in a cache."""

    def __init__(self, cache: Cache, ids: Sequence[int]):
        self.cache, self.ids, self.done = cache, [int(token) for token in ids], 0
        self.blocks: list[int] = []

    def take(self, count: int) -> tuple[list[int], list[int], list[int]]:
        """The next tokens, with their positions and slots."""
        positions = list(range(self.done, self.done + count))
        self.done += count
        size = self.cache.block_size
        while len(self.blocks) * size < self.done:
            self.blocks.append(int(self.cache.free.pop()))
        slots = [self.blocks[position // size] * size + position % size for position in positions]
        return self.ids[positions[0] : self.done], positions, slots


def step(cache: Cache, parts: Sequence[tuple[Text, int]], rows: Sequence[int] | None = None) -> dict[str, Any]:
    """The arguments of a step that takes so many tokens of each sequence; rows default to all tokens."""
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    starts = [0]
    for sequence, count in parts:
        for column, more in zip((tokens, positions, slots), sequence.take(count), strict=True):
            column.extend(more)
        starts.append(len(tokens))
    tables = np.zeros((len(parts), max(len(sequence.blocks) for sequence, _ in parts)), np.int64)
    for row, (sequence, _) in zip(tables, parts, strict=True):
        row[: len(sequence.blocks)] = sequence.blocks
    return {
        "token_ids": np.array(tokens),
        "positions": np.array(positions),
        "slots": np.array(slots),
        "starts": starts,
        "contexts": [sequence.done for sequence, _ in parts],
        "tables": tables,
        "rows": np.array(range(len(tokens)) if rows is None else rows),
        "block_size": cache.block_size,
    }
