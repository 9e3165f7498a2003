"""The model over rectangles of tokens, as training wants it: every row one document, padded on the right.

The same functions as ``model.CausalLM.hidden`` over packed sequences, and equal to it; here every step is a plain
tensor operation that ``torch.compile`` fuses, with no wait for the device, and gradients flow to the same parameters.

Shapes: B rows, L tokens of a row, D hidden, H query heads, G kv heads, K numbers of a head, J = K / 2 pairs of them,
T = B * L tokens, E experts, F width of an expert, G = 2 F both its halves, A experts of a token, V vocabulary.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.errors import InvalidInput
from evident_core.moe.attention import GQA
from evident_core.moe.balance import balance_loss, expert_counts, z_loss
from evident_core.moe.experts import Experts, MoE
from evident_core.moe.model import CausalLM, Layer
from evident_core.moe.rope import rotate


class Load(NamedTuple):
    """What a layer's router did: its two losses, and the tokens of each expert, [E]."""

    balance: Tensor
    z: Tensor
    counts_E: Tensor


def attend_rows(attn: GQA, x_BLD: Tensor, cos_LJ: Tensor, sin_LJ: Tensor) -> Tensor:
    """Causal attention of every row over itself, [B, L, D]."""
    config = attn.config
    q, k, v = attn.wq(x_BLD), attn.wk(x_BLD), attn.wv(x_BLD)
    q_BLHK = q.unflatten(-1, (config.num_heads, config.head_dim))
    k_BLGK = k.unflatten(-1, (config.num_kv_heads, config.head_dim))
    v_BLGK = v.unflatten(-1, (config.num_kv_heads, config.head_dim))
    if config.qk_norm == "head":
        q_BLHK, k_BLGK = attn.q_norm(q_BLHK), attn.k_norm(k_BLGK)
    # rotate() takes tokens in front and adds the heads' dimension to the angles itself.
    q_BLHK = rotate(q_BLHK, cos_LJ, sin_LJ, attn.rope.interleaved).to(v_BLGK.dtype)
    k_BLGK = rotate(k_BLGK, cos_LJ, sin_LJ, attn.rope.interleaved).to(v_BLGK.dtype)
    share = config.num_heads // config.num_kv_heads
    k_BLHK, v_BLHK = k_BLGK.repeat_interleave(share, dim=2), v_BLGK.repeat_interleave(share, dim=2)
    q, k, v = (each.transpose(1, 2) for each in (q_BLHK, k_BLHK, v_BLHK))
    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=config.head_dim**-0.5)
    y_BLD: Tensor = attn.wo(y.transpose(1, 2).flatten(-2))
    return y_BLD


def mix_all_experts(experts: Experts, x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor) -> Tensor:
    """The weighted sum of each token's experts, [T, D], by running every token through every expert.

    For small models on a GPU this is two large matrix products instead of a sort and many small ones. The weight of an
    expert that a token did not choose is exactly 0, so values and gradients are those of the chosen ones.
    """
    count, width, hidden = experts.w13_EGD.shape
    weights_TE = torch.zeros(x_TD.shape[0], count, dtype=weights_TA.dtype, device=x_TD.device)
    weights_TE = weights_TE.scatter(1, ids_TA, weights_TA)
    both_TEG = functional.linear(x_TD, experts.w13_EGD.reshape(count * width, hidden)).view(-1, count, width)
    gate_TEF, up_TEF = both_TEG.chunk(2, dim=-1)
    inner_TEF = functional.silu(gate_TEF) * up_TEF * weights_TE.to(both_TEG.dtype)[..., None]
    down_DP = experts.w2_EDF.permute(1, 0, 2).reshape(hidden, count * width // 2)
    return functional.linear(inner_TEF.flatten(-2), down_DP)


def run_layer(layer: Layer, x_BLD: Tensor, cos_LJ: Tensor, sin_LJ: Tensor) -> tuple[Tensor, Load]:
    """One layer's output, [B, L, D], and its router's load."""
    attn, mlp = layer.attn, layer.mlp
    if not isinstance(attn, GQA) or not isinstance(mlp, MoE) or attn.config.qk_norm == "full":
        raise InvalidInput(
            "Rows are run for layers of grouped-query attention (with norms of heads or none) and experts only; "
            "use CausalLM.hidden for this model."
        )
    x_BLD = x_BLD + attend_rows(attn, layer.attn_norm(x_BLD), cos_LJ, sin_LJ)
    y_TD = layer.mlp_norm(x_BLD).flatten(0, 1)
    routing = mlp.router(y_TD)
    z_TD = mix_all_experts(mlp.experts, y_TD, routing.ids_TA, routing.weights_TA)
    if mlp.shared is not None:
        z_TD = z_TD + mlp.shared(y_TD)
    counts_E = expert_counts(routing.ids_TA, routing.logits_TE.shape[-1])
    return x_BLD + z_TD.view_as(x_BLD), Load(balance_loss(routing), z_loss(routing), counts_E)


class Rows(nn.Module):
    """A model over rectangles, its layers compiled or not; it has no parameters but the model's own."""

    def __init__(self, model: CausalLM, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        # The layers are alike: compiled as a function of the layer, they are compiled once for all, for any size.
        self.run = torch.compile(run_layer, dynamic=True) if compiled else run_layer

    def hidden(self, tokens_BL: Tensor) -> tuple[Tensor, list[Load]]:
        """What the head reads, [B, L, D], and the load of every router."""
        model = self.model
        x_BLD: Tensor = model.embed(tokens_BL)
        cos_LJ, sin_LJ = model.rotary(torch.arange(tokens_BL.shape[1], device=tokens_BL.device))
        loads = []
        for layer in model.layers:
            x_BLD, load = self.run(cast("Layer", layer), x_BLD, cos_LJ, sin_LJ)
            loads.append(load)
        return model.norm(x_BLD), loads

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """The logits of every token, [B, L, V] float32."""
        return self.model.logits(self.hidden(tokens_BL)[0])
