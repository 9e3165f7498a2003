"""Stacked experts with int8 or int4 weights: each expert a gated MLP whose two products are those of ``arithmetic``.

Shapes: T tokens, D hidden, E experts, F expert intermediate, A active experts a token, P = packed bytes, G groups.
"""

import torch
from torch.nn import functional

from evident_core.quant.arithmetic import integer_linear, linear, quantize_activations
from evident_core.quant.linear import Quantized
from evident_core.quant.rounding import dequantize
from evident_kernels import ops


class QuantExperts(Quantized):
    """Experts ``y = sum over the token's experts of weight * w2(silu(gate) * up)``, dropless.

    Attributes:
        w13: int8 ``[E, 2F, D]`` (gate rows first, then up), or for 4 bits uint8 ``[E, 2F, D/2]``.
        w13_scales: float32 ``[E, 2F]``, or for 4 bits ``[E, 2F, G]``.
        w2: int8 ``[E, D, F]``, or for 4 bits uint8 ``[E, D, F/2]``.
        w2_scales: float32 ``[E, D]``, or for 4 bits ``[E, D, G]``.
        bits: 8 or 4.
        group_size: Inputs that share a scale in ``w13``; ``w2_group_size`` in ``w2``.
    """

    scale_names = ("w13_scales", "w2_scales")
    w13: torch.Tensor
    w13_scales: torch.Tensor
    w2: torch.Tensor
    w2_scales: torch.Tensor

    def __init__(self, w13: torch.Tensor, w13_scales: torch.Tensor, w2: torch.Tensor, w2_scales: torch.Tensor) -> None:
        super().__init__()
        self.bits = 8 if w13.dtype == torch.int8 else 4
        self.num_experts, self.hidden_size = w2.shape[:2]
        self.intermediate_size = w13.shape[1] // 2
        self.group_size = self.hidden_size if self.bits == 8 else self.hidden_size // w13_scales.shape[2]
        self.w2_group_size = self.intermediate_size if self.bits == 8 else self.intermediate_size // w2_scales.shape[2]
        self.register_buffer("w13", w13)
        self.register_buffer("w13_scales", w13_scales)
        self.register_buffer("w2", w2)
        self.register_buffer("w2_scales", w2_scales)

    def forward(self, x_TD: torch.Tensor, ids_TA: torch.Tensor, weights_TA: torch.Tensor) -> torch.Tensor:
        """Route each token through its experts.

        Args:
            x_TD: Activations of any floating type.
            ids_TA: The experts of each token.
            weights_TA: What each expert's output counts.

        Returns:
            ``y_TD`` in the type of ``x``; the sum runs in the order of ``ids_TA``, in float32, so that a token's result
            does not depend on the others.
        """
        if not x_TD.is_cuda:
            product = ops.int8_experts if self.bits == 8 else ops.int4_experts
            own_TD: torch.Tensor = product(x_TD, ids_TA, weights_TA, self.w13, self.w13_scales, self.w2, self.w2_scales)
            return own_TD
        q_TD, scales_T1 = quantize_activations(x_TD.float())
        parts_TAD = q_TD.new_empty(*ids_TA.shape, x_TD.shape[1])
        for expert in torch.unique(ids_TA).tolist():
            tokens_N, slots_N = torch.nonzero(ids_TA == expert, as_tuple=True)
            gate_up = integer_linear(q_TD[tokens_N], scales_T1[tokens_N], self.w13[expert], self.w13_scales[expert])
            gate_NF, up_NF = gate_up.chunk(2, dim=-1)
            a_NF = functional.silu(gate_NF) * up_NF
            parts_TAD[tokens_N, slots_N] = linear(a_NF, self.w2[expert], self.w2_scales[expert])
        y_TD = q_TD.new_zeros(x_TD.shape)
        for slot in range(ids_TA.shape[1]):
            y_TD += parts_TAD[:, slot] * weights_TA[:, slot, None].float()
        return y_TD.to(x_TD.dtype)

    def dequantize(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The float32 ``w13`` and ``w2`` that the integers stand for."""
        return dequantize(self.w13, self.w13_scales), dequantize(self.w2, self.w2_scales)

    def extra_repr(self) -> str:
        """Sizes and bits, in the model's printed form."""
        sizes = f"{self.num_experts} x ({self.hidden_size} -> {self.intermediate_size})"
        return f"{sizes}, bits={self.bits}, group_size={self.group_size}"
