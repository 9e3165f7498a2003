"""The reference weights as ONNX graphs: one step of decoding with a cache, in float and in the ways to run it in int8.

Legend: T tokens of the step, N positions of the cache, D hidden, V vocabulary, K head dim, O and I outputs and inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evident_core.bench.contestant import library
from evident_core.bench.shape import Shape, Weights, read_shape, read_weights

Array = npt.NDArray[Any]

MICROSOFT = "com.microsoft"
"""The domain of the operators that ONNX Runtime adds to the standard."""

LARGEST_BLOCK = 256
"""Weights that share a scale at most, in MatMulNBits: the larger, the faster, and precise enough for 8 bits."""


@dataclass(frozen=True)
class Recipe:
    """One way to run the model.

    Attributes:
        name: Of the file.
        matrices: ``float``; ``dynamic``: int8 weights with a scale an output, and activations quantised at run time, as
            ``quantize_dynamic`` makes them and the optimiser then fuses them (DynamicQuantizeMatMul); ``blocks``: 8-bit
            weights with a scale a block, and int8 activations (MatMulNBits with accuracy_level 4).
        experts: ``branch``: an ``If`` for each expert, which computes the tokens that chose it; ``gather``: the chosen
            experts' weights are gathered for each token; ``fused``: ONNX Runtime's own MoE or QMoE.
    """

    name: str
    matrices: Literal["float", "dynamic", "blocks"]
    experts: Literal["branch", "gather", "fused"]


class Graph:
    """Nodes and constants of one graph while it is written; a subgraph shares the constants of its parent."""

    def __init__(self, prefix: str = "", parent: "Graph | None" = None) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = parent.constants if parent else {}
        self.prefix = prefix

    def constant(self, name: str, value: Array | int | float) -> str:
        """Hold a constant, once for each name; numbers become int64 or float32 scalars."""
        if name not in self.constants:
            if isinstance(value, int | float):
                value = np.array(value, np.int64 if isinstance(value, int) else np.float32)
            self.constants[name] = np.array(value, order="C")
        return name

    def indices(self, *values: int) -> str:
        """A constant list of whole numbers, by its own name."""
        return self.constant("_".join(["indices", *map(str, values)]), np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns its name."""
        return self.add_many(kind, *inputs, outputs=[out or f"{self.prefix}{kind}_{len(self.nodes)}"], **attributes)[0]

    def add_many(self, kind: str, *inputs: str, outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """Append a node with outputs of these names; an empty name leaves one out."""
        name = f"{self.prefix}node_{len(self.nodes)}"
        self.nodes.append(library("onnx.helper").make_node(kind, list(inputs), list(outputs), name, **attributes))
        return outputs


def write_onnx(folder: Path, out: Path, recipe: Recipe) -> None:
    """Write the checkpoint in ``folder`` as one ONNX file.

    Its inputs are ``tokens`` [1, T], ``last_position`` and ``total_length`` of the cache, and ``past_key_0``, …
    [1, G, N, K]; its outputs are ``logits`` [1, 1, V] of the last token and ``present_key_0``, …
    """
    onnx, helper, numpy_helper = (library(name) for name in ("onnx", "onnx.helper", "onnx.numpy_helper"))
    kinds = onnx.TensorProto
    shape, weights = read_shape(folder), read_weights(folder)
    graph = Graph()
    _write_step(graph, shape, weights, recipe)

    def floats(name: str, *dims: int | str) -> Any:
        return helper.make_tensor_value_info(name, kinds.FLOAT, list(dims))

    past, present = (
        [
            floats(name, 1, shape.num_kv_heads, "N", shape.head_dim)
            for layer in range(shape.num_layers)
            for name in cache_names(when, layer)
        ]
        for when in ("past", "present")
    )
    counts = [helper.make_tensor_value_info(name, kinds.INT32, [1]) for name in ("last_position", "total_length")]
    made = helper.make_graph(
        graph.nodes,
        recipe.name,
        [helper.make_tensor_value_info("tokens", kinds.INT64, [1, "T"]), *counts, *past],
        [floats("logits", 1, 1, shape.vocab_size), *present],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    versions = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(made, opset_imports=versions, ir_version=9), out)


def cache_names(when: str, layer: int) -> tuple[str, str]:
    """Names of a layer's keys and values, ``when`` being past or present."""
    return f"{when}_key_{layer}", f"{when}_value_{layer}"


def _write_step(graph: Graph, shape: Shape, weights: Weights, recipe: Recipe) -> None:
    from evident_core.bench.peers.onnx_experts import write_experts

    for name, table in zip(("cosines", "sines"), rotary_table(shape), strict=True):
        graph.constant(name, table)
    stream = graph.add("Gather", graph.constant("embedding", weights["model.embed_tokens.weight"]), "tokens")
    added = None
    for layer in range(shape.num_layers):
        at = f"model.layers.{layer}"
        x, stream = _norm(graph, shape, stream, added, weights[f"{at}.input_layernorm.weight"])
        attended = _attention(graph, shape, weights, recipe, layer, x)
        x, stream = _norm(graph, shape, stream, attended, weights[f"{at}.post_attention_layernorm.weight"])
        flat = graph.add("Reshape", x, graph.indices(-1, shape.hidden_size))
        mixed = write_experts(graph, shape, weights, recipe, layer, flat)
        added = graph.add("Reshape", mixed, graph.indices(1, -1, shape.hidden_size))
    x, _ = _norm(graph, shape, stream, added, weights["model.norm.weight"])
    last = graph.add("Gather", x, graph.indices(-1), axis=1)
    write_matrix(graph, recipe, "head", weights["lm_head.weight"], last, out="logits")


def _norm(graph: Graph, shape: Shape, stream: str, added: str | None, scale: Array) -> tuple[str, str]:
    """Add to the residual stream and norm it, in one operator: the normed, and the new stream."""
    number = len(graph.nodes)
    scale_name, normed = graph.constant(f"norm_{number}", scale), f"normed_{number}"
    if added is None:
        kind = "SimplifiedLayerNormalization"
        return graph.add(kind, stream, scale_name, out=normed, axis=-1, epsilon=shape.rms_norm_eps), stream
    graph.add_many(
        "SkipSimplifiedLayerNormalization",
        stream,
        added,
        scale_name,
        outputs=[normed, "", "", f"stream_{number}"],
        domain=MICROSOFT,
        epsilon=shape.rms_norm_eps,
    )
    return normed, f"stream_{number}"


def _attention(graph: Graph, shape: Shape, weights: Weights, recipe: Recipe, layer: int, x: str) -> str:
    at = f"model.layers.{layer}.self_attn"
    joined = np.concatenate([weights[f"{at}.{part}_proj.weight"] for part in "qkv"])
    qkv = write_matrix(graph, recipe, f"qkv_{layer}", joined, x)
    attended, *_ = graph.add_many(
        "GroupQueryAttention",
        *(qkv, "", "", *cache_names("past", layer), "last_position", "total_length", "cosines", "sines"),
        outputs=[f"attended_{layer}", *cache_names("present", layer)],
        domain=MICROSOFT,
        num_heads=shape.num_heads,
        kv_num_heads=shape.num_kv_heads,
        do_rotary=1,
    )
    return write_matrix(graph, recipe, f"out_{layer}", weights[f"{at}.o_proj.weight"], attended)


def write_matrix(graph: Graph, recipe: Recipe, name: str, matrix_OI: Array, x: str, out: str | None = None) -> str:
    """Multiply by a constant matrix."""
    if recipe.matrices == "float":
        return graph.add("MatMul", x, graph.constant(name, matrix_OI.T), out=out)
    if recipe.matrices == "dynamic":
        values, scales = quantize_rows(matrix_OI)
        parts = graph.constant(name, values.T), graph.constant(f"{name}_scales", scales)
        return graph.add("DynamicQuantizeMatMul", x, *parts, out=out, domain=MICROSOFT)
    size = block_size(matrix_OI.shape[1])
    values, scales = quantize_blocks(matrix_OI, size)
    parts = graph.constant(name, values), graph.constant(f"{name}_scales", scales)
    sizes = {"N": matrix_OI.shape[0], "K": matrix_OI.shape[1], "bits": 8, "block_size": size}
    return graph.add("MatMulNBits", x, *parts, out=out, domain=MICROSOFT, accuracy_level=4, **sizes)


def quantize_rows(matrix: Array) -> tuple[Array, Array]:
    """Symmetric int8 [..., O, I] and a scale for each output [..., O]."""
    scales = np.maximum(np.abs(matrix).max(axis=-1) / np.float32(127), np.float32(1e-12)).astype(np.float32)
    return np.rint(matrix / scales[..., None]).astype(np.int8), scales


def quantize_blocks(matrix: Array, size: int) -> tuple[Array, Array]:
    """Symmetric 8-bit numbers around 128 [..., O, blocks, size], and scales [..., O, blocks]."""
    values, scales = quantize_rows(matrix.reshape(*matrix.shape[:-1], -1, size))
    return (values.astype(np.int16) + 128).astype(np.uint8), scales


def block_size(*inputs: int) -> int:
    """The largest block that divides all of these numbers of inputs."""
    return min(LARGEST_BLOCK, *(each & -each for each in inputs))


def rotary_table(shape: Shape) -> tuple[Array, Array]:
    """Cosines and sines [positions, K / 2]."""
    turns = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2) / shape.head_dim)
    angles = np.arange(shape.max_positions)[:, None] * turns[None]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
