"""The experts of a layer as two stacked tensors, and the dense MLP.

Shapes: T tokens, D hidden, E experts, F width of an expert, A experts of a token, P = T * A pairs of token and expert.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.moe.balance import expert_counts
from evident_core.moe.config import MoEConfig
from evident_core.moe.router import Routing, TopKRouter


def gated(x: Tensor) -> Tensor:
    """SwiGLU's middle (Shazeer 2020, arXiv:2002.05202): SiLU of the first half times the second."""
    gate, up = x.chunk(2, dim=-1)
    return functional.silu(gate) * up


class SwiGLU(nn.Module):
    """The dense MLP: ``w2(silu(gate) * up)``, gate and up rows in one weight, gate first."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.w13 = nn.Linear(hidden_size, 2 * intermediate_size, bias=False)
        self.w2 = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        """The MLP's output, [T, D]."""
        y_TD: Tensor = self.w2(gated(self.w13(x_TD)))
        return y_TD


class Experts(nn.Module):
    """All routed experts of a layer: ``w13_EGD`` [E, 2F, D] with gate rows first, ``w2_EDF`` [E, D, F]."""

    def __init__(self, num_experts: int, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.w13_EGD = nn.Parameter(torch.empty(num_experts, 2 * intermediate_size, hidden_size))
        self.w2_EDF = nn.Parameter(torch.empty(num_experts, hidden_size, intermediate_size))

    def forward(self, x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor) -> Tensor:
        """The weighted sum of each token's experts, [T, D].

        A token's result does not depend on the order of other tokens: its experts are added in the order of ``ids_TA``.
        """
        return apply_experts(x_TD, ids_TA, weights_TA, self.w13_EGD, self.w2_EDF)


class MoE(nn.Module):
    """Router, routed experts and, where there is one, the shared expert."""

    def __init__(self, hidden_size: int, config: MoEConfig) -> None:
        super().__init__()
        self.router = TopKRouter(hidden_size, config)
        self.experts = Experts(config.num_experts, hidden_size, config.intermediate_size)
        shared = config.shared_intermediate_size
        self.shared = SwiGLU(hidden_size, shared) if shared else None

    def forward(self, x_TD: Tensor, domains_T: Tensor | None = None, routings: list[Routing] | None = None) -> Tensor:
        """The layer's output, [T, D]; the routing is appended to ``routings`` for the training losses."""
        routing: Routing = self.router(x_TD, domains_T)
        if routings is not None:
            routings.append(routing)
        y_TD: Tensor = self.experts(x_TD, routing.ids_TA, routing.weights_TA)
        return y_TD if self.shared is None else y_TD + self.shared(x_TD)


def apply_experts(x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor, w13_EGD: Tensor, w2_EDF: Tensor) -> Tensor:
    """Run each token through its experts and add the results by weight, [T, D].

    Each expert that is used is one pair of matrix products: all in one grouped call on a GPU in half precision, else in
    a loop.
    """
    if torch.is_autocast_enabled(x_TD.device.type):
        dtype = torch.get_autocast_dtype(x_TD.device.type)
        x_TD, w13_EGD, w2_EDF = x_TD.to(dtype), w13_EGD.to(dtype), w2_EDF.to(dtype)

    def products(x_PD: Tensor, ids_P: Tensor) -> Tensor:
        if _grouped(x_PD, w13_EGD, w2_EDF):
            ends_E = expert_counts(ids_P, w13_EGD.shape[0]).cumsum(0).int()
            h_PF = gated(functional.grouped_mm(x_PD, w13_EGD.transpose(1, 2), offs=ends_E))
            return functional.grouped_mm(h_PF, w2_EDF.transpose(1, 2), offs=ends_E)
        pieces = [
            functional.linear(gated(functional.linear(x, w13_EGD[expert])), w2_EDF[expert])
            for expert, x in by_expert(x_PD, ids_P, w13_EGD.shape[0])
        ]
        return torch.cat(pieces)

    return dispatch(x_TD, ids_TA, weights_TA, products)


def dispatch(x_TD: Tensor, ids_TA: Tensor, weights_TA: Tensor, products: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sort the pairs of token and expert by expert, compute them, and add each token's results by weight, [T, D].

    Args:
        x_TD: Tokens.
        ids_TA: The experts of each token.
        weights_TA: Their weights.
        products: From the pairs' tokens [P, D] and their experts [P], in rising order, to the pairs' results [P, D].
    """
    tokens, active = ids_TA.shape
    ids_P, order_P = ids_TA.flatten().sort(stable=True)
    back_P = torch.empty_like(order_P).scatter_(0, order_P, torch.arange(order_P.numel(), device=order_P.device))
    x_PD: Tensor = _Spread.apply(x_TD, order_P, back_P, active)  # type: ignore[no-untyped-call]
    y_PD: Tensor = _Spread.apply(products(x_PD, ids_P), back_P, order_P, 1)  # type: ignore[no-untyped-call]
    y_TAD = y_PD.view(tokens, active, -1)
    return (y_TAD * weights_TA.to(y_TAD.dtype)[..., None]).sum(dim=1)


class _Spread(torch.autograd.Function):
    """Copy every row ``copies`` times and reorder the copies; the gradient is a reordering too, not a scattered sum.

    The sum that PyTorch would make runs on atomics: slower, and different from run to run.
    """

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, order_P: Tensor, back_P: Tensor, copies: int) -> Tensor:
        ctx.save_for_backward(back_P)
        ctx.copies = copies
        return x_TD.index_select(0, order_P if copies == 1 else order_P // copies)

    @staticmethod
    def backward(ctx: Any, gradient_PD: Tensor) -> tuple[Tensor, None, None, None]:
        (back_P,) = ctx.saved_tensors
        rows = gradient_PD.index_select(0, back_P)
        return rows if ctx.copies == 1 else rows.view(-1, ctx.copies, rows.shape[-1]).sum(dim=1), None, None, None


def by_expert(x_PD: Tensor, ids_P: Tensor, num_experts: int) -> Iterator[tuple[int, Tensor]]:
    """Each expert that is used with its tokens; the device is waited for once."""
    start = 0
    for expert, count in enumerate(torch.bincount(ids_P, minlength=num_experts).tolist()):
        if count:
            yield expert, x_PD[start : start + count]
            start += count


def _grouped(x_PD: Tensor, w13_EGD: Tensor, w2_EDF: Tensor) -> bool:
    """Whether the one-call product applies: it needs bfloat16, rows of whole 16 bytes, and an Ampere GPU or later."""
    return (
        x_PD.is_cuda
        and x_PD.dtype == w13_EGD.dtype == torch.bfloat16
        and w13_EGD.shape[-1] % 8 == 0
        and w2_EDF.shape[-1] % 8 == 0
        and hasattr(functional, "grouped_mm")
        and torch.cuda.get_device_capability(x_PD.device) >= (8, 0)
    )
