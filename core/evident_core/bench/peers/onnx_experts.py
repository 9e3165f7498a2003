"""The routed experts of a layer as ONNX operators, in three ways: only the chosen ones are computed in each.

Legend: T tokens of the step, D hidden, E experts, A experts of a token, F intermediate.
"""

from typing import Any

import numpy as np

from evident_core.bench.contestant import library
from evident_core.bench.peers.onnx_graph import (
    MICROSOFT,
    Array,
    Graph,
    Recipe,
    block_size,
    quantize_blocks,
    quantize_rows,
    write_matrix,
)
from evident_core.bench.shape import Shape, Weights


def write_experts(graph: Graph, shape: Shape, weights: Weights, recipe: Recipe, layer: int, x_TD: str) -> str:
    """The mixed output [T, D] of the experts that the router chooses for each row of ``x_TD``."""
    router = graph.constant(f"router_{layer}", weights[f"model.layers.{layer}.block_sparse_moe.gate.weight"].T)
    scores = graph.add("MatMul", x_TD, router)
    experts = [_parts(weights, layer, expert) for expert in range(shape.num_experts)]
    if recipe.experts == "fused":
        return _fused(graph, shape, recipe, layer, experts, x_TD, scores)
    best, ids = graph.add_many(
        "TopK", scores, graph.indices(shape.top_k), outputs=[f"best_{layer}", f"chosen_{layer}"], axis=-1
    )
    shares = graph.add("Softmax", best, axis=-1)  # of the chosen alone, which equals softmax and then renormalising
    write = _gathered if recipe.experts == "gather" else _branches
    return write(graph, shape, recipe, layer, experts, x_TD, ids, shares)


def _parts(weights: Weights, layer: int, expert: int) -> tuple[Array, Array, Array]:
    """Gate [F, D], up [F, D] and down [D, F] of one expert."""
    at = f"model.layers.{layer}.block_sparse_moe.experts.{expert}"
    return weights[f"{at}.w1.weight"], weights[f"{at}.w3.weight"], weights[f"{at}.w2.weight"]


def _fused(
    graph: Graph,
    shape: Shape,
    recipe: Recipe,
    layer: int,
    experts: list[tuple[Array, Array, Array]],
    x: str,
    scores: str,
) -> str:
    """ONNX Runtime's own operator; its CPU kernel wants the rows of gate and up interleaved.

    With a scale a block, its 8-bit form quantises activations to int8 at run time, as MatMulNBits does.
    """
    both_EGD = np.stack([np.stack([gate, up], axis=1).reshape(-1, gate.shape[1]) for gate, up, _ in experts])
    down_EDF = np.stack([down for _, _, down in experts])
    options: dict[str, Any] = {
        "domain": MICROSOFT, "k": shape.top_k, "normalize_routing_weights": 1, "activation_type": "swiglu",
        "swiglu_fusion": 1, "activation_alpha": 1.0, "activation_beta": 0.0,
    }  # fmt: skip
    if recipe.matrices == "float":
        first, second = graph.constant(f"in_{layer}", both_EGD), graph.constant(f"out_experts_{layer}", down_EDF)
        return graph.add("MoE", x, scores, first, "", second, **options)
    size = block_size(shape.hidden_size, shape.intermediate_size)
    inputs = [x, scores]
    for name, matrix in (("in", both_EGD), ("down", down_EDF)):
        values, scales = quantize_blocks(matrix, size)
        inputs.append(graph.constant(f"{name}_{layer}", values.reshape(matrix.shape)))
        inputs += [graph.constant(f"{name}_{layer}_scales", scales), ""]
    return graph.add("QMoE", *inputs[:-1], expert_weight_bits=8, block_size=size, **options)


def _gathered(
    graph: Graph,
    shape: Shape,
    recipe: Recipe,  # noqa: ARG001  # int8 only
    layer: int,
    experts: list[tuple[Array, Array, Array]],
    x: str,
    ids: str,
    shares: str,
) -> str:
    """Gather the weights that a single token needs and multiply by them as a batch; for T = 1."""
    chosen = graph.add("Reshape", ids, graph.indices(-1))

    def multiply(name: str, x_1TI: str, matrices: list[Array]) -> str:
        values_EOI, scales_EO = quantize_rows(np.stack(matrices))
        values = graph.add("Gather", graph.constant(name, values_EOI.swapaxes(1, 2)), chosen)
        scales = graph.add("Gather", graph.constant(f"{name}_scales", scales_EO[:, None]), chosen)
        x_int, x_scale, x_zero = graph.add_many(
            "DynamicQuantizeLinear", x_1TI, outputs=[f"{name}_{part}" for part in ("x", "x_scale", "x_zero")]
        )
        product = graph.add("Cast", graph.add("MatMulInteger", x_int, values, x_zero), to=1)
        return graph.add("Mul", product, graph.add("Mul", scales, x_scale))

    row = graph.add("Unsqueeze", x, graph.indices(0))
    both = multiply(f"in_{layer}", row, [np.concatenate([gate, up]) for gate, up, _ in experts])
    y_A1D = multiply(f"down_{layer}", _gate(graph, shape, both, f"{layer}"), [down for _, _, down in experts])
    weighted = graph.add("Mul", y_A1D, graph.add("Reshape", shares, graph.indices(-1, 1, 1)))
    return graph.add("ReduceSum", weighted, graph.indices(0), keepdims=0)


def _branches(
    graph: Graph,
    shape: Shape,
    recipe: Recipe,
    layer: int,
    experts: list[tuple[Array, Array, Array]],
    x: str,
    ids: str,
    shares: str,
) -> str:
    """One ``If`` an expert: it adds to the rows of the tokens that chose it, or passes the sum on as it is."""
    helper, kinds = library("onnx.helper"), library("onnx").TensorProto
    nothing = graph.constant("nothing", 0.0)
    total = graph.add("Mul", x, nothing)
    for expert, (gate, up, down) in enumerate(experts):
        tag = f"expert_{layer}_{expert}"
        hits = graph.add("Equal", ids, graph.constant(f"expert_{expert}", expert))
        share = graph.add("ReduceSum", graph.add("Where", hits, shares, nothing), graph.indices(1), keepdims=0)
        rows = graph.add("Squeeze", graph.add("NonZero", share), graph.indices(0))
        wanted = graph.add("Greater", graph.add("Size", rows), graph.constant("none", 0))
        then = Graph(f"{tag}_", graph)
        both = write_matrix(then, recipe, f"{tag}_in", np.concatenate([gate, up]), then.add("Gather", x, rows))
        y = write_matrix(then, recipe, f"{tag}_down", down, _gate(then, shape, both, tag))
        weighted = then.add("Mul", y, then.add("Unsqueeze", then.add("Gather", share, rows), graph.indices(1)))
        places = then.add("Unsqueeze", rows, graph.indices(1))
        then.add("ScatterND", total, places, weighted, out=f"{tag}_sum", reduction="add")
        otherwise = Graph(f"{tag}_else_", graph)
        otherwise.add("Identity", total, out=f"{tag}_same")
        branches = {
            branch: helper.make_graph(
                each.nodes, f"{tag}_{branch}", [], [helper.make_tensor_value_info(out, kinds.FLOAT, None)]
            )
            for branch, each, out in (
                ("then_branch", then, f"{tag}_sum"),
                ("else_branch", otherwise, f"{tag}_same"),
            )
        }
        total = graph.add("If", wanted, **branches)
    return total


def _gate(graph: Graph, shape: Shape, both: str, tag: str) -> str:
    """``silu(gate) * up`` of the joined outputs [..., 2F]."""
    sizes = graph.indices(shape.intermediate_size, shape.intermediate_size)
    gate, up = graph.add_many("Split", both, sizes, outputs=[f"{tag}_gate", f"{tag}_up"], axis=-1)
    return graph.add("Mul", graph.add("Mul", gate, graph.add("Sigmoid", gate)), up)
