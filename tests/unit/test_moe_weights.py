"""Loading and saving: the suite's own layout, one copy in memory, and an error that names what is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evident_core.errors import EvidentError, InvalidInput, ModelNotReady
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig, YarnScaling
from evident_core.moe.weights import load_config, load_model, save_model
from mixtral_checkpoints import mixtral_config, mixtral_tensors, write_checkpoint

GROUPED = ModelConfig(
    "evident", 61, 32, 48, 2, GQAConfig(4, 2, 8, qk_norm="full", sliding_window=6, bias=True, clip_qkv=3.0),
    RopeConfig(1e4, 6, YarnScaling(4, 16), interleaved=True),
    MoEConfig(6, 2, 12, score="sigmoid", expert_bias=True, shared_intermediate_size=8, domains=(("a", 3), ("b", 3))),
    moe_layers=(False, True), sliding_layers=(True, False), tie_word_embeddings=True, eos_token_ids=(2,),
)  # fmt: skip
LATENT = ModelConfig("evident", 61, 32, 0, 2, MLAConfig(4, 12, 16, 8, 6, 10), RopeConfig(1e4, 6), MoEConfig(6, 2, 12))


def _model(config: ModelConfig = GROUPED) -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(config).eval()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        with torch.no_grad():
            value.copy_(torch.rand_like(value) + 0.5 if "norm" in name else torch.randn_like(value) * 0.2)
    return model


@pytest.mark.parametrize("config", [GROUPED, LATENT], ids=["grouped", "latent"])
def test_a_saved_model_loads_with_the_same_logits(tmp_path: Path, config: ModelConfig) -> None:
    model = _model(config)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == config
    assert not loaded.training
    batch = Batch.packed([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [5, 8]])
    with torch.inference_mode():
        assert torch.equal(loaded(batch), model(batch))


def test_the_layout_names_its_family_and_its_tensors_as_the_model_does(tmp_path: Path) -> None:
    save_model(_model(), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["architectures"] == ["EvidentForCausalLM"]
    assert values["model_type"] == "evident"
    assert set(load_file(tmp_path / "model.safetensors")) == set(_model().state_dict())


def test_large_tensors_are_cut_so_that_no_file_is_above_16_mib(tmp_path: Path) -> None:
    config = replace(GROUPED, vocab_size=9000, hidden_size=512, moe=replace(GROUPED.moe, intermediate_size=1024))
    model = _model(config)
    save_model(_model(replace(config, vocab_size=61)), tmp_path)
    save_model(model, tmp_path)  # replaces the one before
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 4
    assert max(each.stat().st_size for each in files) <= 16 << 20
    names = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert sorted(name for name in names if name.startswith("embed.weight"))[0] == "embed.weight:0"
    loaded = load_model(tmp_path, dtype=torch.float32)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_weights_become_the_type_that_is_asked_for(tmp_path: Path) -> None:
    save_model(_model(), tmp_path)
    loaded = load_model(tmp_path, dtype=torch.bfloat16)
    assert {each.dtype for each in loaded.parameters()} == {torch.bfloat16}
    assert {each.dtype for each in loaded.buffers()} == {torch.float32}
    logits = loaded(Batch.packed([[1, 2, 3]]))
    assert logits.dtype == torch.float32
    assert (logits - _model()(Batch.packed([[1, 2, 3]]))).abs().max() < 0.2


Damage = Callable[[Path], object]
EXPERT = "model.layers.1.block_sparse_moe.experts.2.w1.weight"


def _config(change: dict[str, Any]) -> Damage:
    return lambda folder: write_checkpoint(folder, mixtral_config(**change), mixtral_tensors(mixtral_config()))


def _tensors(change: dict[str, torch.Tensor | None]) -> Damage:
    def damage(folder: Path) -> None:
        changed = mixtral_tensors(mixtral_config()) | change
        write_checkpoint(
            folder, mixtral_config(), {name: value for name, value in changed.items() if value is not None}
        )

    return damage


def _sharded(damage: Damage) -> Damage:
    def both(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        write_checkpoint(folder, mixtral_config(), mixtral_tensors(mixtral_config()), files=3)
        damage(folder)

    return both


def _cut(name: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-100])

    return damage


def _text(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _index(folder: Path, file: str) -> None:
    path = folder / "model.safetensors.index.json"
    listed = json.loads(path.read_text())["weight_map"]
    assert listed[EXPERT] != file
    path.write_text(json.dumps({"weight_map": listed | {EXPERT: file}}))


SECOND = "model-00002-of-00003.safetensors"
DAMAGES: list[tuple[str, Damage, type[EvidentError], str]] = [
    ("no config", lambda f: (f / "config.json").unlink(), ModelNotReady, "config.json is missing"),
    ("config no json", _text("config.json", "{"), InvalidInput, "config.json cannot be read as JSON"),
    ("config a list", _text("config.json", "[]"), InvalidInput, "config.json holds a list"),
    ("typo", _config({"architectures": ["MixtrlForCausalLM"]}), InvalidInput,
     "architecture 'MixtrlForCausalLM' is not known. Did you mean MixtralForCausalLM? Known are EvidentForCausalLM, "),
    ("unknown", _config({"architectures": ["Zamba7"]}), InvalidInput, "'Zamba7' is not known. Known are Evident"),
    ("no architecture", _config({"architectures": None, "model_type": None}), InvalidInput, "names neither"),
    ("missing value", _config({"hidden_size": None}), InvalidInput, "config.json lacks hidden_size."),
    ("wrong value", _config({"vocab_size": "64"}), InvalidInput, "vocab_size in config.json is '64'; it must be"),
    ("no number", _config({"rms_norm_eps": "small"}), InvalidInput, "rms_norm_eps in config.json is 'small'; it must"),
    ("no flag", _config({"tie_word_embeddings": 1}), InvalidInput, "tie_word_embeddings in config.json is 1; it must"),
    ("no tokens", _config({"eos_token_id": ["</s>"]}), InvalidInput, "eos_token_id in config.json is ['</s>']; it"),
    ("no text", _config({"rope_scaling": {"type": 5}}), InvalidInput, "type in config.json is 5; it must be a text"),
    ("no object", _config({"rope_scaling": [2]}), InvalidInput, "rope_scaling in config.json is [2]; it must be"),
    ("activation", _config({"hidden_act": "gelu"}), InvalidInput, "hidden_act in config.json is 'gelu'; it"),
    ("rope", _config({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), InvalidInput,
     "rope_type in config.json is 'dynamic'; it must be 'default', 'linear', 'llama3' or 'yarn'"),
    ("partial rope", _config({"partial_rotary_factor": 0.5}), InvalidInput,
     "partial_rotary_factor in config.json is 0.5; it must be 1"),
    ("quantised", _config({"quantization_config": {"quant_method": "fp8"}}), InvalidInput, "quantised by 'fp8'"),
    ("no weights", lambda f: (f / "model.safetensors").unlink(), ModelNotReady, "has neither model.safetensors nor"),
    ("a pickle", _pickle_only, ModelNotReady, "pytorch_model.bin is a pickle, which is not read as it can run code."),
    ("missing tensor", _tensors({EXPERT: None}), InvalidInput, f"has no tensor {EXPERT!r} (1 of 41 are missing)"),
    ("extra tensor", _tensors({"model.layers.0.self_attn.q_proj.bias": torch.ones(16)}), InvalidInput,
     "has the tensor 'model.layers.0.self_attn.q_proj.bias' (1 in all), for which its config.json has no place"),
    ("wrong shape", _tensors({EXPERT: torch.ones(24, 15)}), InvalidInput,
     f"The tensor {EXPERT!r} has the shape [24, 15]; config.json calls for [24, 16]."),
    ("wrong type", _tensors({EXPERT: torch.ones(24, 16, dtype=torch.int8)}), InvalidInput, f"{EXPERT!r} is of type I8"),
    ("cut off", _cut("model.safetensors"), InvalidInput, "model.safetensors is damaged:"),
    ("garbage", _text("model.safetensors", "garbage " * 40), InvalidInput, "model.safetensors is damaged:"),
    ("empty", _text("model.safetensors", ""), InvalidInput, "model.safetensors is damaged:"),
    ("pointer", _text("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), InvalidInput, "lfs pull"),
    ("missing shard", _sharded(lambda f: (f / SECOND).unlink()), ModelNotReady, f"{SECOND} is missing (1 of 3 files"),
    ("cut shard", _sharded(_cut(SECOND)), InvalidInput, f"{SECOND} is damaged:"),
    ("index lies", _sharded(lambda f: _index(f, SECOND)), InvalidInput,
     f"has no tensor {EXPERT!r}, which model.safetensors.index.json promises."),
    ("index leaves", _sharded(lambda f: _index(f, "../../etc/passwd")), InvalidInput, "is not a file of its own"),
    ("index empty", _sharded(_text("model.safetensors.index.json", "{}")), InvalidInput, "has no weight_map"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "kind", "message"), [each[1:] for each in DAMAGES], ids=[each[0] for each in DAMAGES]
)
def test_a_damaged_checkpoint_is_refused_by_what_is_wrong(
    tmp_path: Path, damage: Damage, kind: type[EvidentError], message: str
) -> None:
    write_checkpoint(tmp_path, mixtral_config(), mixtral_tensors(mixtral_config()))
    assert load_model(tmp_path).config.family == "mixtral"
    damage(tmp_path)
    with pytest.raises(kind) as caught:
        load_model(tmp_path)
    assert message in caught.value.message


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotReady, match="nowhere"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["embed.weight:0", "embed.weight:7680"])
def test_a_missing_range_of_rows_is_named(tmp_path: Path, part: str) -> None:
    save_model(_model(replace(GROUPED, vocab_size=9000, hidden_size=512)), tmp_path)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    starts = sorted(int(name.partition(":")[2]) for name in index["weight_map"] if name.startswith("embed.weight:"))
    missing = "embed.weight" if part.endswith(":0") else f"embed.weight:{starts[1]}"
    del index["weight_map"][f"embed.weight:{starts[0 if part.endswith(':0') else 1]}"]
    path.write_text(json.dumps(index))
    with pytest.raises(InvalidInput, match=f"has no tensor '{missing}'"):
        load_model(tmp_path)


def test_a_quantised_model_is_sent_to_its_own_loader(tmp_path: Path) -> None:
    save_model(_model(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization": {"bits": 8}}))
    with pytest.raises(InvalidInput, match=r"is quantised; evident_core\.quant\.load reads it"):
        load_model(tmp_path)


def test_a_typo_in_our_own_configuration_is_named(tmp_path: Path) -> None:
    save_model(_model(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"windo": 1}))
    with pytest.raises(InvalidInput, match="'windo', which is not known"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topk_method": "noaux_tc"}, "topk_method in config.json is 'noaux_tc'; it must be 'greedy' or"),
        ({"scoring_func": "sigmoid"}, "scoring_func in config.json is 'sigmoid'; it must be 'softmax'"),
        ({"norm_topk_prob": True}, "norm_topk_prob in config.json is True; it must be False"),
        ({"mlp_bias": True}, "mlp_bias in config.json is True; it must be False"),
        ({"n_routed_experts": None}, "config.json lacks n_routed_experts (or num_experts, num_local_experts)."),
    ],
    ids=str,
)
def test_options_of_deepseek_that_are_not_supported_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    values = mixtral_config(
        architectures=["DeepseekV2ForCausalLM"], n_routed_experts=4, moe_intermediate_size=8, num_local_experts=None
    )
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(InvalidInput) as caught:
        load_config(tmp_path)
    assert message in caught.value.message
