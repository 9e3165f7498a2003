"""Checkpoints that transformers saves give the same logits here: whole, in a batch, decoded from the paged cache."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from evident_core.moe.batch import Batch
from evident_core.moe.weights import load_model
from paged_runs import PagedRun

TOLERANCE = 1e-5
LENGTHS = {"long": 41, "short": 9, "single": 1, "middle": 26}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
BASE: dict[str, Any] = {
    "vocab_size": 89,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LATENT: dict[str, Any] = BASE | {
    "num_key_value_heads": 4,
    "intermediate_size": 40,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 10,
    "first_k_dense_replace": 1,
}
QWEN3_MOE = BASE | {"intermediate_size": 40, "moe_intermediate_size": 12, "num_experts": 8, "num_experts_per_tok": 3}

CONFIGS: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **QWEN3_MOE, head_dim=16, norm_topk_prob=True, mlp_only_layers=[1]
    ),
    "qwen3_moe_window": lambda: transformers.Qwen3MoeConfig(
        **QWEN3_MOE, use_sliding_window=True, sliding_window=6, decoder_sparse_step=2, attention_bias=True, head_dim=8
    ),
    "olmoe": lambda: transformers.OlmoeConfig(
        **BASE, intermediate_size=12, num_experts=8, num_experts_per_tok=3, clip_qkv=0.8, eos_token_id=3
    ),
    "mixtral": lambda: transformers.MixtralConfig(**BASE, intermediate_size=20, num_local_experts=4),
    "mixtral_window": lambda: transformers.MixtralConfig(
        **BASE, intermediate_size=20, num_local_experts=4, sliding_window=7, head_dim=12, tie_word_embeddings=True
    ),
    "deepseek_v2_lite": lambda: transformers.DeepseekV2Config(
        **LATENT, q_lora_rank=None, rope_parameters=YARN | {"mscale": 0.7, "mscale_all_dim": 0.9}
    ),
    "deepseek_v2_groups": lambda: transformers.DeepseekV2Config(
        **LATENT, q_lora_rank=14, topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=3.0
    ),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(
        **LATENT, q_lora_rank=14, n_group=4, topk_group=2, rope_parameters=YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}
    ),
    "deepseek_v3_halves": lambda: transformers.DeepseekV3Config(
        **LATENT, q_lora_rank=None, n_group=2, topk_group=2, rope_interleave=False, norm_topk_prob=False,
        attention_bias=True
    ),
    "qwen3": lambda: transformers.Qwen3Config(
        **BASE, intermediate_size=40, head_dim=16, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "llama_llama3": lambda: transformers.LlamaConfig(
        **BASE, intermediate_size=40, attention_bias=True, rope_parameters={
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "llama_yarn": lambda: transformers.LlamaConfig(**BASE, intermediate_size=40, head_dim=16, rope_parameters=YARN),
    "llama_yarn_factor": lambda: transformers.LlamaConfig(
        **BASE, intermediate_size=40, head_dim=16,
        rope_parameters=YARN | {"attention_factor": 0.8, "truncate": False, "beta_fast": 8.0, "beta_slow": 0.5},
    ),
    "llama_linear": lambda: transformers.LlamaConfig(
        **BASE, intermediate_size=40, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}
    ),
}  # fmt: skip


def _reference(kind: str) -> Any:
    """A transformers model whose every parameter is random, norms and biases included, with logits of order one."""
    torch.manual_seed(sum(map(ord, kind)))
    model = transformers.AutoModelForCausalLM.from_config(
        CONFIGS[kind](), experts_implementation="eager", attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("norm.weight"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                value.normal_(0.0, 0.3)
            elif name.endswith("embed_tokens.weight") and not model.config.tie_word_embeddings:
                value.normal_(0.0, 1.0)
            elif "rotary" not in name:
                value.normal_(0.0, value.shape[-1] ** -0.5)
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The transformers model, and the sharded checkpoint that it saved."""
    model = _reference(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return model, folder


def _sequences(model: Any) -> dict[str, list[int]]:
    generator = torch.Generator().manual_seed(1)
    draw = {name: torch.randint(0, model.config.vocab_size, (n,), generator=generator) for name, n in LENGTHS.items()}
    return {name: tokens.tolist() for name, tokens in draw.items()}


def _alone(model: Any, tokens: list[int]) -> Tensor:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0]


def _apart(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def test_a_packed_batch_of_unequal_lengths_equals_transformers(pair: tuple[Any, Path]) -> None:
    model, folder = pair
    sequences = _sequences(model)
    with torch.inference_mode():
        ours = load_model(folder)(Batch.packed(list(sequences.values()))).split(list(LENGTHS.values()))
        longest = max(LENGTHS.values())
        padded = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in sequences.values()])
        mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in sequences.values()])
        together = model(padded, attention_mask=mask).logits
    for mine, batched, tokens in zip(ours, together, sequences.values(), strict=True):
        theirs = _alone(model, tokens)
        assert 0.3 < theirs.std() < 3.0  # so that a tolerance of 1e-5 means something
        assert _apart(mine, theirs) < TOLERANCE
        assert _apart(mine, batched[: len(tokens)]) < TOLERANCE


def test_chunked_prefill_and_decode_from_the_paged_cache_equal_transformers(pair: tuple[Any, Path]) -> None:
    model, folder = pair
    sequences = _sequences(model)
    run = PagedRun(load_model(folder))
    got: dict[str, list[Tensor]] = {name: [] for name in sequences}
    done = dict.fromkeys(sequences, 0)
    # The prompt of the longest comes in chunks beside the others, which decode at the same time; then all decode.
    for chunks in ({"long": 11, "short": 3, "single": 1}, {"middle": 20, "long": 2, "short": 1}, {"long": 13}):
        _advance(run, sequences, chunks, done, got)
    while any(done[name] < len(tokens) for name, tokens in sequences.items()):
        _advance(run, sequences, {name: 1 for name, tokens in sequences.items() if done[name] < len(tokens)}, done, got)
    for name, tokens in sequences.items():
        ours = torch.cat(got[name])
        assert _apart(ours, _alone(model, tokens)) < TOLERANCE
        assert _apart(ours, _decoded(model, tokens)) < TOLERANCE


def _advance(
    run: PagedRun,
    sequences: dict[str, list[int]],
    chunks: dict[str, int],
    done: dict[str, int],
    got: dict[str, list[Tensor]],
) -> None:
    logits = run.step({name: sequences[name][done[name] : done[name] + count] for name, count in chunks.items()})
    for name, count in chunks.items():
        done[name] += count
        got[name].append(logits[name])


def _decoded(model: Any, tokens: list[int]) -> Tensor:
    """The logits of transformers with its own cache: the first half at once, the rest token by token."""
    half = (len(tokens) + 1) // 2
    with torch.inference_mode():
        out = model(torch.tensor([tokens[:half]]), use_cache=True)
        pieces = [out.logits[0]]
        for token in tokens[half:]:
            out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
            pieces.append(out.logits[0])
    return torch.cat(pieces)


MATTERS = [
    ("qwen3_moe", {"norm_topk_prob": False}),
    ("qwen3_moe", {"num_experts_per_tok": 2}),
    ("qwen3_moe_window", {"sliding_window": 7}),
    ("olmoe", {"clip_qkv": 0.9}),
    ("olmoe", {"norm_topk_prob": True}),
    ("mixtral", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}),
    ("mixtral_window", {"sliding_window": None}),
    ("deepseek_v2_lite", {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 0.8}}),
    ("deepseek_v2_lite", {"rope_parameters": YARN | {"mscale": 0.8, "mscale_all_dim": 0.9}}),
    ("deepseek_v2_groups", {"topk_method": "greedy"}),
    ("deepseek_v2_groups", {"topk_group": 3}),
    ("deepseek_v2_groups", {"routed_scaling_factor": 2.0}),
    ("deepseek_v3", {"topk_group": 3}),
    ("deepseek_v3", {"norm_topk_prob": False}),
    ("deepseek_v3_halves", {"rope_interleave": True}),
    ("qwen3", {"layer_types": ["full_attention"] * 3}),
    ("llama_yarn", {"rope_parameters": YARN | {"factor": 5.0}}),
    ("llama_yarn_factor", {"rope_parameters": YARN | {"attention_factor": 0.8}}),
    ("llama_yarn_factor", {"rope_parameters": YARN | {"truncate": False, "beta_fast": 8.0, "beta_slow": 0.5}}),
    ("llama_linear", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
]


@pytest.mark.parametrize(("kind", "change"), MATTERS, ids=[f"{kind}-{next(iter(change))}" for kind, change in MATTERS])
def test_every_option_moves_the_logits_far_beyond_the_tolerance(
    tmp_path: Path, kind: str, change: dict[str, Any]
) -> None:
    model = _reference(kind)
    model.save_pretrained(tmp_path)
    tokens = _sequences(model)["long"]
    with torch.inference_mode():
        assert _apart(load_model(tmp_path)(Batch.packed([tokens])), _alone(model, tokens)) < TOLERANCE
        _rewrite(tmp_path, change)
        assert _apart(load_model(tmp_path)(Batch.packed([tokens])), _alone(model, tokens)) > 100 * TOLERANCE


def _rewrite(folder: Path, change: dict[str, Any], remove: tuple[str, ...] = ()) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in values.items() if name not in remove}))


def test_published_configurations_say_positions_in_the_old_words(tmp_path: Path) -> None:
    model = _reference("deepseek_v3")
    model.save_pretrained(tmp_path)
    scaling = {
        "type": "yarn",
        "factor": 4,
        "original_max_position_embeddings": 16,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    old = {"rope_theta": 10000, "rope_scaling": scaling, "topk_method": "noaux_tc", "scoring_func": "sigmoid"}
    _rewrite(tmp_path, old, remove=("rope_parameters",))
    tokens = _sequences(model)["long"]
    with torch.inference_mode():
        assert _apart(load_model(tmp_path)(Batch.packed([tokens])), _alone(model, tokens)) < TOLERANCE


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "olmoe", "deepseek_v2_lite", "deepseek_v3"])
def test_experts_that_are_stored_together_load_as_well(tmp_path: Path, kind: str) -> None:
    model = _reference(kind)
    model.save_pretrained(tmp_path)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    assert any(name.endswith("experts.gate_up_proj") for name in load_file(tmp_path / "model.safetensors"))
    tokens = _sequences(model)["long"]
    with torch.inference_mode():
        assert _apart(load_model(tmp_path)(Batch.packed([tokens])), _alone(model, tokens)) < TOLERANCE


def test_a_half_precision_checkpoint_loads_into_float32_exactly(tmp_path: Path) -> None:
    model = _reference("qwen3_moe").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    # Loaded anew, as the cast above rounded the frequencies of the rotation too.
    wide = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, experts_implementation="eager", attn_implementation="eager"
    )
    tokens = _sequences(model)["long"]
    with torch.inference_mode():
        assert _apart(load_model(tmp_path)(Batch.packed([tokens])), _alone(wide, tokens)) < TOLERANCE


def test_end_tokens_of_the_generation_configuration_count_too(tmp_path: Path) -> None:
    model = _reference("qwen3_moe")
    model.config.eos_token_id = model.generation_config.eos_token_id = 7
    model.save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [5, 7]}))
    assert load_model(tmp_path).config.eos_token_ids == (7, 5)
