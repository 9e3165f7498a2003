"""Weights to integers and back: symmetric int8 per output channel, int4 per group of inputs, packed two to a byte.

Shapes: O outputs, I inputs, P = I / 2 packed bytes, G groups of a row, W weights of a group, N = O x G groups in all.
"""

import torch

from evident_core.errors import InvalidInput
from evident_kernels.reference import unpack_int4

INT8_MAX = 127
INT4_MIN, INT4_MAX = -8, 7
# A rounding error of a group falls with a smaller scale until clipping costs more than it saves; the minimum lies
# above half of the largest magnitude for any bell-shaped group of 128, and the grid is finer than its flat bottom.
_INT4_SHARES = tuple(share / 32 for share in range(32, 17, -1))
_INT8_SHARES = tuple(share / 64 for share in range(64, 47, -1))


def quantize_int8(
    w_OI: torch.Tensor, name: str, *, clip: bool = False, importance_I: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to -127..127 times a scale of its own.

    Args:
        w_OI: Weights, of any floating type.
        name: The tensor's name, for errors.
        clip: Search each row's scale for the least squared error instead of taking max|w| / 127.
        importance_I: Weight of each input in that error: its mean square in the activations.

    Returns:
        ``q_OI`` int8 and ``scales_O`` float32, with ``w`` about ``q * scale``; a row of zeros has scale 0.

    Raises:
        InvalidInput: A weight is not finite.
    """
    refuse_not_finite(w_OI, name)
    w_OI = w_OI.detach().float()
    top_O = w_OI.abs().amax(dim=1)
    candidates = [top_O * (share / INT8_MAX) for share in (_INT8_SHARES if clip else (1.0,))]
    return _best(w_OI, candidates, -INT8_MAX, INT8_MAX, importance_I)


def quantize_int4(
    w_OI: torch.Tensor, group: int, name: str, *, clip: bool = True, importance_I: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each group of ``group`` inputs to -8..7 times a scale of its own, and pack.

    With ``clip`` the scale may be negative: whichever side of a group is the longer can take the eighth step.

    Args:
        w_OI: Weights, of any floating type; ``group`` divides I.
        group: Weights that share a scale.
        name: The tensor's name, for errors.
        clip: Search each group's scale for the least squared error instead of taking max|w| / 7.
        importance_I: Weight of each input in that error: its mean square in the activations.

    Returns:
        ``packed_OP`` uint8 (see :func:`pack_int4`) and ``scales_OG`` float32.

    Raises:
        InvalidInput: A weight is not finite.
    """
    rows, width = w_OI.shape
    refuse_not_finite(w_OI, name)
    w_NW = w_OI.detach().float().reshape(-1, group)
    top_N = w_NW.abs().amax(dim=1)
    candidates = [top_N * (1 / INT4_MAX)]
    if clip:
        # The sign that sends the longer side to -8.
        signed_N = torch.where(w_NW.amax(dim=1) > -w_NW.amin(dim=1), -top_N, top_N)
        candidates += [signed_N * (share / -INT4_MIN) for share in _INT4_SHARES]
        candidates += [top_N * (share / INT4_MAX) for share in _INT4_SHARES[1:]]
    weight_NW = None
    if importance_I is not None:
        weight_NW = importance_I.view(1, -1, group).expand(rows, -1, -1).reshape(-1, group)
    q_NW, scales_N = _best(w_NW, candidates, INT4_MIN, INT4_MAX, weight_NW)
    return pack_int4(q_NW.view(rows, width)), scales_N.view(rows, width // group)


def pack_int4(q_OI: torch.Tensor) -> torch.Tensor:
    """Integers -8..7 as bytes of two: the low nibble is the even input, and a nibble is its value + 8."""
    nibbles = (q_OI + 8).to(torch.uint8)
    return nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)


def dequantize(weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The float32 weights that integers and scales stand for; leading (expert) dimensions are kept.

    Args:
        weight: int8 ``[.., O, I]`` or packed uint8 ``[.., O, I/2]``.
        scales: float32 ``[.., O]`` or ``[.., O, G]``.
    """
    if weight.dtype == torch.int8:
        return weight.float() * scales.unsqueeze(-1)
    q = unpack_int4(weight)
    return (q.view(*scales.shape, -1) * scales.unsqueeze(-1)).view(q.shape)


def refuse_not_finite(w_OI: torch.Tensor, name: str) -> None:
    """Raise where a weight is no number that can be rounded.

    Raises:
        InvalidInput: A weight is NaN or infinite; the error names the tensor.
    """
    low, high = torch.aminmax(w_OI.detach())
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise InvalidInput(
            f"{name} holds weights that are not finite numbers (NaN or infinity) and cannot be quantised; "
            "the checkpoint is damaged or its training diverged.",
            tensor=name,
        )


def _best(
    w_NW: torch.Tensor, candidates: list[torch.Tensor], low: int, high: int, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per row, the integers and the scale, among those offered, of least squared error; the first on ties."""
    q_NW, scales_N = _rounded(w_NW, candidates[0], low, high), candidates[0]
    if len(candidates) == 1:
        return q_NW.to(torch.int8), scales_N
    error_N, best_NW = _squared_error(q_NW, scales_N, w_NW, weight), q_NW.to(torch.int8)
    for candidate_N in candidates[1:]:
        q_NW = _rounded(w_NW, candidate_N, low, high)
        new_N = _squared_error(q_NW, candidate_N, w_NW, weight)
        better_N = new_N < error_N
        best_NW = torch.where(better_N.unsqueeze(1), q_NW.to(torch.int8), best_NW)
        scales_N, error_N = torch.where(better_N, candidate_N, scales_N), torch.minimum(new_N, error_N)
    return best_NW, scales_N


def _rounded(w_NW: torch.Tensor, scales_N: torch.Tensor, low: int, high: int) -> torch.Tensor:
    return (w_NW / torch.where(scales_N == 0, 1.0, scales_N).unsqueeze(1)).round_().clamp_(low, high)


def _squared_error(
    q_NW: torch.Tensor, scales_N: torch.Tensor, w_NW: torch.Tensor, weight: torch.Tensor | None
) -> torch.Tensor:
    squares_NW = (q_NW * scales_N.unsqueeze(1)).sub_(w_NW).square_()
    return (squares_NW if weight is None else squares_NW * weight).sum(dim=1)
