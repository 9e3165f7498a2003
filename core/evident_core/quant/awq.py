"""Activation-aware scales: channels that carry large activations get finer weights, and what feeds them the inverse.

Lin et al. 2023, arXiv:2306.00978, section 3.2: of scales ``s = magnitude ** alpha`` the alpha is taken from a grid that
gives the least error of the output, here with the activations rounded as they will be. ``alpha = 0`` is in the grid and
is plain rounding, so on the calibration's sample the result is never worse than that.

Shapes: N sampled tokens, D hidden, I inputs, O outputs, F width of an expert, H query heads, G kv heads, K head dim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evident_core.quant.arithmetic import quantize_activations
from evident_core.quant.config import QuantConfig
from evident_core.quant.linear import quantize_matrix
from evident_core.quant.rounding import dequantize

# Scales span at most this ratio, so that a channel without activations does not get an endless one.
_SPAN = 1e4


@dataclass(frozen=True)
class Choice:
    """What the search chose at one place.

    Attributes:
        name: The place: the tensors whose inputs are scaled.
        alpha: The exponent; 0 is plain rounding.
        plain: Squared error of the output with plain rounding, as a share of the output's own square.
        error: The same with what was chosen; never above ``plain``.
    """

    name: str
    alpha: float
    plain: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"name": self.name, "alpha": self.alpha, "plain_error": self.plain, "error": self.error}


@dataclass(frozen=True)
class Found:
    """A search's result: the scale of each channel, whether importance helps the rounding, and the figures."""

    scale: Tensor
    weighted: bool
    choice: Choice


Evaluate = Callable[[Tensor, QuantConfig, bool], float]
"""The error of the output for scales, a rounding, and whether that is weighted by the activations' squares."""


def search(name: str, magnitude: Tensor, config: QuantConfig, evaluate: Evaluate, reference: float) -> Found:
    """Try the exponents and take the best.

    Args:
        name: The place, for the report.
        magnitude: Mean magnitude of each channel that a scale belongs to.
        config: How weights will be rounded; the grid is searched without its clipping, the end with it.
        evaluate: What a choice costs.
        reference: The output's own square, which errors are stated as a share of.
    """
    grid = [index / config.steps for index in range(config.steps + 1)]
    quick = replace(config, clip=False)
    errors = [evaluate(_scale(magnitude, alpha), quick, False) for alpha in grid]
    best = grid[min(range(len(grid)), key=errors.__getitem__)]
    plain = evaluate(torch.ones_like(magnitude), config, False)
    found, least = (0.0, False), plain
    for alpha, weighted in ((best, False), (best, True), (0.0, True)):
        if (alpha == 0.0 and not weighted) or (weighted and not config.clip):
            continue
        error = evaluate(_scale(magnitude, alpha), config, weighted)
        if error < least:
            found, least = (alpha, weighted), error
    share = 1.0 / reference if reference > 0 else 0.0
    choice = Choice(name, found[0], plain * share, least * share)
    return Found(_scale(magnitude, found[0]), found[1], choice)


def rounded_product(x_NI: Tensor, w_OI: Tensor, config: QuantConfig, importance_I: Tensor | None) -> Tensor:
    """``x @ w.T`` as the quantised layer will compute it."""
    q_NI, scales_N1 = quantize_activations(x_NI)
    w_OI = dequantize(*quantize_matrix(w_OI, config, "a scaled weight", importance_I))
    return (q_NI @ w_OI.T) * scales_N1


def search_linears(
    name: str,
    x_NI: Tensor,
    magnitude: Tensor,
    weights: Sequence[Tensor],
    config: QuantConfig,
    expand: Callable[[Tensor], Tensor] = lambda scale: scale,
) -> Found:
    """The scale of the input that several linears share; their errors count relative to their own outputs.

    Args:
        name: The place, for the report.
        x_NI: Sampled inputs.
        magnitude: Of each channel that a scale belongs to.
        weights: The float weights ``[O, I]`` of each.
        config: How they will be rounded.
        expand: From a scale per channel of ``magnitude`` to one per input, where inputs share scales.
    """
    weights = [weight.float() for weight in weights]
    exact = [x_NI @ weight.T for weight in weights]
    squares = [float(y.square().sum()) or 1.0 for y in exact]

    def evaluate(scale: Tensor, config: QuantConfig, weighted: bool) -> float:
        scale_I = expand(scale)
        scaled_NI = x_NI / scale_I
        importance_I = scaled_NI.square().mean(dim=0) if weighted else None
        return sum(
            float((rounded_product(scaled_NI, weight * scale_I, config, importance_I) - y).square().sum()) / square
            for weight, y, square in zip(weights, exact, squares, strict=True)
        )

    return search(name, magnitude, config, evaluate, float(len(weights)))


@dataclass(frozen=True)
class Branch:
    """A gated MLP and the sampled tokens that pass through it: an expert, the shared expert, or a dense MLP.

    Attributes:
        name: Of its ``w2``, for the report.
        x_ND: Its tokens.
        weight_N1: What its output counts for each.
        w13: Float ``[2F, D]``.
        w2: Float ``[D, F]``.
    """

    name: str
    x_ND: Tensor
    weight_N1: Tensor
    w13: Tensor
    w2: Tensor

    def middle(self, gate_up: Tensor) -> Tensor:
        """``silu(gate) * up``."""
        gate_NF, up_NF = gate_up.chunk(2, dim=-1)
        return functional.silu(gate_NF) * up_NF

    def cost(self, off_NF: Tensor) -> float:
        """The squared error of the output that an error of the middle makes."""
        return float(((off_NF @ self.w2.float().T) * self.weight_N1).square().sum())


def search_branches(name: str, branches: Sequence[Branch], magnitude_D: Tensor, config: QuantConfig) -> Found:
    """The scale of the input that all experts of a layer share, by the error at the layer's output."""
    exact = [branch.middle(branch.x_ND @ branch.w13.float().T) for branch in branches]

    def evaluate(scale_D: Tensor, config: QuantConfig, weighted: bool) -> float:
        total = 0.0
        for branch, a_NF in zip(branches, exact, strict=True):
            x_ND = branch.x_ND / scale_D
            importance_D = x_ND.square().mean(dim=0) if weighted else None
            gate_up = rounded_product(x_ND, branch.w13.float() * scale_D, config, importance_D)
            total += branch.cost(branch.middle(gate_up) - a_NF)
        return total

    reference = sum(branch.cost(a_NF) for branch, a_NF in zip(branches, exact, strict=True))
    return search(name, magnitude_D, config, evaluate, reference)


def search_middle(branch: Branch, config: QuantConfig) -> tuple[Found, Tensor]:
    """The scale between a branch's up rows and its ``w2``; also the middle's sample ``a_NF``."""
    a_NF = branch.middle(branch.x_ND @ branch.w13.float().T)
    weighted_NF = a_NF * branch.weight_N1
    w2 = branch.w2.float()
    exact_ND = weighted_NF @ w2.T

    def evaluate(scale_F: Tensor, config: QuantConfig, weighted: bool) -> float:
        scaled_NF = a_NF / scale_F
        importance_F = scaled_NF.square().mean(dim=0) if weighted else None
        y_ND = rounded_product(scaled_NF, w2 * scale_F, config, importance_F) * branch.weight_N1
        return float((y_ND - exact_ND).square().sum())

    reference = float(exact_ND.square().sum())
    return search(branch.name, a_NF.abs().mean(dim=0), config, evaluate, reference), a_NF


def _scale(magnitude: Tensor, alpha: float) -> Tensor:
    """``magnitude ** alpha`` about 1: the geometric mean of its extremes is 1."""
    if alpha == 0.0 or float(magnitude.max()) <= 0.0:
        return torch.ones_like(magnitude)
    scale = (magnitude / magnitude.max()).clamp(min=1 / _SPAN).pow(alpha)
    return scale / (scale.max() * scale.min()).sqrt()
