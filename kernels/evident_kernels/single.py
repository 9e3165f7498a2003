"""Single operations of the compiled library: drawing a token, a linear, the chosen experts of a layer.

Shapes: T tokens, V vocabulary, I/O inputs and outputs, E experts, F expert intermediate, D hidden, A experts a token.
"""

import ctypes
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evident_kernels import abi
from evident_kernels.loading import ISA, cores, isas, needed
from evident_kernels.spec import Weight, is_contiguous, type_name

if TYPE_CHECKING:
    from evident_kernels.spec import Array


def sample(
    logits: NDArray[np.float32],
    u: float,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> int:
    """Draw one token, in Hugging Face's order: temperature, top_k, top_p, min_p.

    Args:
        logits: [V], float32, contiguous; -inf where a token is not allowed.
        u: Where in the distribution to draw, 0 <= u < 1: tokens that remain are laid out in the order of their ids.
        temperature: 0 takes the most probable token.
        top_k: Keep this many most probable tokens; 0 keeps all.
        top_p: Keep the smallest set of most probable tokens whose probabilities sum to at least this.
        min_p: Keep tokens at least this times as probable as the most probable one.

    Returns:
        The token's id. Of equally probable tokens the lower id comes first, everywhere.

    Raises:
        ValueError: No token is allowed, or an argument is out of range.
    """
    found = needed()
    if not (temperature >= 0 and top_k >= 0 and 0 < top_p <= 1 and 0 <= min_p <= 1 and 0 <= u < 1):
        raise ValueError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}, min_p {min_p}, u {u}: temperature and top_k "
            f"must not be negative, 0 < top_p <= 1, 0 <= min_p <= 1 and 0 <= u < 1"
        )
    if logits.ndim != 1 or logits.dtype != np.float32 or not logits.flags.c_contiguous:
        raise ValueError(f"logits are {logits.dtype} {logits.shape}; contiguous float32 of one dimension is needed")
    token = found.ev_sample(logits.ctypes.data, len(logits), u, temperature, top_k, top_p, min_p)
    if token < 0:
        raise ValueError("no token is allowed: every logit is -inf or not a number")
    return int(token)


def linear(x: "Array", weight: Weight, out: "Array", *, isa: ISA | None = None) -> None:
    """Multiply tokens by a weight, and write the products to ``out``.

    Args:
        x: [T, I], contiguous float32.
        weight: Of any kind; its bias is not added.
        out: [T, O], contiguous float32.
        isa: The instruction set; None is the best that the machine has.

    Raises:
        ValueError: The arrays do not fit, or the kernel cannot do this.
    """
    tokens, (rows, inputs) = x.shape[0], weight.shape
    _check(("x", x, (tokens, inputs)), ("out", out, (tokens, rows)))
    struct = abi.weight_struct(weight)
    ran = needed().ev_linear(
        ctypes.byref(struct), abi.pointer(x), tokens, abi.pointer(out), cores(), isa.encode() if isa else None
    )
    if not ran:
        raise ValueError(f"this machine cannot run {isa}; it has {', '.join(isas())}")


def experts(
    x: "Array",
    ids: "Array",
    weights: "Array",
    w13: Weight,
    w2: Weight,
    out: "Array",
    *,
    isa: ISA | None = None,
) -> None:
    """Run tokens through their SwiGLU experts, and write the weighted sums (in the order of ids) to ``out``.

    Args:
        x: [T, D], contiguous float32.
        ids: [T, A], contiguous int64, from 0 to E - 1.
        weights: [T, A], contiguous float32.
        w13: [E, 2F, D], gate rows first.
        w2: [E, D, F].
        out: [T, D], contiguous float32.
        isa: The instruction set; None is the best that the machine has.

    Raises:
        ValueError: The arrays do not fit, or the kernel cannot do this.
    """
    (tokens, active), (count, width, inner) = ids.shape, w2.shape
    _check(("x", x, (tokens, width)), ("weights", weights, (tokens, active)), ("out", out, (tokens, width)))
    if type_name(ids) != "int64" or not is_contiguous(ids) or w13.shape != (count, 2 * inner, width):
        raise ValueError(
            f"ids are {ids.dtype}, w13 {w13.shape}; contiguous int64 and {(count, 2 * inner, width)} are needed"
        )
    if tokens * active and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise ValueError(f"ids are {int(ids.min())}..{int(ids.max())}; there are {count} experts")
    structs = [ctypes.byref(abi.weight_struct(weight)) for weight in (w13, w2)]
    ran = needed().ev_experts(
        *(*structs, abi.pointer(x), abi.pointer(ids), abi.pointer(weights)),
        *(tokens, active, abi.pointer(out), cores(), isa.encode() if isa else None),
    )
    if not ran:
        raise ValueError(f"this machine cannot run {isa}; it has {', '.join(isas())}")


def _check(*arrays: "tuple[str, Array, tuple[int, ...]]") -> None:
    for name, array, shape in arrays:
        if type_name(array) != "float32" or tuple(array.shape) != shape or not is_contiguous(array):
            raise ValueError(f"{name} is {array.dtype} {tuple(array.shape)}; contiguous float32 {shape} is needed")
