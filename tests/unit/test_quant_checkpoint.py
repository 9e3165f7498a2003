"""Quantised models on disk: read back to the bit, and every damage named by its tensor."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evident_core.errors import InvalidInput, ModelNotReady
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig
from evident_core.moe.weights import save_model
from evident_core.quant import (
    Calibration,
    Int4Config,
    Int8Config,
    QuantConfig,
    is_quantized,
    load,
    quantize_,
    save_quantized,
)

MOE = MoEConfig(4, 2, 32, score="sigmoid", shared_intermediate_size=64, expert_bias=True)
SHAPES = {
    "gqa": ModelConfig(
        "evident",
        97,
        64,
        96,
        2,
        GQAConfig(4, 2, 16, qk_norm="head", bias=True),
        RopeConfig(1e4, 16),
        MOE,
        (False, True),
    ),
    "mla-tied": ModelConfig(
        "evident", 97, 64, 96, 2, MLAConfig(4, 32, 32, 16, 8, 16), RopeConfig(1e4, 8), tie_word_embeddings=True
    ),
}
CONFIGS: list[QuantConfig] = [Int8Config(), Int4Config(group_size=32)]
WORK = Batch.packed([[1, 5, 96, 3], [7, 7]])
NAME = "layers.1.mlp.experts.w2"


def built(name: str = "gqa") -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(SHAPES[name]).eval()
    model.reset_parameters(0.1)
    return model


def same(left: CausalLM, right: CausalLM) -> bool:
    first, second = left.state_dict(), right.state_dict()
    with torch.no_grad():
        equal = torch.equal(left(WORK), right(WORK))
    return equal and set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("calibrated", [False, True])
def test_what_is_saved_is_loaded_to_the_bit(name: str, config: QuantConfig, calibrated: bool, tmp_path: Path) -> None:
    model = built(name)
    report = quantize_(model, config, Calibration([list(range(97))]) if calibrated else None)
    save_quantized(model, tmp_path / "first")
    loaded = load(tmp_path / "first")
    assert same(model, loaded)
    assert {key: tensor.dtype for key, tensor in loaded.state_dict().items()} == {
        key: tensor.dtype for key, tensor in model.state_dict().items()
    }
    block = json.loads((tmp_path / "first" / "config.json").read_text())["quantization"]
    assert block == json.loads(json.dumps(report.block()))
    assert (block["bits"], block["method"]) == (config.bits, "awq" if calibrated else "round")
    save_quantized(loaded, tmp_path / "second")
    for file in ("config.json", "model.safetensors", "checksums.json"):
        assert (tmp_path / "second" / file).read_bytes() == (tmp_path / "first" / file).read_bytes()


def test_a_float_folder_is_opened_alike_and_can_be_quantised_while_it_is_read(tmp_path: Path) -> None:
    for name in SHAPES:
        save_model(built(name), tmp_path)
        assert not is_quantized(load(tmp_path))
        assert same(load(tmp_path), built(name))
        for config in CONFIGS:
            expected, streamed = built(name), load(tmp_path, quantization=config)
            quantize_(expected, config)
            assert same(streamed, expected)
            save_quantized(streamed, tmp_path / f"{name}{config.bits}")
            assert same(load(tmp_path / f"{name}{config.bits}", quantization=Int8Config()), expected)


def test_float_tensors_take_half_the_room_where_that_loses_nothing(tmp_path: Path) -> None:
    model = built()
    with torch.no_grad():
        model.embed.weight.copy_(model.embed.weight.bfloat16())
    quantize_(model, Int8Config())
    save_quantized(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["embed.weight"].dtype == torch.bfloat16
    assert stored["layers.1.mlp.router.gate.weight"].dtype == torch.float32
    assert same(load(tmp_path), model)


def test_another_type_changes_floats_alone(tmp_path: Path) -> None:
    model = built("mla-tied")
    quantize_(model, Int8Config())
    save_quantized(model, tmp_path)
    loaded = load(tmp_path, dtype=torch.bfloat16)
    assert loaded.norm.weight.dtype == torch.bfloat16
    for name, tensor in loaded.named_buffers():
        assert torch.equal(tensor, model.get_buffer(name))
    with torch.no_grad():
        assert loaded.hidden(WORK).dtype == torch.bfloat16


def test_a_float_model_is_not_saved_as_quantised(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not quantised; call quantize_ first"):
        save_quantized(built(), tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = built()
    quantize_(model, Int4Config(32))
    save_quantized(model, tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_flipped_bit_is_found_and_named(saved: Path) -> None:
    def flip(tensors: dict[str, torch.Tensor]) -> None:
        tensors[NAME][2, 10, 3] ^= 1

    rewrite(saved, flip)
    with pytest.raises(InvalidInput, match=rf"The tensor '{NAME}' in .*model\.safetensors is not what was written"):
        load(saved)
    load(saved, verify=False)


def test_scales_that_are_no_numbers_are_found_without_checksums_too(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors[f"{NAME}_scales"].fill_(torch.nan))
    with pytest.raises(InvalidInput, match=f"'{NAME}_scales' holds scales that are not finite"):
        load(saved, verify=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NAME), f"has no tensor '{NAME}'"),
        (lambda tensors: tensors.update(other=torch.ones(1)), "has the tensor 'other', for which"),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME][..., :-1].contiguous()}),
            rf"'{NAME}' has the shape \[4, 64, 15\]; config\.json calls for \[4, 64, 16\]",
        ),
        (
            lambda tensors: tensors.update({NAME: tensors[NAME].float()}),
            f"'{NAME}' is of type F32; config.json calls for U8",
        ),
        (
            lambda tensors: tensors.update({"norm.weight": tensors["norm.weight"].to(torch.int8)}),
            "'norm.weight' is of type I8; config.json calls for F64 or F32",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    saved: Path, change: Callable[[dict[str, torch.Tensor]], object], said: str
) -> None:
    rewrite(saved, change)
    with pytest.raises(InvalidInput, match=said):
        load(saved)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"bits": 8}, r"layers\.0\.attn\.wq\.weight' has the shape \[64, 32\]; config\.json calls for \[64, 64\]"),
        ({"bits": 4, "group_size": 16}, r"scales' has the shape"),
        ({"bits": 2}, "2 bits"),
        ("int4", "quantization is 'int4'; it must be an object"),
    ],
)
def test_a_block_that_is_not_the_tensors_is_refused(saved: Path, block: object, said: str) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"quantization": block}))
    with pytest.raises(InvalidInput, match=said):
        load(saved)


def test_files_that_are_missing_or_cut_off_are_named(saved: Path) -> None:
    sums = saved / "checksums.json"
    kept = sums.read_bytes()
    sums.unlink()
    with pytest.raises(ModelNotReady, match=r"checksums\.json is missing"):
        load(saved)
    sums.write_bytes(kept)
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match=r"model\.safetensors is damaged"):
        load(saved)
    weights.unlink()
    with pytest.raises(ModelNotReady, match=r"model\.safetensors"):
        load(saved)
