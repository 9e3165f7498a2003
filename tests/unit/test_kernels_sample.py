"""Drawing a token: the C++ kernel against its definition in PyTorch, and both against what is meant."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_kernels import cpu, reference

pytestmark = pytest.mark.skipif(cpu.library() is None, reason=f"no kernels: {cpu.reason()}")

SETTINGS = {
    "temperature": st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    "top_k": st.sampled_from([0, 1, 2, 5, 40, 10_000]),
    "top_p": st.sampled_from([1.0, 0.95, 0.5, 0.1, 1e-6]),
    "min_p": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
}


@settings(max_examples=400, deadline=None)
@given(
    vocab=st.integers(1, 3000),
    spread=st.sampled_from([0.0, 0.1, 1.0, 5.0, 100.0]),
    steps=st.sampled_from([0, 1, 8]),
    banned=st.sampled_from([0.0, 0.5, 0.99]),
    seed=st.integers(0, 2**31),
    **SETTINGS,
)
def test_draws_equal_their_definition(vocab, spread, steps, banned, seed, temperature, top_k, top_p, min_p):
    """Ties (logits in steps) included. A draw within the rounding of e^x of a border may fall on either side of it."""
    draw = np.random.default_rng(seed)
    logits = (draw.normal(size=vocab) * spread).astype(np.float32)
    if steps:
        logits = np.round(logits * steps) / np.float32(steps)
    logits[draw.random(vocab) < banned] = -np.inf
    logits[draw.integers(vocab)] = 0.5
    u = draw.random()
    chosen = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    got = cpu.sample(logits, u, **chosen)
    near = {
        reference.sample(torch.from_numpy(logits), v, **chosen) for v in (u, max(0, u - 1e-5), min(1 - 1e-9, u + 1e-5))
    }
    assert got in near


def test_greedy_takes_the_lowest_of_equals():
    logits = np.array([1.0, 3.0, -np.inf, 3.0, 3.0], np.float32)
    assert cpu.sample(logits, 0.99, temperature=0) == 1
    assert cpu.sample(np.zeros(100_000, np.float32), 0.5, temperature=0) == 0
    assert cpu.sample(logits, 0.99, top_k=1) == 1
    assert cpu.sample(logits, 0.99, top_p=0.2) == 1


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.75}, [0, 1, 3]),  # 0.4 + 0.3 falls short
        ({"top_p": 0.65}, [1, 3]),
        ({"min_p": 0.3}, [0, 1, 3]),  # at least 0.12
        ({"top_k": 3, "top_p": 0.75}, [1, 3]),  # of the three, which sum to 0.85, 0.4 + 0.3 are 0.82
        ({"min_p": 0.3, "top_p": 0.5}, [1, 3]),
    ],
)
def test_each_setting_keeps_what_it_means(chosen, kept):
    """Probabilities 0.15 0.4 0.1 0.3 0.05, drawn from end to end."""
    probabilities = np.array([0.15, 0.4, 0.1, 0.3, 0.05])
    logits = np.log(probabilities).astype(np.float32)
    drawn = [cpu.sample(logits, u, **chosen) for u in np.linspace(0, 0.9999, 2001)]
    assert sorted(set(drawn)) == kept
    shares = np.bincount(drawn, minlength=5)[kept] / len(drawn)
    assert np.allclose(shares, probabilities[kept] / probabilities[kept].sum(), atol=2e-3)
    assert drawn == sorted(drawn)


def test_what_cannot_be_drawn_is_refused():
    nothing = np.full(7, -np.inf, np.float32)
    for logits in (nothing, np.full(7, np.nan, np.float32)):
        with pytest.raises(ValueError, match="no token is allowed"):
            cpu.sample(logits, 0.5)
        assert reference.sample(torch.from_numpy(logits), 0.5) == -1
    for wrong in ({"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"u": 1.0}):
        with pytest.raises(ValueError, match="must not be negative"):
            cpu.sample(np.zeros(3, np.float32), **{"u": 0.5, **wrong})
    with pytest.raises(ValueError, match="float64"):
        cpu.sample(np.zeros(3), 0.5)


def test_infinite_logits_are_certain_and_no_numbers_are_left_out():
    assert cpu.sample(np.array([0, np.inf, 1, np.inf], np.float32), 0.99) == 1
    logits = np.array([np.nan, 0, np.nan, 0], np.float32)
    assert [cpu.sample(logits, u) for u in (0.0, 0.49, 0.51, 0.99)] == [1, 1, 3, 3]
