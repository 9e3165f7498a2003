"""What the whole-step kernel is told of a model: its shapes, its options, and where its weights lie.

Arrays are NumPy arrays or PyTorch tensors on the CPU; they are read where they lie, never copied and never changed, so
the model that owns them stays usable beside the kernel.

Shapes: D hidden, V vocabulary, H query heads, G key/value heads, K head dim, E experts, F expert intermediate,
O/I outputs and inputs of a linear, P positions of the rotary tables.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch

    Array: TypeAlias = np.ndarray[Any, Any] | torch.Tensor

Kind = Literal["f32", "int8", "int4"]

MAX_EXPERTS, MAX_TOP_K = 4096, 64
"""Bounds of the fixed-size tables in ``csrc/router.cpp``."""


def type_name(array: "Array") -> str:
    """``"float32"`` for NumPy's and PyTorch's alike."""
    return str(array.dtype).removeprefix("torch.")


def is_contiguous(array: "Array") -> bool:
    """Whether the array lies in one piece, row after row."""
    return array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous()


@dataclass(frozen=True)
class Weight:
    """The weight of a linear, or of all experts of a layer stacked along a leading E.

    Attributes:
        data: float32 [O, I]; or int8 [O, I] (symmetric, -127..127); or uint8 [O, I/2] (int4: the low nibble is the even
            input, value = nibble - 8). Stacked: a leading E.
        scales: None for float32; float32 [O] for int8; float32 [O, I/group_size] for int4. Stacked: a leading E.
        group_size: Inputs that share one scale, for int4; 0 otherwise. 32, 64 or a multiple of 128, and it divides I.
        bias: float32 [O] or None; for the projections of the attention only.
    """

    data: "Array"
    scales: "Array | None" = None
    group_size: int = 0
    bias: "Array | None" = None

    @property
    def kind(self) -> Kind | None:
        """``"f32"``, ``"int8"`` or ``"int4"`` by the type of ``data``; None where it is none of them."""
        kinds: dict[str, Kind] = {"float32": "f32", "int8": "int8", "uint8": "int4"}
        return kinds.get(type_name(self.data))

    @property
    def shape(self) -> tuple[int, ...]:
        """[O, I], or [E, O, I]: int4's packed pairs counted as two."""
        *leading, inputs = self.data.shape
        return (*leading, inputs * 2 if self.kind == "int4" else inputs)

    @property
    def nbytes(self) -> int:
        """Bytes of the data and its scales."""
        return int(self.data.nbytes) + (int(self.scales.nbytes) if self.scales is not None else 0)


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention of one layer.

    Attributes:
        wq: [H*K, D], with a bias or without.
        wk: [G*K, D].
        wv: [G*K, D].
        wo: [D, H*K].
        q_norm: None; or float32 [K], applied to each head; or float32 [H*K], applied to the full width.
        k_norm: None, [K] or [G*K], as ``q_norm``.
        window: A token sees itself and the ``window - 1`` tokens before it; None sees all.
    """

    wq: Weight
    wk: Weight
    wv: Weight
    wo: Weight
    q_norm: "Array | None" = None
    k_norm: "Array | None" = None
    window: int | None = None


@dataclass(frozen=True)
class DenseMLP:
    """SwiGLU: ``w2 @ (silu(gate) * up)``, where ``w13 @ x`` is the gate's F rows and then the up's.

    Attributes:
        w13: [2F, D].
        w2: [D, F].
    """

    w13: Weight
    w2: Weight


@dataclass(frozen=True)
class MoEMLP:
    """Routed SwiGLU experts, and a shared one where the family has it.

    Attributes:
        gate: float32 [E, D].
        w13: [E, 2F, D].
        w2: [E, D, F].
        top_k: Experts of a token.
        score: How the gate's logits become scores.
        expert_bias: float32 [E], added to the scores for choosing only; or None.
        normalise_top_k: The chosen scores are divided by their sum.
        scaling_factor: They are multiplied by this after that.
        num_groups: Experts are chosen from ``top_k_groups`` of this many equal groups (of consecutive experts).
        top_k_groups: See ``num_groups``.
        group_score: A group's score is its best expert's, or the sum of its two best.
        shared: An expert that every token uses, with weight 1; its F may be another.
    """

    gate: "Array"
    w13: Weight
    w2: Weight
    top_k: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    expert_bias: "Array | None" = None
    normalise_top_k: bool = True
    scaling_factor: float = 1.0
    num_groups: int = 1
    top_k_groups: int = 1
    group_score: Literal["max", "top2_sum"] = "max"
    shared: DenseMLP | None = None


@dataclass(frozen=True)
class LayerSpec:
    """One layer: ``x += attention(norm(x))``, then ``x += mlp(norm(x))``.

    Attributes:
        attn_norm: float32 [D], of the RMSNorm before the attention.
        mlp_norm: float32 [D], of the RMSNorm before the MLP.
    """

    attn_norm: "Array"
    attention: Attention
    mlp_norm: "Array"
    mlp: DenseMLP | MoEMLP


@dataclass(frozen=True)
class ModelSpec:
    """A whole decoder.

    Attributes:
        num_heads: H. The hidden size D is the embedding's.
        num_kv_heads: G, a divisor of H.
        head_dim: K, a multiple of 8.
        rms_norm_eps: Of every RMSNorm.
        embedding: float32 [V, D], or int8 [V, D] with a scale a row (a tied model that is quantised).
        layers: From the first to the last.
        norm: float32 [D], the last RMSNorm.
        head: [V, D], or None where the head is the embedding (tied).
        cos: float32 [P, r/2]: what the rotary embedding multiplies by at each position, every scaling (YaRN, its
            attention factor included) baked in. r <= K dims are rotated, the first ones of a head.
        sin: float32 [P, r/2].
        interleaved: Rotated pairs are (0, 1), (2, 3), … ; otherwise (0, r/2), (1, r/2 + 1), …
        attention_scale: What scores are multiplied by; None is 1 / sqrt(K).
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    embedding: Weight
    layers: tuple[LayerSpec, ...]
    norm: "Array"
    head: Weight | None
    cos: "Array"
    sin: "Array"
    interleaved: bool = False
    attention_scale: float | None = None

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.embedding.shape[0]

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.embedding.shape[1]

    @property
    def max_positions(self) -> int:
        """P: a token's position is below this."""
        return int(self.cos.shape[0])
