"""The backbone on a CUDA device: the grouped products, the batched decode and a training step."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evident_core.moe.balance import router_losses
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.experts import Experts, gated
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.moe.router import Routing
from paged_runs import PagedRun

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]

ROUTED = MoEConfig(8, 2, 32, shared_intermediate_size=16, balance_loss=0.01, z_loss=0.001, gumbel_temperature=0.5)
CONFIGS = {
    "grouped": ModelConfig("evident", 97, 64, 96, 3, GQAConfig(4, 2, 16, qk_norm="head"), RopeConfig(1e4, 16), ROUTED),
    "window": ModelConfig("evident", 97, 64, 96, 3, GQAConfig(4, 2, 16, sliding_window=6), RopeConfig(1e4, 16), ROUTED),
    "latent": ModelConfig("evident", 97, 64, 96, 3, MLAConfig(4, 24, 32, 16, 8, 16), RopeConfig(1e4, 8), ROUTED),
}


def _model(kind: str) -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(CONFIGS[kind]).eval()
    model.reset_parameters(0.1)
    return model


@pytest.mark.parametrize("tokens", [1, 5, 300])
def test_the_grouped_product_equals_one_expert_at_a_time(tokens: int) -> None:
    torch.manual_seed(0)
    experts = Experts(8, 64, 32).to("cuda", torch.bfloat16)
    for each in experts.parameters():
        torch.nn.init.normal_(each, std=0.2)
    x = torch.randn(tokens, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    # The last two experts are never chosen.
    ids = torch.stack([torch.randperm(6)[:2] for _ in range(tokens)]).to("cuda")
    weights = torch.rand(tokens, 2, device="cuda", requires_grad=True)
    inputs = [x, weights, *experts.parameters()]
    ours = experts(x, ids, weights)
    wide = [each.detach().float().requires_grad_() for each in inputs]
    theirs = _one_at_a_time(wide[0], ids, wide[1], wide[2], wide[3])
    assert (ours.float() - theirs).norm() / theirs.norm() < 1e-2
    gradients = torch.autograd.grad(ours.float().square().sum(), inputs)
    for mine, other in zip(gradients, torch.autograd.grad(theirs.square().sum(), wide), strict=True):
        assert (mine.float() - other).norm() / other.norm() < 2e-2


def _one_at_a_time(x: Tensor, ids: Tensor, weights: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    rows = []
    for token in range(x.shape[0]):
        outputs = [
            weights[token, place] * (w2[expert] @ gated(w13[expert] @ x[token]))
            for place, expert in enumerate(ids[token].tolist())
        ]
        rows.append(torch.stack(outputs).sum(dim=0))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", CONFIGS)
def test_whole_and_paged_runs_equal_the_cpu(kind: str) -> None:
    sequences = {"a": list(range(21)), "b": list(range(40, 50)), "c": [3]}
    with torch.inference_mode():
        expected = _model(kind)(Batch.packed(list(sequences.values()))).split([21, 10, 1])
        model = _model(kind).to("cuda")
        whole = model(Batch.packed(list(sequences.values()), device="cuda")).cpu().split([21, 10, 1])
    run = PagedRun(model)
    pieces = [run.step({"a": sequences["a"][:12], "b": sequences["b"][:1], "c": [3]})]
    pieces += [run.step({"b": [sequences["b"][place]], "a": [sequences["a"][place + 11]]}) for place in range(1, 10)]
    for name, cpu, gpu in zip(sequences, expected, whole, strict=True):
        assert (gpu - cpu).abs().max() < 1e-4
        paged = torch.cat([each[name] for each in pieces if name in each]).cpu()
        assert (paged - cpu).abs().max() < 1e-4


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("lengths", [(16, 16, 16, 16), (30, 11, 7, 16)], ids=["equal", "unequal"])
def test_training_in_half_precision_learns(kind: str, lengths: tuple[int, ...]) -> None:
    model = _model(kind).to("cuda").train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    sequences = [[(3 * start + 5 * place) % 97 for place in range(length)] for start, length in enumerate(lengths)]
    batch = Batch.packed(sequences, device="cuda")
    wanted = torch.cat([torch.tensor([*sequence[1:], -100]) for sequence in sequences]).to("cuda")
    losses = []
    for _ in range(60):
        routings: list[Routing] = []
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = model.logits(model.hidden(batch, routings=routings))
        loss = functional.cross_entropy(logits, wanted) + router_losses(ROUTED, routings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
