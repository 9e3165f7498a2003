"""The router: deterministic, dropless, two experts that both count; and what balances it in training."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evident_core.errors import InvalidInput
from evident_core.moe.balance import (
    balance_loss,
    expert_counts,
    gumbel_noise,
    kept_by_capacity,
    router_losses,
    update_expert_bias,
    z_loss,
)
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.experts import MoE
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.moe.router import Routing, TopKRouter

HIDDEN = 16
PLAIN = MoEConfig(8, 2, 12)


def _router(config: MoEConfig = PLAIN, seed: int = 0) -> TopKRouter:
    torch.manual_seed(seed)
    router = TopKRouter(HIDDEN, config)
    torch.nn.init.normal_(router.gate.weight, std=0.5)
    return router.eval()


def _moe(config: MoEConfig = PLAIN) -> MoE:
    torch.manual_seed(0)
    moe = MoE(HIDDEN, config)
    for each in moe.parameters():
        torch.nn.init.normal_(each, std=0.3)
    return moe.eval()


def _tokens(count: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))


def test_a_hard_gumbel_sample_followed_by_top_2_loses_the_second_expert() -> None:
    """The mistake itself: a hard sample is one-hot, so the second of its top two has the weight 0."""
    torch.manual_seed(0)
    sample = functional.gumbel_softmax(torch.randn(100, 8), tau=1.0, hard=True)
    values = sample.topk(2, dim=-1).values
    assert torch.allclose(values, torch.tensor([1.0, 0.0]).expand(100, 2))


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_both_experts_have_weight_change_the_output_and_learn(training: bool) -> None:
    moe = _moe(replace(PLAIN, gumbel_temperature=1.0)).train(training)
    x = _tokens(200)
    torch.manual_seed(5)
    routing = moe.router(x)
    assert routing.weights_TA.shape == (200, 2)
    assert routing.weights_TA.min() > 0
    assert torch.allclose(routing.weights_TA.sum(dim=-1), torch.ones(200))
    assert (routing.ids_TA[:, 0] != routing.ids_TA[:, 1]).all()

    second = int(routing.ids_TA[0, 1])
    before = moe.experts(x[:1], routing.ids_TA[:1], routing.weights_TA[:1])
    before.sum().backward()
    for each in (moe.experts.w13_EGD, moe.experts.w2_EDF):
        assert each.grad is not None
        assert each.grad[second].abs().sum() > 0
    assert moe.router.gate.weight.grad is not None
    assert moe.router.gate.weight.grad[second].abs().sum() > 0
    with torch.no_grad():
        moe.experts.w2_EDF[second] += 1.0
        after = moe.experts(x[:1], routing.ids_TA[:1], routing.weights_TA[:1])
    assert (after - before).abs().max() > 1e-2


def test_inference_is_deterministic_and_drops_nothing() -> None:
    config = replace(PLAIN, gumbel_temperature=2.0, capacity_factor=0.1)
    router, x = _router(config), _tokens()
    first, again = router(x), router(x)
    assert torch.equal(first.ids_TA, again.ids_TA)
    assert torch.equal(first.weights_TA, again.weights_TA)
    assert (first.weights_TA > 0).all()
    plain = _router()(x)
    assert torch.equal(first.ids_TA, plain.ids_TA)
    assert (router.train()(x).weights_TA == 0).any()


def test_the_best_experts_are_chosen_in_order_with_their_own_probabilities() -> None:
    router, x = _router(replace(PLAIN, normalise_top_k=False, scaling_factor=3.0)), _tokens()
    routing = router(x)
    probabilities = (x @ router.gate.weight.T).softmax(dim=-1)
    expected, ids = probabilities.sort(dim=-1, descending=True)
    assert torch.equal(routing.ids_TA, ids[:, :2])
    assert torch.allclose(routing.weights_TA, 3 * expected[:, :2])


def test_half_precision_tokens_are_routed_in_float32() -> None:
    router, x = _router(), _tokens().bfloat16()
    routing = router.bfloat16()(x)
    assert routing.logits_TE.dtype == routing.weights_TA.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(router(x).logits_TE, routing.logits_TE)


def test_the_bias_moves_the_choice_and_not_the_weights() -> None:
    config = replace(PLAIN, score="sigmoid", expert_bias=True)
    router, x = _router(config), _tokens()
    assert router.expert_bias is not None
    router.expert_bias[3] = 10.0
    routing = router(x)
    assert (routing.ids_TA[:, 0] == 3).all()
    sigmoids = (x @ router.gate.weight.T).sigmoid().gather(1, routing.ids_TA)
    assert torch.allclose(routing.weights_TA, sigmoids / sigmoids.sum(dim=-1, keepdim=True))


@pytest.mark.parametrize("group_score", ["max", "top2_sum"])
def test_experts_come_from_the_best_groups_only(group_score: Any) -> None:
    config = MoEConfig(12, 3, 4, num_groups=4, top_k_groups=2, group_score=group_score)
    router, x = _router(config), _tokens(300)
    routing = router(x)
    free = _router(replace(config, num_groups=1, top_k_groups=1))(x)
    assert (routing.ids_TA // 3 != routing.ids_TA[:, :1] // 3).any()
    assert not torch.equal(routing.ids_TA, free.ids_TA)
    for scores, ids in zip(routing.scores_TE.tolist(), routing.ids_TA.tolist(), strict=True):
        groups = [sorted(scores[start : start + 3]) for start in range(0, 12, 3)]
        worth = [group[-1] if group_score == "max" else group[-1] + group[-2] for group in groups]
        best = sorted(range(4), key=lambda group: -worth[group])[:2]
        reachable = [expert for expert in range(12) if expert // 3 in best]
        assert ids == sorted(reachable, key=lambda expert: -scores[expert])[:3]


DOMAINS = MoEConfig(9, 2, 4, shared_intermediate_size=4, domains=(("text", 4), ("image", 3), ("code", 2)))


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_a_token_with_a_domain_uses_its_experts_only(score: Any) -> None:
    config = replace(DOMAINS, score=score, expert_bias=score == "sigmoid")
    router, x = _router(config), _tokens(90)
    domains = torch.arange(90) % 4 - 1
    routing = router(x, domains)
    ranges = {0: range(4), 1: range(4, 7), 2: range(7, 9)}
    for domain, ids, weights in zip(
        domains.tolist(), routing.ids_TA.tolist(), routing.weights_TA.tolist(), strict=True
    ):
        assert all(expert in ranges.get(domain, range(9)) for expert in ids)
        assert sum(weights) == pytest.approx(1.0)
        assert min(weights) > 0
    free = router(x)
    assert torch.equal(routing.ids_TA[domains == -1], free.ids_TA[domains == -1])
    assert not torch.equal(routing.ids_TA, free.ids_TA)


def test_a_strong_expert_of_another_domain_is_never_chosen_whatever_its_bias() -> None:
    router = _router(replace(DOMAINS, score="sigmoid", expert_bias=True))
    assert router.expert_bias is not None
    router.expert_bias[0] = 1e6
    routing = router(_tokens(), torch.full((64,), DOMAINS.domain_index("code")))
    assert set(routing.ids_TA.flatten().tolist()) == {7, 8}


def test_domains_and_groups_hold_together() -> None:
    config = MoEConfig(16, 2, 4, num_groups=8, top_k_groups=2, domains=(("text", 8), ("image", 8)))
    routing = _router(config)(_tokens(), torch.arange(64) % 2)
    assert torch.equal(routing.ids_TA // 8, (torch.arange(64) % 2)[:, None].expand(-1, 2))


def test_domains_go_through_the_whole_model() -> None:
    config = ModelConfig("evident", 40, HIDDEN, 0, 2, GQAConfig(2, 1, 8), RopeConfig(1e4, 8), DOMAINS)
    torch.manual_seed(0)
    model = CausalLM(config).eval()
    batch = Batch.packed([[1, 2, 3], [4, 5]])
    batch.domains_T = torch.tensor([0, 0, 1, 2, -1])
    routings: list[Routing] = []
    model.hidden(batch, routings=routings)
    assert len(routings) == 2
    for routing in routings:
        ids = routing.ids_TA
        assert ids[:2].max() < 4
        assert 4 <= ids[2].min() <= ids[2].max() < 7
        assert ids[3].min() >= 7


def test_domains_without_any_in_the_configuration_are_refused() -> None:
    with pytest.raises(InvalidInput, match="this model has none"):
        _router()(_tokens(), torch.zeros(64, dtype=torch.int64))


def test_gumbel_noise_draws_in_proportion_to_the_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(200_000, 3)
    first = (logits + gumbel_noise(logits)).argmax(dim=-1)
    shares = expert_counts(first[:, None], 3) / 200_000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.01)
    assert torch.isfinite(gumbel_noise(torch.zeros(1_000_000))).all()


def test_noise_explores_with_temperature_and_leaves_the_weights_clean() -> None:
    x = _tokens(2000)
    clean = _router()(x)
    changed = []
    for temperature in (0.01, 0.5, 5.0):
        router = _router(replace(PLAIN, gumbel_temperature=temperature)).train()
        torch.manual_seed(3)
        routing = router(x)
        assert torch.equal(routing.scores_TE, clean.scores_TE)
        scores = clean.scores_TE.gather(1, routing.ids_TA)
        assert torch.allclose(routing.weights_TA, scores / scores.sum(dim=-1, keepdim=True))
        changed.append(float((routing.ids_TA != clean.ids_TA).float().mean()))
    assert changed[0] < 0.1 < changed[1] < changed[2]


def _routing(ids: list[list[int]], logits: Tensor) -> Routing:
    chosen = torch.tensor(ids)
    scores = logits.softmax(dim=-1)
    return Routing(chosen, scores.gather(1, chosen), logits, scores)


def test_the_balance_loss_is_one_when_even_and_highest_when_two_experts_take_all() -> None:
    even = [[0, 1], [2, 3], [1, 2], [3, 0]]
    assert balance_loss(_routing(even, torch.zeros(4, 4))) == pytest.approx(1.0)
    skewed = torch.tensor([[50.0, 50.0, 0.0, 0.0]]).expand(4, 4)
    assert balance_loss(_routing([[0, 1]] * 4, skewed)) == pytest.approx(2.0)


def test_the_balance_loss_pushes_the_crowded_expert_down() -> None:
    logits = torch.zeros(4, 4, requires_grad=True)
    balance_loss(_routing([[0, 1], [0, 2], [0, 3], [0, 1]], logits)).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 3] < 0).all()


def test_the_z_loss_is_the_squared_log_partition() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    one, two = torch.tensor(2.0).log(), (torch.tensor(1.0).exp() + torch.tensor(2.0).exp()).log()
    assert torch.allclose(z_loss(_routing([[0], [1]], logits)), (one**2 + two**2) / 2)


def test_losses_have_the_configured_weights_and_ignore_other_domains() -> None:
    config = replace(DOMAINS, balance_loss=0.5, z_loss=0.25)
    routing = _router(config)(_tokens(), torch.arange(64) % 3)
    expected = 0.5 * balance_loss(routing) + 0.25 * z_loss(routing)
    assert torch.isfinite(expected)
    assert torch.allclose(router_losses(config, [routing, routing]), expected)
    assert router_losses(replace(config, balance_loss=0, z_loss=0), [routing]) == 0


def test_the_bias_update_evens_out_a_skewed_load() -> None:
    config = replace(PLAIN, score="sigmoid", expert_bias=True, bias_update_speed=0.02)
    router, x = _router(config), _tokens(512) + 0.7 * _router(config).gate.weight[0]
    before = expert_counts(router(x).ids_TA, 8)
    for _ in range(100):
        update_expert_bias(router, expert_counts(router(x).ids_TA, 8))
    after = expert_counts(router(x).ids_TA, 8)
    mean = 512 * 2 / 8
    assert before.max() > 2.0 * mean
    assert after.max() < 1.35 * mean
    assert after.min() > 0.65 * mean


def test_the_bias_moves_by_one_step_towards_the_mean() -> None:
    router = _router(replace(PLAIN, expert_bias=True, bias_update_speed=0.5))
    update_expert_bias(router, torch.tensor([4.0, 0, 2, 2, 2, 2, 2, 2]))
    assert router.expert_bias is not None
    assert router.expert_bias.tolist() == [-0.5, 0.5, 0, 0, 0, 0, 0, 0]


def test_the_bias_stays_float32_when_the_model_is_cast() -> None:
    router = _router(replace(PLAIN, expert_bias=True))
    assert router.expert_bias is not None
    router.expert_bias[0] = 1.001
    router.to(torch.bfloat16)
    assert router.gate.weight.dtype == torch.bfloat16
    assert torch.equal(router.expert_bias, torch.tensor([1.001] + [0.0] * 7))


def test_capacity_keeps_first_choices_first_in_the_order_of_tokens() -> None:
    ids = torch.tensor([[0, 1], [0, 1], [1, 0], [0, 2]])
    kept = kept_by_capacity(ids, num_experts=4, factor=1.0)  # each expert takes 2
    assert kept.tolist() == [[True, True], [True, False], [True, False], [False, True]]
    assert kept_by_capacity(ids, 4, 10.0).all()


def test_a_dropped_choice_adds_nothing_to_the_output() -> None:
    moe = _moe(replace(PLAIN, capacity_factor=0.25)).train()
    x = _tokens()
    routing = moe.router(x)
    dropped = (routing.weights_TA == 0).all(dim=-1)
    assert dropped.any()
    assert not dropped.all()
    assert (moe(x)[dropped] == 0).all()
