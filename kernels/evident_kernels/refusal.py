"""What the whole-step kernel does not cover, asked of a spec before anything is built of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from evident_kernels.spec import (
    MAX_EXPERTS,
    MAX_TOP_K,
    Attention,
    DenseMLP,
    ModelSpec,
    MoEMLP,
    Weight,
    is_contiguous,
    type_name,
)

if TYPE_CHECKING:
    from evident_kernels.spec import Array

_MOST_INPUTS = 65536  # so that a sum of products of two int8 values fits 32 bits


def refusal(spec: ModelSpec) -> str | None:
    """The first reason why the kernel cannot run the model, as a sentence for a person; None where it can."""
    return next(_reasons(spec), None)


def covers_group(group_size: int) -> bool:
    """Whether int4 weights with so many inputs a scale are covered."""
    return group_size in {32, 64} or (group_size > 0 and group_size % 128 == 0)


def _reasons(spec: ModelSpec) -> Iterator[str]:
    heads, kv_heads, dim, hidden = spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.hidden_size
    if heads % kv_heads or dim % 8 or dim < 8:
        yield (
            f"num_heads is {heads}, num_kv_heads {kv_heads}, head_dim {dim}; heads must be a multiple of kv heads, and "
            f"head_dim of 8."
        )
    if spec.embedding.kind == "int4":
        yield "The embedding is int4; float32 or int8 rows are needed."
    yield from _weight("embedding", spec.embedding, (spec.vocab_size, hidden))
    if spec.head is not None:
        yield from _weight("head", spec.head, (spec.vocab_size, hidden))
    half = spec.cos.shape[1]
    yield from _floats("norm", spec.norm, (hidden,))
    for name, table in (("cos", spec.cos), ("sin", spec.sin)):
        yield from _floats(name, table, (spec.max_positions, half))
    if 2 * half > dim:
        yield f"The rotary tables rotate {2 * half} dims; head_dim is {dim}."
    for index, layer in enumerate(spec.layers):
        for name, norm in (("attn_norm", layer.attn_norm), ("mlp_norm", layer.mlp_norm)):
            yield from _floats(f"layer {index} {name}", norm, (hidden,))
        yield from _attention(f"layer {index}", layer.attention, spec)
        if isinstance(layer.mlp, MoEMLP):
            yield from _moe(f"layer {index}", layer.mlp, hidden)
        else:
            yield from _dense(f"layer {index} mlp", layer.mlp, hidden)


def _attention(where: str, attention: Attention, spec: ModelSpec) -> Iterator[str]:
    query, shared = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    wq, wk, wv, wo = attention.wq, attention.wk, attention.wv, attention.wo
    for name, weight, rows in (("wq", wq, query), ("wk", wk, shared), ("wv", wv, shared)):
        yield from _weight(f"{where} {name}", weight, (rows, spec.hidden_size))
    yield from _weight(f"{where} wo", wo, (spec.hidden_size, query))
    if len({(weight.kind, weight.group_size) for weight in (wq, wk, wv)}) > 1:
        yield f"{where} wq, wk and wv are of different types; they must be quantised alike."
    full = any(norm is not None and norm.shape[0] != spec.head_dim for norm in (attention.q_norm, attention.k_norm))
    for name, norm, width in (("q_norm", attention.q_norm, query), ("k_norm", attention.k_norm, shared)):
        if norm is not None:
            yield from _floats(f"{where} {name}", norm, (width if full else spec.head_dim,))
    if attention.window is not None and attention.window < 1:
        yield f"{where} window is {attention.window}; it must be at least 1, or None."


def _dense(where: str, mlp: DenseMLP, hidden: int) -> Iterator[str]:
    inner = mlp.w2.shape[-1]
    yield from _weight(f"{where} w13", mlp.w13, (2 * inner, hidden))
    yield from _weight(f"{where} w2", mlp.w2, (hidden, inner))
    for name, weight in (("w13", mlp.w13), ("w2", mlp.w2)):
        if weight.bias is not None:
            yield f"{where} {name} has a bias; only the projections of the attention may."


def _moe(where: str, mlp: MoEMLP, hidden: int) -> Iterator[str]:
    experts, groups = mlp.w13.shape[0], mlp.num_groups
    inner = mlp.w2.shape[-1]
    yield from _weight(f"{where} w13", mlp.w13, (experts, 2 * inner, hidden))
    yield from _weight(f"{where} w2", mlp.w2, (experts, hidden, inner))
    yield from _floats(f"{where} gate", mlp.gate, (experts, hidden))
    if mlp.expert_bias is not None:
        yield from _floats(f"{where} expert_bias", mlp.expert_bias, (experts,))
    if not (1 <= mlp.top_k <= min(experts, MAX_TOP_K) and experts <= MAX_EXPERTS):
        yield (
            f"{where} uses {mlp.top_k} of {experts} experts; at most {MAX_TOP_K} of {MAX_EXPERTS}, and at least 1, "
            f"are covered."
        )
    if groups < 1 or experts % groups or not 1 <= mlp.top_k_groups <= groups:
        yield f"{where} has {experts} experts in {groups} groups, {mlp.top_k_groups} of them used; they do not fit."
    elif mlp.top_k > mlp.top_k_groups * (experts // groups):
        yield f"{where} chooses {mlp.top_k} experts from groups of {mlp.top_k_groups * (experts // groups)} together."
    if mlp.shared is not None:
        yield from _dense(f"{where} shared", mlp.shared, hidden)
        if (mlp.shared.w13.kind, mlp.shared.w13.group_size) != (mlp.w13.kind, mlp.w13.group_size):
            yield f"{where} shared w13 and the experts' w13 are of different types; they must be quantised alike."


def _weight(name: str, weight: Weight, shape: tuple[int, ...]) -> Iterator[str]:
    kind, group = weight.kind, weight.group_size
    if kind is None:
        yield f"{name} is {weight.data.dtype}; float32, int8 or int4 (in uint8) is needed."
        return
    yield from _in_memory(name, weight.data)
    if weight.shape != shape:
        yield f"{name} is {weight.shape}; {shape} is needed."
    if shape[-1] > _MOST_INPUTS:
        yield f"{name} has {shape[-1]} inputs; at most {_MOST_INPUTS} are covered."
    scales: tuple[int, ...] | None = None
    if kind == "int8":
        scales = shape[:-1]
    elif kind == "int4":
        if not covers_group(group):
            yield f"{name} has a group_size of {group}; 32, 64 or a multiple of 128 is covered."
            return
        if shape[-1] % group:
            yield f"{name} has {shape[-1]} inputs, no multiple of its group_size {group}."
            return
        scales = (*shape[:-1], shape[-1] // group)
    if scales is not None:
        if weight.scales is None:
            yield f"{name} is {kind} and has no scales."
        else:
            yield from _floats(f"{name} scales", weight.scales, scales)
    if weight.bias is not None:
        yield from _floats(f"{name} bias", weight.bias, (shape[-2],))


def _floats(name: str, array: "Array", shape: tuple[int, ...]) -> Iterator[str]:
    if type_name(array) != "float32" or tuple(array.shape) != shape:
        yield f"{name} is {array.dtype} {tuple(array.shape)}; float32 {shape} is needed."
    yield from _in_memory(name, array)


def _in_memory(name: str, array: "Array") -> Iterator[str]:
    if not is_contiguous(array):
        yield f"{name} does not lie in one piece; make it contiguous."
    if not isinstance(array, np.ndarray) and array.device.type != "cpu":
        yield f"{name} is on {array.device}; the kernel reads the memory of the CPU."
