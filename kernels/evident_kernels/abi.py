"""The structs of ``csrc/evident.h``, field by field, and how a spec becomes them."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evident_kernels.spec import LayerSpec, ModelSpec, MoEMLP, Weight

if TYPE_CHECKING:
    from evident_kernels.spec import Array

_KINDS = {"f32": 0, "int8": 1, "int4": 2}


class EvWeight(ctypes.Structure):
    """A linear, or several one after the other."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("data", "scales", "bias")),
        *((name, ctypes.c_int64) for name in ("count", "rows", "cols")),
        *((name, ctypes.c_int32) for name in ("kind", "group")),
    )


class EvLayer(ctypes.Structure):
    """One layer."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("attn_norm", "mlp_norm", "q_norm", "k_norm", "gate", "expert_bias")),
        *((name, EvWeight) for name in ("wq", "wk", "wv", "wo", "w13", "w2", "shared13", "shared2")),
        *((name, ctypes.c_int32) for name in ("full_norm", "window", "num_experts", "top_k", "sigmoid", "normalise")),
        *((name, ctypes.c_int32) for name in ("num_groups", "top_k_groups", "top2_sum")),
        ("scaling_factor", ctypes.c_float),
    )


class EvSpec(ctypes.Structure):
    """A model."""

    _fields_ = (
        ("layers", ctypes.POINTER(EvLayer)),
        ("embedding", EvWeight),
        ("head", EvWeight),
        *((name, ctypes.c_void_p) for name in ("norm", "cos", "sin")),
        *((name, ctypes.c_int32) for name in ("num_layers", "vocab", "hidden", "heads", "kv_heads", "head_dim")),
        *((name, ctypes.c_int32) for name in ("rope_half", "max_positions", "interleaved")),
        ("eps", ctypes.c_float),
        ("attention_scale", ctypes.c_float),
    )


class EvStep(ctypes.Structure):
    """One step's input and output."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("token_ids", "positions", "slots", "starts", "contexts", "tables")),
        *((name, ctypes.c_void_p) for name in ("rows", "masks", "logits")),
        *((name, ctypes.c_int32) for name in ("T", "S", "B", "R", "block_size")),
        ("error", ctypes.c_char * 200),
    )


STRUCTS = (EvWeight, EvLayer, EvSpec, EvStep)


def load(path: str) -> ctypes.CDLL:
    """Open the library and declare its functions.

    Raises:
        OSError: It cannot be opened, or its structs are not those of this module.
    """
    library = ctypes.CDLL(path)
    library.ev_struct_size.restype = ctypes.c_int64
    sizes = [library.ev_struct_size(which) for which in range(len(STRUCTS))]
    if sizes != [ctypes.sizeof(struct) for struct in STRUCTS]:
        raise OSError(f"{path} was compiled from other sources: its structs have {sizes} bytes")
    library.ev_create.restype = ctypes.c_void_p
    library.ev_create.argtypes = (ctypes.POINTER(EvSpec), ctypes.c_int32, ctypes.c_char_p)
    library.ev_destroy.argtypes = (ctypes.c_void_p,)
    library.ev_destroy.restype = None
    library.ev_bind.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32)
    library.ev_bind.restype = None
    library.ev_run.argtypes = (ctypes.c_void_p, ctypes.POINTER(EvStep))
    library.ev_isa_available.argtypes = (ctypes.c_char_p,)
    library.ev_sample.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_float),
        *(ctypes.c_int64, ctypes.c_double, ctypes.c_double),
    )
    of_weight, of_memory, number = ctypes.POINTER(EvWeight), ctypes.c_void_p, ctypes.c_int64
    library.ev_linear.argtypes = (of_weight, of_memory, number, of_memory, ctypes.c_int32, ctypes.c_char_p)
    library.ev_experts.argtypes = (
        *(of_weight, of_weight, of_memory, of_memory, of_memory),
        *(number, number, of_memory, ctypes.c_int32, ctypes.c_char_p),
    )
    return library


def pointer(array: "Array | None") -> int | None:
    """Where an array's memory begins; None for None."""
    if array is None:
        return None
    if isinstance(array, np.ndarray):
        return int(array.ctypes.data)
    return int(array.data_ptr())


def weight_struct(weight: Weight | None) -> EvWeight:
    """A weight as the library takes it; all zeros for None."""
    if weight is None:
        return EvWeight()
    *count, rows, cols = weight.shape
    kind = weight.kind
    if kind is None:
        raise ValueError(f"weights are of type {weight.data.dtype}; float32, int8 or int4 in uint8 is needed")
    return EvWeight(
        *(pointer(weight.data), pointer(weight.scales), pointer(weight.bias)),
        *(count[0] if count else 1, rows, cols),
        *(_KINDS[kind], weight.group_size),
    )


def spec_struct(spec: ModelSpec) -> tuple[EvSpec, Sequence[Any]]:
    """A model as the library takes it, and what has to stay alive while it is read."""
    layers = (EvLayer * len(spec.layers))(*(_layer(layer, spec.head_dim) for layer in spec.layers))
    head = spec.head if spec.head is not None else spec.embedding
    scale = spec.attention_scale if spec.attention_scale is not None else spec.head_dim**-0.5
    struct = EvSpec(
        *(layers, weight_struct(spec.embedding), weight_struct(head)),
        *(pointer(spec.norm), pointer(spec.cos), pointer(spec.sin)),
        *(len(spec.layers), spec.vocab_size, spec.hidden_size, spec.num_heads, spec.num_kv_heads, spec.head_dim),
        *(spec.cos.shape[1], spec.max_positions, spec.interleaved, spec.rms_norm_eps, scale),
    )
    return struct, (layers, spec)


def _layer(layer: LayerSpec, head_dim: int) -> EvLayer:
    attention, mlp = layer.attention, layer.mlp
    norms = [norm for norm in (attention.q_norm, attention.k_norm) if norm is not None]
    struct = EvLayer(
        attn_norm=pointer(layer.attn_norm),
        mlp_norm=pointer(layer.mlp_norm),
        q_norm=pointer(attention.q_norm),
        k_norm=pointer(attention.k_norm),
        wq=weight_struct(attention.wq),
        wk=weight_struct(attention.wk),
        wv=weight_struct(attention.wv),
        wo=weight_struct(attention.wo),
        w13=weight_struct(mlp.w13),
        w2=weight_struct(mlp.w2),
        full_norm=any(norm.shape[0] != head_dim for norm in norms),
        window=attention.window or 0,
    )
    if isinstance(mlp, MoEMLP):
        struct.gate, struct.expert_bias = pointer(mlp.gate), pointer(mlp.expert_bias)
        if mlp.shared is not None:
            struct.shared13, struct.shared2 = weight_struct(mlp.shared.w13), weight_struct(mlp.shared.w2)
        struct.num_experts, struct.top_k = mlp.w13.shape[0], mlp.top_k
        struct.sigmoid, struct.normalise = mlp.score == "sigmoid", mlp.normalise_top_k
        struct.num_groups, struct.top_k_groups = mlp.num_groups, mlp.top_k_groups
        struct.top2_sum, struct.scaling_factor = mlp.group_score == "top2_sum", mlp.scaling_factor
    return struct
