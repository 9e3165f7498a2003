"""transformers models of experts give the same output, and the same gradients, with our experts inside."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.models.aria.modeling_aria import AriaExperts
from transformers.models.muse_spark.modeling_muse_spark import MuseSparkExperts
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts

from evident_core.errors import InvalidInput, MissingExtra
from evident_core.moe import transformers_bridge
from evident_core.moe.transformers_bridge import register_with_transformers

BASE: dict[str, Any] = {
    "vocab_size": 71, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "intermediate_size": 24, "num_experts_per_tok": 2, "pad_token_id": 0,
}  # fmt: skip
WIDE = BASE | {"moe_intermediate_size": 12}
LATENT = WIDE | {
    "num_key_value_heads": 4, "n_routed_experts": 8, "kv_lora_rank": 16, "q_lora_rank": 12, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12, "v_head_dim": 10, "first_k_dense_replace": 1,
}  # fmt: skip

FAMILIES: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: transformers.MixtralConfig(**BASE, num_local_experts=4),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(**WIDE, num_experts=8, shared_expert_intermediate_size=16),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**WIDE, num_experts=8, head_dim=8),
    "olmoe": lambda: transformers.OlmoeConfig(**BASE, num_experts=8, eos_token_id=1),
    "flex_olmo": lambda: transformers.FlexOlmoConfig(**BASE, num_experts=8, eos_token_id=1),
    "phimoe": lambda: transformers.PhimoeConfig(**BASE, num_local_experts=4, eos_token_id=1),
    "granitemoe": lambda: transformers.GraniteMoeConfig(**BASE, num_local_experts=4),
    "glm4_moe": lambda: transformers.Glm4MoeConfig(
        **WIDE, n_routed_experts=8, n_group=2, topk_group=1, first_k_dense_replace=1, eos_token_id=1
    ),
    "ernie4_5_moe": lambda: transformers.Ernie4_5_MoeConfig(
        **WIDE, moe_num_experts=8, moe_k=2, moe_num_shared_experts=1
    ),
    "dots1": lambda: transformers.Dots1Config(
        **WIDE, n_routed_experts=8, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=1
    ),
    "hunyuan_v1_moe": lambda: transformers.HunYuanMoEV1Config(**BASE, num_experts=4, moe_topk=2, head_dim=8),
    "minimax": lambda: transformers.MiniMaxConfig(**BASE, num_local_experts=4, head_dim=8),
    "gpt_oss": lambda: transformers.GptOssConfig(**BASE, num_local_experts=4, head_dim=8, eos_token_id=1),
    "deepseek_v2": lambda: transformers.DeepseekV2Config(**LATENT),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(**LATENT, n_group=2, topk_group=1),
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The experts modules that ours ran, so that a model that never asked for them cannot pass."""
    ran: list[str] = []
    forward = transformers_bridge._forward

    def counting(experts: Any, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        ran.append(type(experts).__name__)
        return forward(experts, x, ids, weights)

    monkeypatch.setattr(transformers_bridge, "_forward", counting)
    return ran


def _randomise(module: nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if "norm" in name:
                value.uniform_(0.5, 1.5)
            else:
                value.normal_(0.0, max(value.shape[-1], 16) ** -0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_line_switches_a_model_to_our_experts_with_equal_output(family: str, calls: list[str]) -> None:
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](), experts_implementation="eager").eval()
    _randomise(model)
    tokens = torch.randint(2, 71, (3, 17), generator=torch.Generator().manual_seed(1))
    expected, gradients = _logits_and_gradients(model, tokens)
    assert expected.std() > 0.1
    assert not calls

    register_with_transformers(model)
    got, ours = _logits_and_gradients(model, tokens)
    assert calls
    assert (got - expected).abs().max() < 1e-5
    assert set(ours) == set(gradients)
    assert any("experts" in name for name in ours)
    for name, gradient in gradients.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max() + 1)), name


def _logits_and_gradients(model: Any, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    logits = model(tokens).logits
    logits.square().mean().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_name_can_be_given_where_a_model_is_made(tmp_path: Any, calls: list[str]) -> None:
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES["mixtral"](), experts_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    register_with_transformers()
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="evident").eval()
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert (ours(tokens).logits - model(tokens).logits).abs().max() < 1e-5
    assert calls == ["MixtralExperts"] * 2


class _Settings(dict[str, Any]):
    """A configuration for one module on its own."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


MODULES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "transposed (aria)": (AriaExperts, {"moe_num_experts": 6, "intermediate_size": 12, "hidden_act": "silu"}),
    "without a gate (nemotron_h)": (
        NemotronHExperts,
        {"n_routed_experts": 6, "moe_intermediate_size": 12, "moe_latent_size": None, "mlp_hidden_act": "relu2"},
    ),
    "a norm behind each (muse_spark)": (
        MuseSparkExperts,
        {
            "num_local_experts": 6, "moe_hidden_size": 16, "moe_intermediate_size": 12, "hidden_act": "silu",
            "post_norm_eps": 1e-5,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODULES)
def test_every_layout_of_stacked_experts_gives_equal_output(kind: str, calls: list[str]) -> None:
    module, values = MODULES[kind]
    settings = _Settings(values | {"hidden_size": 16, "_experts_implementation": "eager"})
    experts = module(settings)
    _randomise(experts)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 16, generator=generator)
    ids = torch.stack([torch.randperm(6, generator=generator)[:3] for _ in range(40)])
    weights = torch.rand(40, 3, generator=generator)
    expected = experts(x, ids, weights)
    register_with_transformers()
    settings["_experts_implementation"] = "evident"
    got = experts(x, ids, weights)
    assert len(calls) == 1
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < 1e-5


def test_experts_that_are_spread_over_devices_are_refused() -> None:
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES["mixtral"]()).eval()
    register_with_transformers(model)
    model.model.layers[0].mlp.experts._is_expert_parallel = True
    with pytest.raises(InvalidInput, match="spread over devices"):
        model(torch.tensor([[1, 2]]))


def test_a_model_without_experts_is_refused() -> None:
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(**{name: value for name, value in BASE.items() if name != "num_experts_per_tok"})
    )
    with pytest.raises(InvalidInput, match="LlamaForCausalLM has no stacked experts"):
        register_with_transformers(model)


def test_without_transformers_the_command_that_adds_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers.integrations.moe", None)
    with pytest.raises(MissingExtra, match=r"pip install 'transformers>=5\.11'"):
        register_with_transformers()
