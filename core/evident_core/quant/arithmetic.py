"""Quantised products on any device: activations to int8 per token, integer products, then the two scales.

The definition is that of ``evident_kernels.reference``. The integer sums are exact whatever the order and whatever the
batch, so on a CPU a token's result is bitwise the same alone and among others.

Shapes: T tokens, I inputs, O outputs, G groups of a row.
"""

import torch

from evident_core.quant.rounding import dequantize
from evident_kernels import ops, reference

quantize_activations = reference.quantise


def linear(x_TI: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """``x @ w.T`` with the activations rounded to int8.

    Args:
        x_TI: Activations ``[.., I]`` of any floating type.
        weight: int8 ``[O, I]`` or packed uint8 ``[O, I/2]``.
        scales: float32 ``[O]`` or ``[O, G]``.

    Returns:
        ``y_TO`` in the type of ``x``.
    """
    if not x_TI.is_cuda:
        product = ops.int8_linear if weight.dtype == torch.int8 else ops.int4_linear
        own_TO: torch.Tensor = product(x_TI, weight, scales)
        return own_TO
    q_TI, scales_T1 = quantize_activations(x_TI.reshape(-1, x_TI.shape[-1]).float())
    y_TO = integer_linear(q_TI, scales_T1, weight, scales)
    return y_TO.to(x_TI.dtype).view(*x_TI.shape[:-1], -1)


def integer_linear(
    q_TI: torch.Tensor, scales_T1: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
) -> torch.Tensor:
    """The float32 product of activations that :func:`quantize_activations` rounded with quantised weights."""
    if weight.dtype == torch.int8:
        return _dot(q_TI, weight) * scales * scales_T1
    if q_TI.is_cuda:
        # One product with the weights' values in place of one a group: equal to float32's rounding, and not slow.
        return (q_TI @ dequantize(weight, scales).T) * scales_T1
    w_OI, group = reference.unpack_int4(weight), weight.shape[-1] * 2 // scales.shape[-1]
    y_TO = q_TI.new_zeros(q_TI.shape[0], weight.shape[0])
    for index, (q_TW, w_OW) in enumerate(zip(torch.split(q_TI, group, 1), torch.split(w_OI, group, 1), strict=True)):
        y_TO += reference.dot(q_TW, w_OW) * scales[:, index]
    return y_TO * scales_T1


def _dot(q_TI: torch.Tensor, w_OI: torch.Tensor) -> torch.Tensor:
    """Integer products as float32, rounded once: the sum itself is exact."""
    if q_TI.is_cuda and q_TI.shape[1] % 8 == 0 and w_OI.shape[0] % 8 == 0:
        return _dot_cuda(q_TI, w_OI)
    return reference.dot(q_TI, w_OI.float())


def _dot_cuda(q_TI: torch.Tensor, w_OI: torch.Tensor) -> torch.Tensor:
    """The same on int8 tensor cores, which take more than 16 rows."""
    tokens = q_TI.shape[0]
    q_TI = torch.nn.functional.pad(q_TI.to(torch.int8), (0, 0, 0, max(0, 32 - tokens)))
    return torch._int_mm(q_TI, w_OI.contiguous().T)[:tokens].float()
