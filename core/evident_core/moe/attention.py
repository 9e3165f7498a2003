"""Attention over packed sequences, with and without the paged cache: grouped-query and multi-head latent.

Shapes: T tokens, D hidden, H query heads, G kv heads, K numbers of a head, S sequences, L tokens of a sequence, N cache
slots, C tokens of a context, U numbers of a latent, Z numbers that a latent cache holds (latent and rotated key).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from evident_core.errors import InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig
from evident_core.moe.norm import RMSNorm
from evident_core.moe.rope import RopeConfig, YarnScaling, rotate


@dataclass(frozen=True)
class LayerCache:
    """The keys and values of one layer, by slot.

    Attributes:
        k_NGK: Keys; for latent attention, [N, 1, Z]: the normed latent and the rotated key.
        v_NGK: Values; None for latent attention, whose values are the latent.
    """

    k_NGK: Tensor
    v_NGK: Tensor | None = None


def cache_shapes(config: ModelConfig) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """What one slot of a layer's cache holds: the shapes of keys and of values (None where there are none)."""
    attention = config.attention
    if isinstance(attention, MLAConfig):
        return (1, attention.latent_dim), None
    shape = (attention.num_kv_heads, attention.head_dim)
    return shape, shape


class GQA(nn.Module):
    """Grouped-query attention with the options of ``GQAConfig``."""

    def __init__(self, hidden_size: int, config: GQAConfig, rope: RopeConfig, eps: float, sliding: bool) -> None:
        super().__init__()
        self.config, self.rope = config, rope
        self.window = config.sliding_window if sliding else None
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.wq = nn.Linear(hidden_size, queries, bias=config.bias)
        self.wk = nn.Linear(hidden_size, keys, bias=config.bias)
        self.wv = nn.Linear(hidden_size, keys, bias=config.bias)
        self.wo = nn.Linear(queries, hidden_size, bias=config.bias)
        if config.qk_norm is not None:
            full = config.qk_norm == "full"
            self.q_norm = RMSNorm(queries if full else config.head_dim, eps)
            self.k_norm = RMSNorm(keys if full else config.head_dim, eps)

    def forward(self, x_TD: Tensor, batch: Batch, turn: tuple[Tensor, Tensor], cache: LayerCache | None) -> Tensor:
        """The layer's output, [T, D]; the tokens' keys and values are written to the cache, where there is one."""
        config = self.config
        q, k, v = self.wq(x_TD), self.wk(x_TD), self.wv(x_TD)
        if config.qk_norm == "full":
            q, k = self.q_norm(q), self.k_norm(k)
        q_THK = q.unflatten(-1, (config.num_heads, config.head_dim))
        k_TGK = k.unflatten(-1, (config.num_kv_heads, config.head_dim))
        v_TGK = v.unflatten(-1, (config.num_kv_heads, config.head_dim))
        if config.qk_norm == "head":
            q_THK, k_TGK = self.q_norm(q_THK), self.k_norm(k_TGK)
        if config.clip_qkv is not None:
            q_THK, k_TGK, v_TGK = (each.clamp(-config.clip_qkv, config.clip_qkv) for each in (q_THK, k_TGK, v_TGK))
        q_THK = rotate(q_THK, *turn, self.rope.interleaved)
        k_TGK = rotate(k_TGK, *turn, self.rope.interleaved)
        scale = config.head_dim**-0.5
        if cache is None:
            y_THK = attend_packed(q_THK, k_TGK, v_TGK, batch, scale, self.window)
        else:
            if cache.v_NGK is None:
                raise InvalidInput("Grouped-query attention needs a cache with values; this one has keys alone.")
            cache.k_NGK.index_copy_(0, batch.slots_T, k_TGK.to(cache.k_NGK.dtype))
            cache.v_NGK.index_copy_(0, batch.slots_T, v_TGK.to(cache.v_NGK.dtype))
            y_THK = attend_paged(q_THK, cache.k_NGK, cache.v_NGK, batch, scale, self.window)
        y_TD: Tensor = self.wo(y_THK.flatten(-2))
        return y_TD


class MLA(nn.Module):
    """Multi-head latent attention; with a cache it works on the latents themselves.

    The up-projection of keys is moved over to the queries and that of values behind the sum (DeepSeek-V2, section
    2.1.2), so that the cache holds one latent a token for all heads and is never expanded.
    """

    def __init__(self, hidden_size: int, config: MLAConfig, rope: RopeConfig) -> None:
        super().__init__()
        self.config, self.rope = config, rope
        queries = config.num_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
        if config.q_lora_rank is None:
            self.wq = nn.Linear(hidden_size, queries, bias=False)
        else:
            self.wq_a = nn.Linear(hidden_size, config.q_lora_rank, bias=config.bias)
            self.q_norm = RMSNorm(config.q_lora_rank, config.latent_norm_eps)
            self.wq_b = nn.Linear(config.q_lora_rank, queries, bias=False)
        self.wkv_a = nn.Linear(hidden_size, config.latent_dim, bias=config.bias)
        self.kv_norm = RMSNorm(config.kv_lora_rank, config.latent_norm_eps)
        expanded = config.num_heads * (config.qk_nope_head_dim + config.v_head_dim)
        self.wkv_b = nn.Linear(config.kv_lora_rank, expanded, bias=False)
        self.wo = nn.Linear(config.num_heads * config.v_head_dim, hidden_size, bias=config.bias)
        stretched = rope.scaling.softmax_factor if isinstance(rope.scaling, YarnScaling) else 1.0
        self.scale = stretched * (config.qk_nope_head_dim + config.qk_rope_head_dim) ** -0.5

    def forward(self, x_TD: Tensor, batch: Batch, turn: tuple[Tensor, Tensor], cache: LayerCache | None) -> Tensor:
        """The layer's output, [T, D]; the tokens' latents are written to the cache, where there is one."""
        config = self.config
        q = self.wq(x_TD) if config.q_lora_rank is None else self.wq_b(self.q_norm(self.wq_a(x_TD)))
        q_THK = q.unflatten(-1, (config.num_heads, -1))
        q_nope, q_rope = q_THK.split((config.qk_nope_head_dim, config.qk_rope_head_dim), dim=-1)
        q_rope = rotate(q_rope, *turn, self.rope.interleaved)
        latent_TU, k_rope = self.wkv_a(x_TD).split((config.kv_lora_rank, config.qk_rope_head_dim), dim=-1)
        latent_TU = self.kv_norm(latent_TU)
        k_rope = rotate(k_rope[:, None], *turn, self.rope.interleaved)
        if cache is None:
            y = self._expanded(q_nope, q_rope, latent_TU, k_rope, batch)
        else:
            y = self._absorbed(q_nope, q_rope, latent_TU, k_rope, batch, cache.k_NGK)
        y_TD: Tensor = self.wo(y.flatten(-2))
        return y_TD

    def _expanded(self, q_nope: Tensor, q_rope: Tensor, latent_TU: Tensor, k_rope: Tensor, batch: Batch) -> Tensor:
        config = self.config
        expanded = self.wkv_b(latent_TU).unflatten(-1, (config.num_heads, -1))
        k_nope, v_THK = expanded.split((config.qk_nope_head_dim, config.v_head_dim), dim=-1)
        k_THK = torch.cat((k_nope, k_rope.expand(-1, config.num_heads, -1)), dim=-1)
        return attend_packed(torch.cat((q_nope, q_rope), dim=-1), k_THK, v_THK, batch, self.scale, None)

    def _absorbed(
        self, q_nope: Tensor, q_rope: Tensor, latent_TU: Tensor, k_rope: Tensor, batch: Batch, cache_N1Z: Tensor
    ) -> Tensor:
        config = self.config
        written = torch.cat((latent_TU[:, None], k_rope), dim=-1)
        cache_N1Z.index_copy_(0, batch.slots_T, written.to(cache_N1Z.dtype))
        up = dense_weight(self.wkv_b).to(q_nope.dtype).view(config.num_heads, -1, config.kv_lora_rank)
        k_up_HKU, v_up_HKU = up[:, : config.qk_nope_head_dim], up[:, config.qk_nope_head_dim :]
        q_THZ = torch.cat((torch.einsum("thk,hku->thu", q_nope, k_up_HKU), q_rope), dim=-1)
        y_THU = attend_paged(q_THZ, cache_N1Z, cache_N1Z[..., : config.kv_lora_rank], batch, self.scale, None)
        return torch.einsum("thu,hku->thk", y_THU, v_up_HKU)


def dense_weight(linear: nn.Module) -> Tensor:
    """The float weight [O, I] of a linear layer, quantised (it then has ``dequantize()``) or not."""
    weight: Tensor = linear.weight if isinstance(linear, nn.Linear) else linear.dequantize()  # type: ignore[operator]
    return weight


def attend_packed(
    q_THK: Tensor, k_TGK: Tensor, v_TGK: Tensor, batch: Batch, scale: float, window: int | None
) -> Tensor:
    """Causal attention of every sequence over itself, [T, H, K].

    Sequences that are about equally long go in one call, padded on the right: no real query sees the padding, as it is
    behind it.
    """
    lengths = batch.lengths
    sequences, longest = len(lengths), max(lengths)
    if min(lengths) == longest:
        q, k, v = (each.view(sequences, longest, *each.shape[1:]) for each in (q_THK, k_TGK, v_TGK))
        return _causal(q, k, v, scale, window).flatten(0, 1)
    if longest * sequences <= 2 * batch.starts[-1]:
        rows_T = batch.padded_rows()
        q, k, v = (_pad(each, rows_T, sequences, longest) for each in (q_THK, k_TGK, v_TGK))
        with _any_length(q):
            return _causal(q, k, v, scale, window).flatten(0, 1)[rows_T]
    outputs = []
    for start, end in pairwise(batch.starts):
        q, k, v = (each[None, start:end] for each in (q_THK, k_TGK, v_TGK))
        outputs.append(_causal(q, k, v, scale, window)[0])
    return torch.cat(outputs)


def _pad(x_THK: Tensor, rows_T: Tensor, sequences: int, longest: int) -> Tensor:
    padded = x_THK.new_zeros(sequences * longest, *x_THK.shape[1:])
    return padded.index_copy(0, rows_T, x_THK).view(sequences, longest, *x_THK.shape[1:])


def attend_paged(q_THK: Tensor, k_NGK: Tensor, v_NGK: Tensor, batch: Batch, scale: float, window: int | None) -> Tensor:
    """Attention of the step's tokens over their sequences' cached contexts, [T, H, K].

    On a GPU, a step with one token a sequence is one call for all. Else each sequence is its own call, which makes its
    result independent of the others.
    """
    if q_THK.is_cuda and q_THK.shape[0] == len(batch.contexts):
        return attend_last(q_THK, k_NGK, v_NGK, batch, scale, window)
    outputs = []
    for sequence, (start, context) in enumerate(zip(batch.starts, batch.contexts, strict=False)):
        q = q_THK[start : batch.starts[sequence + 1]]
        first = context - q.shape[0]
        oldest = 0 if window is None else max(0, first + 1 - window)
        slots_C = batch.context_slots(sequence)[oldest:]
        k, v = (each.index_select(0, slots_C).to(q.dtype)[None] for each in (k_NGK, v_NGK))
        with _any_length(q):
            if first == oldest:
                outputs.append(_causal(q[None], k, v, scale, window)[0])
            else:
                mask = None if q.shape[0] == 1 else _mask(first - oldest, q.shape[0], window, q.device)
                outputs.append(_attend(q[None], k, v, scale, mask)[0])
    return torch.cat(outputs)


def attend_last(q_SHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, batch: Batch, scale: float, window: int | None) -> Tensor:
    """Attention of one token a sequence, its last, over the cached contexts, all in one call; [S, H, K]."""
    slots_SC, seen_SC = batch.padded_slots(window)
    sequences, longest = slots_SC.shape
    kv_heads = k_NGK.shape[1]
    k, v = (each.index_select(0, slots_SC.flatten()).to(q_SHK.dtype) for each in (k_NGK, v_NGK))
    k_SGCK, v_SGCK = (each.view(sequences, longest, kv_heads, -1).transpose(1, 2) for each in (k, v))
    q_SGHK = q_SHK.view(sequences, kv_heads, -1, q_SHK.shape[-1])
    # Written out: PyTorch's fused attention would plan anew for every context length, or copy keys to all query heads.
    scores = (q_SGHK @ k_SGCK.transpose(2, 3)).float() * scale
    weights = scores.masked_fill(~seen_SC[:, None, None], -torch.inf).softmax(dim=-1).to(q_SHK.dtype)
    return (weights @ v_SGCK).flatten(1, 2)


def _any_length(q: Tensor) -> AbstractContextManager[object]:
    """Leave out cuDNN's attention, which spends milliseconds on a plan for each new length."""
    if not q.is_cuda:
        return nullcontext()
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def _causal(q_SLHK: Tensor, k_SLGK: Tensor, v_SLGK: Tensor, scale: float, window: int | None) -> Tensor:
    length = q_SLHK.shape[1]
    if window is None or window >= length:
        return _attend(q_SLHK, k_SLGK, v_SLGK, scale, None, causal=True)
    return _attend(q_SLHK, k_SLGK, v_SLGK, scale, _mask(0, length, window, q_SLHK.device))


def _mask(before: int, length: int, window: int | None, device: torch.device) -> Tensor:
    """Which of ``before + length`` keys each of the last ``length`` tokens sees, bool [L, C]."""
    queries = torch.arange(before, before + length, device=device)[:, None]
    keys = torch.arange(before + length, device=device)
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)


def _attend(
    q_SLHK: Tensor, k_SCGK: Tensor, v_SCGK: Tensor, scale: float, mask: Tensor | None, causal: bool = False
) -> Tensor:
    q, k, v = (each.transpose(1, 2) for each in (q_SLHK, k_SCGK, v_SCGK))
    y = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return y.transpose(1, 2)
