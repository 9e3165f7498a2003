"""What keeps a router's experts evenly used while it is trained; nothing here runs at inference.

Shapes: T tokens, E experts, A experts of a token.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from evident_core.moe.config import MoEConfig
    from evident_core.moe.router import Routing, TopKRouter


def gumbel_noise(like: Tensor) -> Tensor:
    """Standard Gumbel noise of the tensor's shape.

    The top k of ``logits / temperature + noise`` are k draws without replacement from ``softmax(logits /
    temperature)`` (Kool et al. 2019, arXiv:1903.06059); the router adds ``temperature * noise`` to the logits, which
    orders the experts alike.
    """
    return -torch.empty_like(like).exponential_().clamp_min_(torch.finfo(like.dtype).tiny).log_()


def expert_counts(ids_TA: Tensor, num_experts: int) -> Tensor:
    """How many tokens chose each expert, [E] float32, without a wait for the device."""
    ids = ids_TA.flatten()
    return torch.zeros(num_experts, device=ids.device).scatter_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))


def balance_loss(routing: "Routing") -> Tensor:
    """The load balancing loss of Switch and GShard (Fedus et al. 2021, arXiv:2101.03961, equation 4, for any top k).

    ``E * sum(share of choices * mean probability)``: 1 when even, up to E / A when the same A experts take all. Sigmoid
    scores are divided by their sum first, as in DeepSeek-V3 (arXiv:2412.19437, equation 18).
    """
    num_experts = routing.scores_TE.shape[-1]
    shares_E = expert_counts(routing.ids_TA, num_experts) / routing.ids_TA.numel()
    probabilities_TE = routing.scores_TE / routing.scores_TE.sum(dim=-1, keepdim=True)
    return num_experts * (shares_E * probabilities_TE.mean(dim=0)).sum()


def z_loss(routing: "Routing") -> Tensor:
    """The router z-loss of ST-MoE (Zoph et al. 2022, arXiv:2202.08906, equation 5): keeps logits small."""
    return routing.logits_TE.logsumexp(dim=-1).square().mean()


def router_losses(config: "MoEConfig", routings: Sequence["Routing"]) -> Tensor:
    """The mean over the layers of both losses, each with the configuration's weight; a scalar to add to the loss.

    Args:
        config: Where the weights stand.
        routings: What the layers' routers gave, at least one.
    """
    total = torch.zeros((), device=routings[0].logits_TE.device)
    for routing in routings:
        if config.balance_loss:
            total = total + config.balance_loss * balance_loss(routing)
        if config.z_loss:
            total = total + config.z_loss * z_loss(routing)
    return total / len(routings)


@torch.no_grad()
def update_expert_bias(router: "TopKRouter", counts_E: Tensor) -> None:
    """Move the bias of experts with less than the mean load up by one step, of those with more down, in place.

    DeepSeek-V3's balancing without a loss (Wang et al. 2024, arXiv:2408.15664, algorithm 1): ``bias += speed *
    sign(mean - count)``. To be called after each optimiser step with the counts of all devices summed.

    Args:
        router: Nothing happens where it has no ``expert_bias``.
        counts_E: Tokens of each expert in the batch (:func:`expert_counts`).
    """
    if router.expert_bias is not None:
        step_E = torch.sign(counts_E.mean() - counts_E) * router.config.bias_update_speed
        router.expert_bias += step_E.to(router.expert_bias)


@torch.no_grad()
def kept_by_capacity(ids_TA: Tensor, num_experts: int, factor: float) -> Tensor:
    """Which choices fit their experts' capacity, bool [T, A]; the others are dropped.

    An expert takes ``ceil(factor * T * A / E)`` choices: all first choices in the order of the tokens before any
    second choice (GShard, Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1).
    """
    tokens, active = ids_TA.shape
    capacity = math.ceil(factor * tokens * active / num_experts)
    ids = ids_TA.t().flatten()
    order = ids.argsort(stable=True)
    counts_E = torch.zeros(num_experts, dtype=torch.int64, device=ids.device)
    counts_E.scatter_add_(0, ids, torch.ones_like(ids))
    firsts_E = counts_E.cumsum(0) - counts_E
    places = torch.empty_like(ids)
    places[order] = torch.arange(ids.numel(), device=ids.device) - firsts_E[ids[order]]
    return (places < capacity).view(active, tokens).t()
