"""The experts' sorted products against one expert and one token at a time, in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evident_core.moe.config import MoEConfig
from evident_core.moe.experts import Experts, MoE, SwiGLU

EXPERTS, HIDDEN, WIDTH = 6, 16, 12


def _experts() -> Experts:
    torch.manual_seed(0)
    experts = Experts(EXPERTS, HIDDEN, WIDTH)
    for each in experts.parameters():
        torch.nn.init.normal_(each, std=0.3)
    return experts


def _one(x: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """Gate rows first, then up rows; in float64."""
    gate, up = w13[:WIDTH].double() @ x.double(), w13[WIDTH:].double() @ x.double()
    return w2.double() @ (functional.silu(gate) * up)


def _choices(tokens: int, active: int, among: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    order = torch.tensor(among)
    ids = torch.stack([order[torch.randperm(len(among), generator=generator)[:active]] for _ in range(tokens)])
    return torch.randn(tokens, HIDDEN, generator=generator), ids, torch.rand(tokens, active, generator=generator)


@pytest.mark.parametrize(
    ("tokens", "active", "among"), [(1, 2, [4, 1]), (40, 3, list(range(6))), (7, 1, [5]), (9, 2, [0, 2, 5])], ids=str
)
def test_each_token_gets_the_weighted_sum_of_its_experts(tokens: int, active: int, among: list[int]) -> None:
    experts = _experts()
    x, ids, weights = _choices(tokens, active, among)
    got = experts(x, ids, weights)
    for token in range(tokens):
        expected = sum(
            float(weight) * _one(x[token], experts.w13_EGD[expert], experts.w2_EDF[expert])
            for expert, weight in zip(ids[token].tolist(), weights[token].tolist(), strict=True)
        )
        assert (got[token] - expected).abs().max() < 1e-5


def test_gradients_equal_those_of_the_dense_sum() -> None:
    experts = _experts()
    x, ids, weights = _choices(20, 2, list(range(6)))
    inputs = [x.requires_grad_(), weights.requires_grad_(), *experts.parameters()]
    ours = torch.autograd.grad(experts(x, ids, weights).square().sum(), inputs)
    full = torch.zeros(20, EXPERTS).scatter(1, ids, weights)
    gate, up = torch.einsum("td,egd->teg", x, experts.w13_EGD).chunk(2, dim=-1)
    dense = torch.einsum("tef,edf,te->td", functional.silu(gate) * up, experts.w2_EDF, full)
    theirs = torch.autograd.grad(dense.square().sum(), inputs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5, rtol=1e-4)


def test_an_expert_that_nobody_chose_is_not_run() -> None:
    experts = _experts()
    with torch.no_grad():
        experts.w13_EGD[3] = torch.nan
    x, ids, weights = _choices(12, 2, [0, 1, 2, 4, 5])
    assert torch.isfinite(experts(x, ids, weights)).all()
    ids[0, 0] = 3
    assert torch.isnan(experts(x, ids, weights)[0]).all()
    assert torch.isfinite(experts(x, ids, weights)[1:]).all()


def test_autocast_runs_the_products_in_half_precision() -> None:
    experts = _experts()
    x, ids, weights = _choices(30, 2, list(range(6)))
    exact = experts(x, ids, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = experts(x, ids, weights)
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough - exact).abs().max() < 0.1
    assert torch.equal(rough, experts.bfloat16()(x.bfloat16(), ids, weights))


def test_the_shared_expert_is_added_for_every_token() -> None:
    torch.manual_seed(0)
    moe = MoE(HIDDEN, MoEConfig(EXPERTS, 2, WIDTH, shared_intermediate_size=8))
    for each in moe.parameters():
        torch.nn.init.normal_(each, std=0.3)
    x = torch.randn(9, HIDDEN)
    routing = moe.router(x)
    assert isinstance(moe.shared, SwiGLU)
    expected = moe.experts(x, routing.ids_TA, routing.weights_TA) + moe.shared(x)
    assert torch.equal(moe(x), expected)
    gate, up = moe.shared.w13(x).chunk(2, dim=-1)
    assert torch.allclose(moe.shared(x), moe.shared.w2(functional.silu(gate) * up))
