"""What the whole-step kernel says of models that it does not cover."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from evident_kernels import cpu
from evident_kernels.spec import LayerSpec, ModelSpec, MoEMLP, Weight
from kernel_models import Plan, quantised

SPEC = Plan(kind="int8", shared=32).build()
LAYER = SPEC.layers[0]
assert isinstance(LAYER.mlp, MoEMLP)
MLP = LAYER.mlp


def of_layer(**changes: object) -> ModelSpec:
    return replace(SPEC, layers=(replace(LAYER, **changes), *SPEC.layers[1:]))


def of_attention(**changes: object) -> ModelSpec:
    return of_layer(attention=replace(LAYER.attention, **changes))


def of_mlp(**changes: object) -> ModelSpec:
    return of_layer(mlp=replace(MLP, **changes))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: replace(SPEC, num_heads=3), "num_heads is 3, num_kv_heads 2"),
        (lambda: replace(SPEC, head_dim=12), "head_dim 12"),
        (
            lambda: replace(SPEC, embedding=Weight(torch.zeros(203, 64, dtype=torch.bfloat16))),
            "embedding is torch.bfloat16",
        ),
        (lambda: replace(SPEC, embedding=quantised(torch.ones(203, 64), "int4")), "The embedding is int4"),
        (
            lambda: replace(SPEC, head=quantised(torch.ones(99, 64), "int8")),
            r"head is \(99, 64\); \(203, 64\) is needed",
        ),
        (lambda: replace(SPEC, cos=torch.zeros(512, 9), sin=torch.zeros(512, 9)), "rotate 18 dims; head_dim is 16"),
        (lambda: replace(SPEC, sin=torch.zeros(511, 8)), r"sin is torch.float32 \(511, 8\)"),
        (lambda: replace(SPEC, norm=torch.ones(64, dtype=torch.float64)), "norm is torch.float64"),
        (lambda: of_layer(attn_norm=np.ones(63, np.float32)), r"layer 0 attn_norm is float32 \(63,\)"),
        (lambda: of_attention(wq=quantised(torch.ones(64, 64), "int4")), "wq, wk and wv are of different types"),
        (lambda: of_attention(q_norm=torch.ones(64), k_norm=torch.ones(16)), r"k_norm is torch.float32 \(16,\)"),
        (lambda: of_attention(window=0), "window is 0"),
        (lambda: of_attention(wo=Weight(torch.ones(64, 128)[:, ::2])), "wo does not lie in one piece"),
        (lambda: of_attention(wo=Weight(torch.ones(64, 64, dtype=torch.int8))), "wo is int8 and has no scales"),
        (
            lambda: of_mlp(w2=quantised(torch.ones(8, 64, 32), "int4", 16)),
            "group_size of 16; 32, 64 or a multiple of 128",
        ),
        (
            lambda: of_mlp(w2=replace(quantised(torch.ones(8, 64, 32), "int4"), group_size=64)),
            "no multiple of its group_size",
        ),
        (lambda: of_mlp(top_k=9), "uses 9 of 8 experts"),
        (lambda: of_mlp(num_groups=3), "8 experts in 3 groups"),
        (lambda: of_mlp(num_groups=8, top_k_groups=1), "chooses 2 experts from groups of 1 together"),
        (lambda: of_mlp(expert_bias=torch.ones(7)), r"expert_bias is torch.float32 \(7,\)"),
        (
            lambda: of_mlp(shared=replace(MLP.shared, w13=quantised(torch.ones(64, 64), "int4"))),
            "shared w13 and the experts' w13 are of different types",
        ),
        (
            lambda: of_mlp(shared=replace(MLP.shared, w2=replace(MLP.shared.w2, bias=torch.ones(64)))),
            "w2 has a bias",
        ),
    ],
)
def test_what_is_not_covered_is_named(make: Callable[[], ModelSpec], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(cpu.supports(make()))
    if cpu.library() is not None:
        with pytest.raises(ValueError, match=told):
            cpu.DecodeModel(make())


def test_what_is_covered_is_not_refused() -> None:
    assert cpu.supports(SPEC) is None
    assert isinstance(LAYER, LayerSpec)
    arrays = replace(SPEC, norm=np.ones(64, np.float32), cos=np.ones((512, 8), np.float32))
    assert cpu.supports(arrays) is None


def test_tensors_elsewhere_are_refused() -> None:
    assert "is on meta; the kernel reads the memory of the CPU" in str(
        cpu.supports(replace(SPEC, norm=torch.ones(64, device="meta")))
    )
