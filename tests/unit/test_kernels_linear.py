"""Quantised linears and experts of the C++ kernels against their definitions, on every instruction set that is here.

int8 is equal to the bit: integer sums are exact, and both sides multiply by the two scales in the same order. int4 adds
one float product a group, in another order: within 1e-6 of the sum of the products' sizes.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_kernels import cpu, reference
from evident_kernels.spec import Weight
from kernel_models import quantised

pytestmark = pytest.mark.skipif(cpu.library() is None, reason=f"no kernels: {cpu.reason()}")


def multiply(x: torch.Tensor, weight: Weight, isa: str) -> torch.Tensor:
    out = torch.full((x.shape[0], weight.shape[0]), torch.nan)
    cpu.linear(x, weight, out, isa=isa)
    return out


@pytest.mark.parametrize("isa", cpu.isas())
@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 23),
    rows=st.integers(1, 150),
    inputs=st.integers(1, 700),
    spread=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**31),
)
def test_int8_linear_equals_its_definition_to_the_bit(isa, tokens, rows, inputs, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, inputs, generator=generator) * spread
    weight = quantised(torch.randn(rows, inputs, generator=generator), "int8")
    assert torch.equal(multiply(x, weight, isa), reference.linear(x, weight))


@pytest.mark.parametrize("isa", cpu.isas())
@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 23),
    rows=st.integers(1, 70),
    groups=st.integers(1, 12),
    group=st.sampled_from([32, 64, 128, 256]),
    seed=st.integers(0, 2**31),
)
def test_int4_linear_equals_its_definition_to_rounding(isa, tokens, rows, groups, group, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, groups * group, generator=generator)
    weight = quantised(torch.randn(rows, groups * group, generator=generator), "int4", group)
    sizes = reference.unpack_int4(weight.data).abs() * weight.scales.abs().repeat_interleave(group, dim=1)
    bound = 1e-6 * (x.abs() @ sizes.T) + 1e-30
    assert ((multiply(x, weight, isa) - reference.linear(x, weight)).abs() <= bound).all()


@pytest.mark.parametrize("isa", cpu.isas())
@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(1, 9), rows=st.integers(1, 40), inputs=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_float_linear_equals_its_definition_to_rounding(isa, tokens, rows, inputs, seed):
    generator = torch.Generator().manual_seed(seed)
    x, w = torch.randn(tokens, inputs, generator=generator), torch.randn(rows, inputs, generator=generator)
    bound = 1e-6 * (x.abs() @ w.abs().T) + 1e-30
    assert ((multiply(x, Weight(w), isa) - x @ w.T).abs() <= bound).all()


@pytest.mark.parametrize("isa", cpu.isas())
def test_extreme_integers_do_not_saturate(isa):
    """All products of one sign and the largest there are: 16-bit sums of two of them are just below the limit."""
    for sign in (1, -1):
        x = torch.full((3, 512), float(sign))
        int8 = Weight(torch.full((8, 512), -127, dtype=torch.int8), torch.ones(8))
        assert torch.equal(multiply(x, int8, isa), reference.linear(x, int8))
        int4 = Weight(torch.zeros((8, 256), dtype=torch.uint8), torch.ones(8, 4), 128)  # every value is -8
        assert torch.equal(multiply(x, int4, isa), reference.linear(x, int4))


@pytest.mark.parametrize("isa", cpu.isas())
def test_halves_are_rounded_to_even(isa):
    """x / scale is exactly k + 1/2 for all of these: the largest is 127, so the scale is 1."""
    x = torch.cat((torch.arange(-63.5, 64.0), torch.tensor([127.0]), torch.zeros(63)))[None, :]
    weight = Weight(torch.eye(192, dtype=torch.int8)[:129].contiguous(), torch.ones(129))
    assert torch.equal(multiply(x, weight, isa), x[:, :129].round())


@pytest.mark.parametrize("isa", cpu.isas())
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_tokens_of_zeros_and_of_no_numbers(isa, kind):
    x = torch.zeros(4, 128)
    x[1, 77], x[2, 3], x[3, 5] = torch.nan, torch.inf, 1e-45
    weight = quantised(torch.randn(16, 128, generator=torch.Generator().manual_seed(0)), kind)
    y = multiply(x, weight, isa)
    assert torch.equal(y[0], torch.zeros(16))
    assert torch.isnan(y[1]).all()
    assert not torch.isfinite(y[2]).any()
    assert torch.isfinite(y[3]).all()


@pytest.mark.parametrize("isa", cpu.isas())
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["f32", "int8", "int4"]),
    tokens=st.integers(1, 40),
    count=st.integers(1, 9),
    active=st.integers(1, 4),
    width=st.sampled_from([32, 64, 160]),
    inner=st.sampled_from([32, 96]),
    seed=st.integers(0, 2**31),
)
def test_experts_equal_their_definition(isa, kind, tokens, count, active, width, inner, seed):
    generator = torch.Generator().manual_seed(seed)
    active = min(active, count)
    x = torch.randn(tokens, width, generator=generator)
    ids = torch.stack([torch.randperm(count, generator=generator)[:active] for _ in range(tokens)])
    weights = torch.rand(tokens, active, generator=generator)
    w13 = quantised(torch.randn(count, 2 * inner, width, generator=generator) / width**0.5, kind)
    w2 = quantised(torch.randn(count, width, inner, generator=generator) / inner**0.5, kind)
    out = torch.full((tokens, width), torch.nan)
    cpu.experts(x, ids, weights, w13, w2, out, isa=isa)
    wanted = reference.experts(x, ids, weights, w13, w2)
    difference = (out - wanted).abs().amax(dim=1) / wanted.abs().max()
    # Where silu(gate) * up lies within its rounding of a half step, the two may take neighbouring integers.
    assert difference.max() < (1e-5 if kind == "f32" else 2e-2)
    assert kind == "f32" or difference.median() < 1e-5


def test_numpy_arrays_are_taken_as_well():
    x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    w = np.random.default_rng(1).integers(-127, 128, (5, 64)).astype(np.int8)
    weight, out = Weight(w, np.full(5, 0.01, np.float32)), np.empty((2, 5), np.float32)
    cpu.linear(x, weight, out)
    assert np.array_equal(out, reference.linear(torch.from_numpy(x), weight).numpy())


def test_arrays_that_do_not_fit_are_refused():
    weight = quantised(torch.ones(4, 64), "int8")
    with pytest.raises(ValueError, match=r"x is torch.float64 \(2, 64\); contiguous float32 \(2, 64\) is needed"):
        cpu.linear(torch.zeros(2, 64, dtype=torch.float64), weight, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"out is torch.float32 \(2, 5\)"):
        cpu.linear(torch.zeros(2, 64), weight, torch.zeros(2, 5))
    with pytest.raises(ValueError, match="cannot run altivec"):
        cpu.linear(torch.zeros(2, 64), weight, torch.zeros(2, 4), isa="altivec")
    w13, w2 = quantised(torch.ones(3, 64, 64), "int8"), quantised(torch.ones(3, 64, 32), "int8")
    x, weights, out = torch.zeros(2, 64), torch.ones(2, 1), torch.zeros(2, 64)
    with pytest.raises(ValueError, match=r"ids are 0\.\.3; there are 3 experts"):
        cpu.experts(x, torch.tensor([[0], [3]]), weights, w13, w2, out)
    with pytest.raises(ValueError, match="contiguous int64"):
        cpu.experts(x, torch.tensor([[0], [1]], dtype=torch.int32), weights, w13, w2, out)
