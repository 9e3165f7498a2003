"""The model's configuration: what it counts, what it refuses, and that it survives its file."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from evident_core.errors import InvalidInput
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import LinearScaling, Llama3Scaling, RopeConfig, YarnScaling

GROUPED = GQAConfig(4, 2, 8, qk_norm="full", sliding_window=5, bias=True, clip_qkv=2.0)
LATENT = MLAConfig(4, 12, 16, 8, 6, 10, bias=True)
EXPERTS = MoEConfig(
    8, 2, 12, score="sigmoid", shared_intermediate_size=20, num_groups=4, top_k_groups=2, group_score="top2_sum",
    expert_bias=True, domains=(("text", 4), ("image", 4)), capacity_factor=1.5,
)  # fmt: skip
MODELS = [
    ModelConfig("evident", 50, 24, 36, 3, GROUPED, RopeConfig(1e4, 8, YarnScaling(4, 16)), eos_token_ids=(1, 2)),
    ModelConfig(
        "evident", 50, 24, 0, 3, GROUPED, RopeConfig(1e4, 6, LinearScaling(2)), EXPERTS, tie_word_embeddings=True
    ),
    ModelConfig(
        "evident", 50, 24, 36, 3, LATENT, RopeConfig(1e4, 6, Llama3Scaling(8, 1, 4, 32), interleaved=True), EXPERTS,
        moe_layers=(False, True, True),
    ),
    ModelConfig("evident", 50, 24, 0, 3, replace(LATENT, q_lora_rank=None, bias=False), RopeConfig(1e4, 6), EXPERTS),
    ModelConfig("evident", 50, 24, 36, 2, GQAConfig(4, 1, 6, qk_norm="head"), RopeConfig(1e4, 6)),
]  # fmt: skip


@pytest.mark.parametrize("config", MODELS)
def test_a_configuration_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("config", MODELS)
def test_parameters_are_counted_as_the_model_has_them(config: ModelConfig) -> None:
    model = CausalLM(config)
    assert config.num_parameters == sum(each.numel() for each in model.parameters())
    idle = 0
    if config.moe is not None:
        stacked = [each for each in model.parameters() if each.dim() == 3]
        one = sum(each[0].numel() for each in stacked)
        idle = one * (config.moe.num_experts - config.moe.top_k)
    assert config.num_active_parameters == config.num_parameters - idle


def test_the_active_share_counts_routed_and_shared_experts() -> None:
    assert MoEConfig(16, 2, 128).active_share == 2 / 16
    assert MoEConfig(8, 2, 12, shared_intermediate_size=20).active_share == (2 * 12 + 20) / (8 * 12 + 20)
    assert MODELS[2].active_share == EXPERTS.active_share
    assert MODELS[0].active_share == 1.0


def test_the_active_share_of_the_published_deepseek_moe_16b() -> None:
    share = MoEConfig(64, 6, 1408, shared_intermediate_size=2 * 1408).active_share
    assert share == pytest.approx(8 / 66)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: GQAConfig(4, 3, 8), "GQAConfig.num_kv_heads is 3; it must be a divisor of num_heads 4."),
    (lambda: GQAConfig(0, 1, 8), "GQAConfig.num_heads is 0"),
    (lambda: GQAConfig(4, 2, 8, sliding_window=0), "GQAConfig.sliding_window is 0"),
    (lambda: GQAConfig(4, 2, 8, qk_norm="all"), "GQAConfig.qk_norm is 'all'"),  # type: ignore[arg-type]
    (lambda: GQAConfig("4", 2, 8), "GQAConfig.num_heads is '4'"),  # type: ignore[arg-type]
    (lambda: MLAConfig(4, 0, 16, 8, 6, 10), "MLAConfig.q_lora_rank is 0"),
    (lambda: RopeConfig(1e4, 7), "RopeConfig.dim is 7; it must be even"),
    (lambda: YarnScaling(0, 16), "YarnScaling.factor is 0"),
    (lambda: Llama3Scaling(8, 4, 4, 16), "Llama3Scaling.high_freq_factor is 4"),
    (lambda: MoEConfig(8, 9, 12), "MoEConfig.top_k is 9; it must be at most 8"),
    (lambda: MoEConfig(8, 3, 12, num_groups=4), "MoEConfig.top_k is 3; it must be at most 2"),
    (lambda: MoEConfig(8, 2, 12, num_groups=3), "MoEConfig.num_groups is 3; it must be a divisor of 8 experts"),
    (lambda: MoEConfig(8, 2, 12, num_groups=2, top_k_groups=3), "MoEConfig.top_k_groups is 3"),
    (lambda: MoEConfig(8, 1, 12, num_groups=8, group_score="top2_sum"), "a group has a single expert"),
    (lambda: MoEConfig(8, 2, 12, score="relu"), "MoEConfig.score is 'relu'"),  # type: ignore[arg-type]
    (lambda: MoEConfig(8, 2, 12, domains=(("text", 4), ("image", 3))), "sizes that sum to 8 experts"),
    (lambda: MoEConfig(8, 2, 12, domains=(("text", 7), ("image", 1))), "sizes of at least top_k 2"),
    (lambda: MoEConfig(8, 2, 12, domains=(("text", 4), ("text", 4))), "names that are all different"),
    (lambda: MoEConfig(8, 2, 12, num_groups=2, domains=(("text", 5), ("image", 3))), "whole groups of 4 experts"),
    (lambda: MoEConfig(8, 2, 12, capacity_factor=0), "MoEConfig.capacity_factor is 0"),
    (lambda: MoEConfig(8, 2, 12, gumbel_temperature=-1), "MoEConfig.gumbel_temperature is -1"),
    (lambda: replace(MODELS[0], vocab_size=0), "ModelConfig.vocab_size is 0"),
    (lambda: replace(MODELS[0], moe_layers=(True, False, False)), "ModelConfig.moe_layers is (True, False, False)"),
    (lambda: replace(MODELS[1], moe_layers=(True,)), "one value for each of 3 layers"),
    (lambda: replace(MODELS[4], sliding_layers=(True, True)), "ModelConfig.sliding_layers is (True, True)"),
    (lambda: replace(MODELS[2], intermediate_size=0), "ModelConfig.intermediate_size is 0"),
    (lambda: replace(MODELS[2], rope=RopeConfig(1e4, 4)), "rope.dim is 4; the attention rotates heads of 6 numbers"),
    (lambda: replace(MODELS[0], rope=RopeConfig(1e4, 10)), "rope.dim is 10; the attention rotates heads of 8 numbers"),
    (lambda: replace(MODELS[0], eos_token_ids=(50,)), "ModelConfig.eos_token_ids is (50,)"),
    (lambda: EXPERTS.domain_index("video"), "There is no expert domain 'video'; there are text, image."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_wrong_value_is_refused_by_its_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 8}, "The configuration of the model has 'hiden_size', which is not known"),
        ({"attention": {"kind": "mqa"}}, "it must be an object with kind 'gqa' or 'mla'"),
        (
            {"attention": {"kind": "gqa", "num_heads": 4}},
            "The configuration of attention lacks num_kv_heads, head_dim.",
        ),
        ({"rope": None}, "rope is None"),
        ({"rope": {"theta": 1e4, "dim": 8, "scaling": {"kind": "ntk"}}}, "rope.scaling is {'kind': 'ntk'}"),
        ({"moe": {"num_experts": 8}}, "The configuration of moe lacks top_k, intermediate_size."),
        ({"moe": {"domains": 7}}, "The configuration of moe lacks num_experts"),
        ({"moe": {"num_experts": 8, "top_k": 2, "intermediate_size": 4, "domains": 7}}, "MoEConfig.domains is 7"),
        ({"moe": "none"}, "ModelConfig.moe is 'none'"),
        ({"hidden_size": 2.5}, "ModelConfig.hidden_size is 2.5; it must be of type int."),
        ({"tie_word_embeddings": "false"}, "ModelConfig.tie_word_embeddings is 'false'; it must be of type bool."),
        ({"moe_layers": 3}, "ModelConfig.moe_layers is 3; it must be of type tuple[bool, ...]."),
    ],
    ids=str,
)
def test_a_wrong_file_is_refused_by_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ModelConfig.from_dict(MODELS[0].to_dict() | change)
    assert message in caught.value.message


def test_domains_have_numbers() -> None:
    assert [EXPERTS.domain_index(name) for name in ("text", "image")] == [0, 1]
