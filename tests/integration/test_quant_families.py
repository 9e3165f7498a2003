"""Checkpoints of other families, as ``transformers`` saves them: quantised while they are read, and calibrated."""

from pathlib import Path

import pytest
import torch
import transformers

from evident_core.moe.batch import Batch
from evident_core.moe.weights import load_model
from evident_core.quant import (
    Int4Config,
    Int8Config,
    QuantConfig,
    is_quantized,
    load,
    quantize_,
    quantize_folder,
)

COMMON = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_shared_experts": 1}
FAMILIES = {
    "Qwen3Moe": COMMON | EXPERTS | {"num_experts": 4, "head_dim": 16, "norm_topk_prob": True},
    "Olmoe": COMMON | {"num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 4.0},
    "DeepseekV3": COMMON
    | EXPERTS
    | LATENT
    | {"n_routed_experts": 4, "q_lora_rank": 32, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
    | {"num_key_value_heads": 4},
    "Llama": COMMON | {"tie_word_embeddings": True},
}


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(**FAMILIES[request.param])
    model = getattr(transformers, f"{request.param}ForCausalLM")(config)
    model.save_pretrained(tmp_path / "float", max_shard_size="200KB")
    return tmp_path / "float"


@pytest.mark.parametrize("config", [Int8Config(), Int4Config(32)])
def test_a_checkpoint_is_quantised_while_it_is_read(folder: Path, config: QuantConfig) -> None:
    streamed, whole = load(folder, quantization=config), load_model(folder)
    quantize_(whole, config)
    assert is_quantized(streamed)
    left, right = streamed.state_dict(), whole.state_dict()
    assert list(left) == list(right)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_checkpoint_is_calibrated_and_saved(folder: Path, tmp_path: Path) -> None:
    texts = ["abc" * 40, "the quick brown fox" * 5]
    target = tmp_path / "int4"
    report = quantize_folder(
        folder, target, Int4Config(32), texts, texts, True, encode=lambda text: [ord(letter) % 97 for letter in text]
    )
    assert report.method == "awq"
    assert all(choice.error <= choice.plain for choice in report.choices)
    loaded, exact = load(target), load_model(folder)
    work = Batch.packed([[ord(letter) % 97 for letter in texts[1]]])
    with torch.no_grad():
        assert float((loaded(work) - exact(work)).norm() / exact(work).norm()) < 0.5
