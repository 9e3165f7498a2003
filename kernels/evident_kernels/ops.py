"""Quantised linears and experts as PyTorch operators: ``torch.ops.evident.int8_linear`` and its like.

For models that the whole-step kernel does not cover, and for training-side code. Each operator has one implementation,
chosen once, on first use: ``cpu`` (the C++ kernels) or ``reference`` (plain PyTorch). CUDA and Triton ones come before
these two when they exist. Tensors that are not on the CPU take the reference.

Shapes: T tokens, I/O inputs and outputs, G groups of a row, E experts, F expert intermediate, D hidden, A experts of a
token.
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from evident_kernels import cpu, reference
from evident_kernels.refusal import covers_group
from evident_kernels.spec import Weight

Chosen = Literal["cpu", "reference"]


@cache
def chosen() -> Chosen:
    """Which implementation runs; decided on the first call, which may compile the kernels."""
    return "reference" if cpu.library() is None else "cpu"


@torch.library.custom_op("evident::int8_linear", mutates_args=())
def int8_linear(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """``x @ w.T`` with activations rounded to int8, token by token.

    Args:
        x: [.., I], any floating type.
        weight: int8 [O, I].
        scales: float32 [O].

    Returns:
        [.., O] in the type of ``x``.
    """
    return _linear(x, weight, scales)


@torch.library.custom_op("evident::int4_linear", mutates_args=())
def int4_linear(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """``x @ w.T`` with activations rounded to int8, token by token, and weights of four bits.

    Args:
        x: [.., I], any floating type.
        weight: uint8 [O, I/2], the low nibble is the even input, value = nibble - 8.
        scales: float32 [O, G].

    Returns:
        [.., O] in the type of ``x``.
    """
    return _linear(x, weight, scales)


@torch.library.custom_op("evident::int8_experts", mutates_args=())
def int8_experts(
    x: Tensor, ids: Tensor, weights: Tensor, w13: Tensor, w13_scales: Tensor, w2: Tensor, w2_scales: Tensor
) -> Tensor:
    """The chosen SwiGLU experts of each token, weighted and summed in the order of their ids.

    Args:
        x: [T, D], any floating type.
        ids: int64 [T, A], below E.
        weights: [T, A], any floating type.
        w13: int8 [E, 2F, D], gate rows first.
        w13_scales: float32 [E, 2F].
        w2: int8 [E, D, F].
        w2_scales: float32 [E, D].

    Returns:
        [T, D] in the type of ``x``.
    """
    return _experts(x, ids, weights, w13, w13_scales, w2, w2_scales)


@torch.library.custom_op("evident::int4_experts", mutates_args=())
def int4_experts(
    x: Tensor, ids: Tensor, weights: Tensor, w13: Tensor, w13_scales: Tensor, w2: Tensor, w2_scales: Tensor
) -> Tensor:
    """As ``int8_experts`` with weights of four bits: uint8 [E, 2F, D/2] and [E, D, F/2], scales with a last G."""
    return _experts(x, ids, weights, w13, w13_scales, w2, w2_scales)


@int8_linear.register_fake
@int4_linear.register_fake
def _linear_like(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:  # noqa: ARG001
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@int8_experts.register_fake
@int4_experts.register_fake
def _experts_like(x: Tensor, ids: Tensor, weights: Tensor, *stacks: Tensor) -> Tensor:  # noqa: ARG001
    return x.new_empty(x.shape[0], stacks[2].shape[1])


def _weight(data: Tensor, scales: Tensor) -> Weight:
    group = 0 if data.dtype == torch.int8 else data.shape[-1] * 2 // scales.shape[-1]
    return Weight(data, scales, group)


def _runs_on_cpu(x: Tensor, *weights: Weight) -> bool:
    every = [x, *(tensor for weight in weights for tensor in (weight.data, weight.scales))]
    return (
        chosen() == "cpu"
        and all(isinstance(each, Tensor) and each.is_cpu and each.is_contiguous() for each in every)
        and all(weight.kind == "int8" or covers_group(weight.group_size) for weight in weights)
    )


def _linear(x: Tensor, data: Tensor, scales: Tensor) -> Tensor:
    weight, x_TI = _weight(data, scales), x.reshape(-1, x.shape[-1]).float().contiguous()
    if _runs_on_cpu(x_TI, weight):
        y_TO = x_TI.new_empty(x_TI.shape[0], data.shape[0])
        cpu.linear(x_TI, weight, y_TO)
    else:
        y_TO = reference.linear(x_TI, weight)
    return y_TO.to(x.dtype).view(*x.shape[:-1], data.shape[0])


def _experts(
    x: Tensor, ids: Tensor, weights: Tensor, w13: Tensor, w13_scales: Tensor, w2: Tensor, w2_scales: Tensor
) -> Tensor:
    up, down = _weight(w13, w13_scales), _weight(w2, w2_scales)
    x_TD, ids_TA, weights_TA = x.float().contiguous(), ids.contiguous(), weights.float().contiguous()
    if not _runs_on_cpu(x_TD, up, down):
        return reference.experts(x_TD, ids_TA, weights_TA, up, down).to(x.dtype)
    y_TD = x_TD.new_empty(x_TD.shape[0], w2.shape[1])
    cpu.experts(x_TD, ids_TA, weights_TA, up, down, y_TD)
    return y_TD.to(x.dtype)
