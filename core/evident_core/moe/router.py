"""Which experts a token uses, and with what weights.

Shapes: T tokens, D hidden, E experts, A experts of a token, N groups of experts, W experts of a group.

At inference the choice is deterministic and no token is dropped. In training mode, where the configuration says so,
Gumbel noise takes part in the choice and experts have a capacity; see ``balance`` for both and for the losses.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evident_core.errors import InvalidInput
from evident_core.moe.balance import gumbel_noise, kept_by_capacity
from evident_core.moe.config import MoEConfig

_EPSILON = 1e-20


@dataclass(frozen=True)
class Routing:
    """The experts that were chosen, and what the training losses need.

    Attributes:
        ids_TA: The experts of each token, int64, the best first.
        weights_TA: Their weights, float32; exactly 0 where a token was dropped by capacity.
        logits_TE: The router's logits, float32, before noise; -inf outside a token's domain.
        scores_TE: What the weights are taken from: probabilities, or sigmoids.
    """

    ids_TA: Tensor
    weights_TA: Tensor
    logits_TE: Tensor
    scores_TE: Tensor


class TopKRouter(nn.Module):
    """A linear gate, a score, and the top k.

    The order is that of every family: scores of the logits; choice by score (plus ``expert_bias``), within the best
    groups where there are groups; weights are the chosen experts' own scores, made to sum to 1 where the family does
    so, times the scaling factor. The weights are never taken from a hard sample, which would leave a single expert.
    """

    expert_bias: Tensor | None

    def __init__(self, hidden_size: int, config: MoEConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = nn.Linear(hidden_size, config.num_experts, bias=False)
        self.register_buffer("expert_bias", torch.zeros(config.num_experts) if config.expert_bias else None)

    def forward(self, x_TD: Tensor, domains_T: Tensor | None = None) -> Routing:
        """Choose experts.

        Args:
            x_TD: Tokens.
            domains_T: The domain of each token, int64; -1 is any. None is any for all.

        Raises:
            InvalidInput: Domains are given and the configuration has none.
        """
        config = self.config
        # A near tie between experts must not be decided by half precision.
        with torch.autocast(x_TD.device.type, enabled=False):
            logits_TE = nn.functional.linear(x_TD.float(), self.gate.weight.float())
            if domains_T is not None:
                logits_TE = logits_TE.masked_fill(self._outside(domains_T), -torch.inf)
            scores_TE = self._score(logits_TE)
            choice_TE = scores_TE.detach()
            if self.training and config.gumbel_temperature > 0:
                choice_TE = self._score(logits_TE.detach() + config.gumbel_temperature * gumbel_noise(logits_TE))
            if self.expert_bias is not None:
                choice_TE = choice_TE + self.expert_bias.float()
            if domains_T is not None:
                choice_TE = choice_TE.masked_fill(logits_TE == -torch.inf, -torch.inf)
            if config.num_groups > 1:
                choice_TE = self._limit_to_groups(choice_TE)
            ids_TA = choice_TE.topk(config.top_k, dim=-1).indices
            weights_TA = scores_TE.gather(1, ids_TA)
            if config.normalise_top_k:
                weights_TA = weights_TA / (weights_TA.sum(dim=-1, keepdim=True) + _EPSILON)
            weights_TA = weights_TA * config.scaling_factor
            if self.training and config.capacity_factor is not None:
                weights_TA = weights_TA * kept_by_capacity(ids_TA, config.num_experts, config.capacity_factor)
        return Routing(ids_TA, weights_TA, logits_TE, scores_TE)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TopKRouter":
        """A change of type leaves ``expert_bias`` in float32: its steps of 0.001 would vanish in half precision."""
        bias = self.expert_bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if bias is not None and self.expert_bias is not None and self.expert_bias.dtype != bias.dtype:
            self.expert_bias = bias.to(self.expert_bias.device)
        return self

    def _score(self, logits_TE: Tensor) -> Tensor:
        return logits_TE.softmax(dim=-1) if self.config.score == "softmax" else logits_TE.sigmoid()

    def _limit_to_groups(self, choice_TE: Tensor) -> Tensor:
        config = self.config
        choice_TNW = choice_TE.view(-1, config.num_groups, config.group_size)
        if config.group_score == "max":
            groups_TN = choice_TNW.amax(dim=-1)
        else:
            groups_TN = choice_TNW.topk(2, dim=-1).values.sum(dim=-1)
        best = groups_TN.topk(config.top_k_groups, dim=-1).indices
        kept_TN = torch.zeros_like(groups_TN, dtype=torch.bool).scatter_(1, best, True)
        return choice_TNW.masked_fill(~kept_TN[..., None], -torch.inf).flatten(1)

    def _outside(self, domains_T: Tensor) -> Tensor:
        """Which experts are not of a token's domain, bool [T, E]."""
        if not self.config.domains:
            raise InvalidInput("Tokens come with expert domains, and this model has none.", field="domains")
        sizes = [size for _, size in self.config.domains]
        numbers = torch.arange(len(sizes), device=domains_T.device)
        domain_E = numbers.repeat_interleave(torch.tensor(sizes, device=domains_T.device))
        return (domains_T[:, None] != domain_E) & (domains_T[:, None] >= 0)
