"""Every operation of the kernels in plain PyTorch: the definition, and what runs where there is no compiler.

Shapes: T tokens of a step (all sequences packed), S sequences, B blocks of a table, R rows whose logits are wanted,
D hidden, V vocabulary, H query heads, G key/value heads, K head dim, N cache slots, E experts, F expert intermediate,
A experts of a token, I/O inputs and outputs of a linear, W inputs of an int4 group, P positions a token sees.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from evident_kernels.spec import Attention, DenseMLP, ModelSpec, MoEMLP, Weight

_EXACT = 1024  # this many products of two int8 values sum to less than 2**24, where float32 holds every integer


def quantise(x_TI: Tensor) -> tuple[Tensor, Tensor]:
    """Round each token to int8: scale = max|x| / 127, q = x / scale rounded half to even.

    Returns:
        ``q_TI``, the integers as float32, and ``scales_T1``. A token of zeros has scale 0; one with a NaN or an
        infinity has a scale that is not finite.
    """
    scales_T1 = x_TI.abs().amax(dim=-1, keepdim=True) / 127
    return (x_TI / torch.where(scales_T1 == 0, 1.0, scales_T1)).round(), scales_T1


def unpack_int4(packed: Tensor) -> Tensor:
    """int4 pairs [.., I/2] (uint8, the low nibble is the even input, value = nibble - 8) as float32 [.., I]."""
    return (torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2).to(torch.int16) - 8).float()


def dot(q_TI: Tensor, w_OI: Tensor) -> Tensor:
    """The product of integers held as float32, exact before the one rounding to float32 at its end."""
    total_TO = q_TI.new_zeros(q_TI.shape[0], w_OI.shape[0], dtype=torch.float64)
    for q_TW, w_OW in zip(torch.split(q_TI, _EXACT, 1), torch.split(w_OI, _EXACT, 1), strict=True):
        total_TO += q_TW @ w_OW.T
    return total_TO.float()


def int8_linear(x_TI: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """``y_TO``: x rounded to int8, times int8 [O, I] with a scale a row [O]."""
    q_TI, scales_T1 = quantise(x_TI)
    return dot(q_TI, weight.float()) * scales * scales_T1


def int4_linear(x_TI: Tensor, weight: Tensor, scales: Tensor, group_size: int) -> Tensor:
    """``y_TO``: x rounded to int8, times int4 [O, I/2] with a scale a group [O, I/group_size]."""
    q_TI, scales_T1 = quantise(x_TI)
    w_OI = unpack_int4(weight)
    y_TO = q_TI.new_zeros(q_TI.shape[0], w_OI.shape[0])
    for index, (q_TW, w_OW) in enumerate(
        zip(torch.split(q_TI, group_size, 1), torch.split(w_OI, group_size, 1), strict=True)
    ):
        y_TO += dot(q_TW, w_OW) * scales[:, index]
    return y_TO * scales_T1


def linear(x_TI: Tensor, weight: Weight, expert: int | None = None) -> Tensor:
    """``y_TO`` with a weight of any kind, or one expert of a stack of them."""
    data = torch.as_tensor(weight.data)
    scales = None if weight.scales is None else torch.as_tensor(weight.scales)
    if expert is not None:
        data, scales = data[expert], None if scales is None else scales[expert]
    if scales is None:
        y_TO = x_TI @ data.T
    elif weight.kind == "int8":
        y_TO = int8_linear(x_TI, data, scales)
    else:
        y_TO = int4_linear(x_TI, data, scales, weight.group_size)
    return y_TO if weight.bias is None else y_TO + torch.as_tensor(weight.bias)


def swiglu(x_TD: Tensor, mlp: DenseMLP | MoEMLP, expert: int | None = None) -> Tensor:
    """``w2 @ (silu(gate) * up)``, gate and up the halves of ``w13 @ x``."""
    gate_TF, up_TF = linear(x_TD, mlp.w13, expert).chunk(2, dim=-1)
    return linear(functional.silu(gate_TF) * up_TF, mlp.w2, expert)


def experts(x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor, w13: Weight, w2: Weight) -> Tensor:
    """``y_TD``: the sum over a token's experts, in the order of their ids, of weight times SwiGLU."""
    mlp, y_TD = DenseMLP(w13, w2), x_TD.new_zeros(x_TD.shape[0], w2.shape[-2])
    for expert in torch.unique(ids_TA).tolist():
        tokens_N, slots_N = torch.nonzero(ids_TA == expert, as_tuple=True)
        y_TD[tokens_N] += weights_TA[tokens_N, slots_N, None] * swiglu(x_TD[tokens_N], mlp, expert)
    return y_TD


def route(logits_TE: Tensor, moe: MoEMLP) -> tuple[Tensor, Tensor]:
    """Which experts each token uses (ids [T, A]), and with which weights [T, A]; see :class:`MoEMLP`."""
    scores_TE = logits_TE.softmax(-1) if moe.score == "softmax" else logits_TE.sigmoid()
    choice_TE = scores_TE if moe.expert_bias is None else scores_TE + torch.as_tensor(moe.expert_bias)
    if moe.num_groups > moe.top_k_groups:
        grouped = torch.unflatten(choice_TE, 1, (moe.num_groups, -1))
        best = 2 if moe.group_score == "top2_sum" else 1
        groups = grouped.topk(min(best, grouped.shape[-1]), dim=-1).values.sum(-1)
        kept = torch.zeros_like(groups, dtype=torch.bool)
        kept.scatter_(1, groups.argsort(dim=1, descending=True, stable=True)[:, : moe.top_k_groups], True)
        choice_TE = grouped.masked_fill(~kept[..., None], -torch.inf).flatten(1)
    ids_TA = choice_TE.argsort(dim=1, descending=True, stable=True)[:, : moe.top_k]
    weights_TA = scores_TE.gather(1, ids_TA)
    if moe.normalise_top_k:
        weights_TA = weights_TA / weights_TA.sum(dim=1, keepdim=True)
    return ids_TA, weights_TA * moe.scaling_factor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Each row over the root of its mean square, times the weight (arXiv:1910.07467)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rotate(x_THK: Tensor, cos_TC: Tensor, sin_TC: Tensor, interleaved: bool) -> Tensor:
    """The rotary embedding (arXiv:2104.09864) of the first 2 C dims of each head."""
    half = cos_TC.shape[1]
    turned, rest = x_THK[..., : 2 * half], x_THK[..., 2 * half :]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, dim=-1)
    cos, sin = cos_TC[:, None], sin_TC[:, None]
    pair = (a * cos - b * sin, b * cos + a * sin)
    turned = torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)
    return torch.cat((turned, rest), dim=-1)


def decode_step(
    spec: ModelSpec,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    token_ids_T: Tensor,
    positions_T: Tensor,
    slots_T: Tensor,
    starts: Sequence[int],
    contexts: Sequence[int],
    tables_SB: Tensor,
    rows_R: Tensor,
    block_size: int,
    allowed_RV: Tensor | None = None,
) -> Tensor:
    """One step of a whole model, as :meth:`evident_kernels.cpu.DecodeModel.run` defines it.

    Args:
        spec: The model.
        keys: [N, G, K] per layer, float32 or float16; the step's are written to them.
        values: As ``keys``.
        token_ids_T: The tokens.
        positions_T: Each one's position in its sequence.
        slots_T: The cache slot that each is written to.
        starts: Where each sequence's tokens start, S + 1 of them.
        contexts: Tokens of each sequence in the cache once this step is written.
        tables_SB: Block tables.
        rows_R: The tokens whose logits are wanted.
        block_size: Slots of a block.
        allowed_RV: Which tokens each row may be; None allows all.

    Returns:
        Logits [R, V].
    """
    embedding = torch.as_tensor(spec.embedding.data)[token_ids_T].float()
    x_TD = embedding
    if spec.embedding.scales is not None:
        x_TD = embedding * torch.as_tensor(spec.embedding.scales)[token_ids_T, None]
    for layer, k_NGK, v_NGK in zip(spec.layers, keys, values, strict=True):
        normed_TD = rms_norm(x_TD, torch.as_tensor(layer.attn_norm), spec.rms_norm_eps)
        q_THK = _write(normed_TD, layer.attention, spec, k_NGK, v_NGK, positions_T, slots_T)
        parts = [q_THK.new_empty(0, spec.num_heads * spec.head_dim)]
        for s, context in enumerate(contexts):
            p = torch.arange(context)
            slots_P = tables_SB[s, p // block_size] * block_size + p % block_size
            q_sHK = q_THK[starts[s] : starts[s + 1]]
            parts.append(_attend(q_sHK, k_NGK[slots_P], v_NGK[slots_P], layer.attention.window, spec))
        x_TD = x_TD + linear(torch.cat(parts), layer.attention.wo)
        x_TD = x_TD + _mlp(rms_norm(x_TD, torch.as_tensor(layer.mlp_norm), spec.rms_norm_eps), layer.mlp)
    last_RD = rms_norm(x_TD[rows_R], torch.as_tensor(spec.norm), spec.rms_norm_eps)
    logits_RV = linear(last_RD, spec.head or spec.embedding)
    return logits_RV if allowed_RV is None else logits_RV.masked_fill(~allowed_RV, -torch.inf)


def _write(
    x_TD: Tensor,
    attention: Attention,
    spec: ModelSpec,
    k_NGK: Tensor,
    v_NGK: Tensor,
    positions_T: Tensor,
    slots_T: Tensor,
) -> Tensor:
    """Project, norm and rotate; write keys and values into the cache, and give the queries."""
    made = []
    for weight, norm in ((attention.wq, attention.q_norm), (attention.wk, attention.k_norm)):
        y_TO = linear(x_TD, weight)
        width = None if norm is None else norm.shape[0]
        if width == spec.head_dim:
            y_TO = rms_norm(
                torch.unflatten(y_TO, 1, (-1, spec.head_dim)), torch.as_tensor(norm), spec.rms_norm_eps
            ).flatten(1)
        elif width is not None:
            y_TO = rms_norm(y_TO, torch.as_tensor(norm), spec.rms_norm_eps)
        cos_TC, sin_TC = (torch.as_tensor(table)[positions_T] for table in (spec.cos, spec.sin))
        made.append(rotate(torch.unflatten(y_TO, 1, (-1, spec.head_dim)), cos_TC, sin_TC, spec.interleaved))
    q_THK, k_TGK = made
    k_NGK[slots_T] = k_TGK.to(k_NGK.dtype)
    v_NGK[slots_T] = torch.unflatten(linear(x_TD, attention.wv), 1, (-1, spec.head_dim)).to(v_NGK.dtype)
    return q_THK


def _attend(q_THK: Tensor, k_PGK: Tensor, v_PGK: Tensor, window: int | None, spec: ModelSpec) -> Tensor:
    """One sequence's last T tokens over its P positions: [T, H * K]."""
    tokens, context = q_THK.shape[0], k_PGK.shape[0]
    shared = spec.num_heads // spec.num_kv_heads
    k_PHK, v_PHK = (each.float().repeat_interleave(shared, dim=1) for each in (k_PGK, v_PGK))
    scale = spec.attention_scale if spec.attention_scale is not None else spec.head_dim**-0.5
    scores_HTP = torch.einsum("thk,phk->htp", q_THK, k_PHK) * scale
    behind_TP = torch.arange(context - tokens, context)[:, None] - torch.arange(context)
    hidden_TP = (behind_TP < 0) | (behind_TP >= (window or context))
    weights_HTP = scores_HTP.masked_fill(hidden_TP, -torch.inf).softmax(-1)
    return torch.einsum("htp,phk->thk", weights_HTP, v_PHK).flatten(1)


def _mlp(x_TD: Tensor, mlp: DenseMLP | MoEMLP) -> Tensor:
    if isinstance(mlp, DenseMLP):
        return swiglu(x_TD, mlp)
    y_TD = experts(x_TD, *route(x_TD @ torch.as_tensor(mlp.gate).T, mlp), mlp.w13, mlp.w2)
    return y_TD if mlp.shared is None else y_TD + swiglu(x_TD, mlp.shared)


def sample(
    logits_V: Tensor, u: float, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> int:
    """Draw one token as :func:`evident_kernels.cpu.sample` defines it; -1 where no token is allowed."""
    logits_V = logits_V.float().nan_to_num(-torch.inf, torch.inf, -torch.inf)
    ranked_V = logits_V.argsort(descending=True, stable=True)
    top = float(logits_V[ranked_V[0]])
    if temperature == 0 or abs(top) == torch.inf:
        return -1 if top == -torch.inf else int(ranked_V[0])
    weights_V = ((logits_V - top) * (1 / torch.tensor(temperature))).exp().double()
    kept_V = weights_V > 0
    if top_k:
        kept_V[ranked_V[top_k:]] = False
    ranked_weights_V = (weights_V * kept_V)[ranked_V]
    before_V = ranked_weights_V.cumsum(0) - ranked_weights_V
    if top_p < 1:
        kept_V[ranked_V[before_V >= top_p * float(ranked_weights_V.sum())]] = False
    kept_V &= weights_V >= torch.tensor(min_p, dtype=torch.float32).double()
    sums_V = (weights_V * kept_V).cumsum(0)
    last = int(torch.nonzero(kept_V)[-1])
    return min(last, int(torch.searchsorted(sums_V, u * float(sums_V[-1]), right=True)))
