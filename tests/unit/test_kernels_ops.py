"""The quantised operators that PyTorch knows by name."""

import pytest
import torch

from evident_kernels import cpu, ops, reference
from kernel_models import quantised

GENERATOR = torch.Generator().manual_seed(5)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def linear_arguments(kind: str, rows: int = 24, inputs: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    weight = quantised(draw(rows, inputs), kind)
    return weight.data, weight.scales


def expert_arguments(kind: str) -> tuple[torch.Tensor, ...]:
    w13, w2 = quantised(draw(4, 64, 64), kind), quantised(draw(4, 64, 32), kind)
    ids = torch.tensor([[0, 3], [1, 0], [2, 3], [3, 1], [0, 2]])
    return (draw(5, 64), ids, torch.rand(5, 2, generator=GENERATOR), w13.data, w13.scales, w2.data, w2.scales)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_operators_are_sound_for_pytorch(kind):
    """Schema, fake tensors, autograd registration and tracing, as ``torch.library.opcheck`` asks."""
    linear, experts = getattr(torch.ops.evident, f"{kind}_linear"), getattr(torch.ops.evident, f"{kind}_experts")
    for shape in ((3, 64), (2, 3, 64)):
        torch.library.opcheck(linear, (draw(*shape), *linear_arguments(kind)))
    torch.library.opcheck(experts, expert_arguments(kind))


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_operators_equal_their_definitions_in_every_type(kind, dtype):
    x, (data, scales) = draw(2, 3, 64).to(dtype), linear_arguments(kind)
    y = getattr(ops, f"{kind}_linear")(x, data, scales)
    wanted = getattr(reference, f"{kind}_linear")(
        x.flatten(0, 1).float(), data, scales, *([32] if kind == "int4" else [])
    )
    assert y.dtype == dtype
    assert y.shape == (2, 3, 24)
    assert torch.allclose(y.flatten(0, 1), wanted.to(dtype), rtol=1e-2 if dtype.itemsize == 2 else 1e-5, atol=1e-4)
    x_TD, *rest = expert_arguments(kind)
    assert getattr(ops, f"{kind}_experts")(x_TD.to(dtype), *rest).dtype == dtype


def test_the_implementation_is_chosen_once_and_named():
    assert ops.chosen() == ("cpu" if cpu.library() is not None else "reference")


def test_groups_that_the_kernel_does_not_know_take_the_definition():
    weight = quantised(draw(8, 96), "int4", 48)
    x = draw(3, 96)
    assert torch.equal(ops.int4_linear(x, weight.data, weight.scales), reference.linear(x, weight))


def test_the_definition_runs_where_there_is_no_library(monkeypatch):
    monkeypatch.setattr(ops, "chosen", lambda: "reference")
    arguments = expert_arguments("int8")
    x_TD, ids, weights, *stacks = arguments
    wanted = reference.experts(x_TD, ids, weights, ops._weight(*stacks[:2]), ops._weight(*stacks[2:]))
    assert torch.equal(ops.int8_experts(*arguments), wanted)


@pytest.mark.skipif(cpu.library() is None, reason=f"no kernels: {cpu.reason()}")
def test_tensors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"x is torch.float32 \(2, 65\)"):
        ops.int8_linear(draw(2, 65), *linear_arguments("int8"))
