"""Published configurations read as their model cards say, and what checkpoints carry on the side is left out."""

from typing import Any

import pytest
import torch

from evident_core.errors import InvalidInput
from evident_core.moe.config import GQAConfig, MLAConfig
from evident_core.moe.families import FAMILIES, read_config
from evident_core.moe.layout import hf_places
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import Llama3Scaling, YarnScaling
from evident_core.moe.weights import load_model
from mixtral_checkpoints import mixtral_config, mixtral_tensors, write_checkpoint

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"], "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32,
    "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False,
    "vocab_size": 32000,
}  # fmt: skip
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
    "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": False,
    "rope_scaling": {
        "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }, "vocab_size": 128256,
}  # fmt: skip
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "eos_token_id": 151645, "head_dim": 128,
    "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960,
    "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
    "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
QWEN3_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
    "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144,
    "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe",
    "moe_intermediate_size": 768, "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128,
    "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
OLMOE = {
    "architectures": ["OlmoeForCausalLM"], "attention_bias": False, "clip_qkv": None, "eos_token_id": 50279,
    "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 1024, "max_position_embeddings": 4096,
    "model_type": "olmoe", "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 64,
    "num_experts_per_tok": 8, "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-05,
    "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 50304,
}  # fmt: skip
DEEPSEEK_MOE = {
    "architectures": ["DeepseekForCausalLM"], "attention_bias": False, "eos_token_id": 100001,
    "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944,
    "max_position_embeddings": 4096, "model_type": "deepseek", "moe_intermediate_size": 1408, "moe_layer_freq": 1,
    "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 16,
    "num_experts_per_tok": 6, "num_hidden_layers": 28, "num_key_value_heads": 16, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 10000, "scoring_func": "softmax", "tie_word_embeddings": False,
    "vocab_size": 102400,
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "eos_token_id": 100001,
    "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944,
    "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v2",
    "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2,
    "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27,
    "num_key_value_heads": 16, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06, "rope_scaling": {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096, "type": "yarn",
    }, "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "tie_word_embeddings": False,
    "topk_group": 1, "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102400,
}  # fmt: skip
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "eos_token_id": 1,
    "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432,
    "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
    "norm_topk_prob": True, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
    "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_scaling": {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096, "type": "yarn",
    }, "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": False,
    "topk_group": 4, "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280,
}  # fmt: skip

# What the cards state, in billions: all parameters, and those that a token uses.
CARDS: list[tuple[dict[str, Any], float, float]] = [
    (MIXTRAL, 46.7, 12.9), (LLAMA, 8.0, 8.0), (QWEN3, 0.6, 0.6), (QWEN3_MOE, 30.5, 3.3), (OLMOE, 6.9, 1.3),
    (DEEPSEEK_MOE, 16.4, 2.8), (DEEPSEEK_V2_LITE, 15.7, 2.4), (DEEPSEEK_V3, 671.0, 37.0),
]  # fmt: skip


@pytest.mark.parametrize(("values", "total", "active"), CARDS, ids=[values["model_type"] for values, *_ in CARDS])
def test_published_configurations_have_the_published_size(values: dict[str, Any], total: float, active: float) -> None:
    config = read_config(values)
    assert config.family == values["model_type"]
    assert round(config.num_parameters / 1e9, 1) == total
    # Some cards leave the embedding out of what a token uses, and they round as they please.
    assert config.num_active_parameters / 1e9 == pytest.approx(active, rel=0.12)


def test_exact_sizes_of_published_files() -> None:
    """The bytes that the published bfloat16 indexes state, over two."""
    assert read_config(MIXTRAL).num_parameters == 93_405_585_408 // 2
    assert read_config(LLAMA).num_parameters == 16_060_522_496 // 2


@pytest.mark.parametrize("values", [values for values, *_ in CARDS], ids=[values["model_type"] for values, *_ in CARDS])
def test_every_parameter_has_its_tensors_and_no_row_has_two(values: dict[str, Any]) -> None:
    config = read_config(values | {"num_hidden_layers": 5})
    with torch.device("meta"):
        model = CausalLM(config)
    assert config.num_parameters == sum(each.numel() for each in model.parameters())
    parameters = dict(model.named_parameters()) | dict(model.named_buffers())
    covered = dict.fromkeys(parameters, 0)
    for place in hf_places(config, ()).values():
        covered[place.parameter] += place.of(parameters[place.parameter]).numel()
    assert covered == {name: value.numel() for name, value in parameters.items()}


def test_what_the_published_words_mean() -> None:
    llama, lite, v3, moe = map(read_config, (LLAMA, DEEPSEEK_V2_LITE, DEEPSEEK_V3, QWEN3_MOE))
    assert llama.rope.scaling == Llama3Scaling(8.0, 1.0, 4.0, 8192)
    assert llama.eos_token_ids == (128001, 128008, 128009)
    assert isinstance(lite.attention, MLAConfig)
    assert lite.attention.q_lora_rank is None
    assert isinstance(lite.rope.scaling, YarnScaling)
    assert lite.rope.scaling.magnitude == 1.0
    assert lite.rope.scaling.softmax_factor == pytest.approx(1.2608037774**2)  # 0.1 * 0.707 * ln 40 + 1
    assert lite.rope.interleaved
    assert lite.moe_layers == (False,) + (True,) * 26
    assert v3.moe is not None
    assert (v3.moe.score, v3.moe.num_groups, v3.moe.top_k_groups, v3.moe.expert_bias) == ("sigmoid", 8, 4, True)
    assert isinstance(moe.attention, GQAConfig)
    assert (moe.attention.head_dim, moe.attention.qk_norm, moe.attention.sliding_window) == (128, "head", None)
    assert moe.active_share == 8 / 128


def test_the_context_before_is_the_whole_one_where_it_is_not_said() -> None:
    scaling = {"type": "yarn", "factor": 4.0}
    config = read_config(QWEN3 | {"rope_scaling": scaling})
    assert isinstance(config.rope.scaling, YarnScaling)
    assert config.rope.scaling.original_max_position_embeddings == 40960
    said = read_config(QWEN3 | {"rope_scaling": scaling, "original_max_position_embeddings": 32768})
    assert isinstance(said.rope.scaling, YarnScaling)
    assert said.rope.scaling.original_max_position_embeddings == 32768


def test_qwen3_slides_from_the_layer_that_it_names() -> None:
    config = read_config(QWEN3 | {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20})
    assert config.sliding_layers == (False,) * 20 + (True,) * 8


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_typo_in_an_architecture_is_told(family: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_config({"architectures": [family.architecture.replace("CausalLM", "CasualLM")]})
    assert f"Did you mean {family.architecture}?" in caught.value.message


def test_the_model_type_is_enough() -> None:
    assert read_config({name: value for name, value in MIXTRAL.items() if name != "architectures"}).family == "mixtral"


def test_what_checkpoints_carry_on_the_side_is_left_out(tmp_path: Any) -> None:
    """Stored frequencies, a tied head, and DeepSeek's prediction layers behind the last one."""
    config = mixtral_config(tie_word_embeddings=True)
    tensors = mixtral_tensors(config) | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
        "model.layers.2.eh_proj.weight": torch.ones(3, 3),
    }
    assert "lm_head.weight" in tensors
    write_checkpoint(tmp_path, config, tensors)
    model = load_model(tmp_path)
    assert model.head is None
