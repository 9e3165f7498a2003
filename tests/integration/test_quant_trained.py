"""Quantisation of a small model that has learnt something: what it costs in perplexity, and what calibration gains.

The model is trained here, on sentences in two languages that are made here, a byte a token.
"""

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional

from evident_core.errors import Conflict, InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.experts import Experts
from evident_core.moe.model import CausalLM, Layer
from evident_core.moe.rope import RopeConfig
from evident_core.moe.weights import save_model
from evident_core.quant import (
    Calibration,
    Int4Config,
    Int8Config,
    QuantConfig,
    Report,
    load,
    perplexity,
    quantize_,
    quantize_folder,
)

WIDTH = 128
SHAPE = ModelConfig(
    "evident",
    vocab_size=256,
    hidden_size=WIDTH,
    intermediate_size=WIDTH,
    num_layers=2,
    attention=GQAConfig(4, 2, WIDTH // 4, qk_norm="head"),
    rope=RopeConfig(1e4, WIDTH // 4),
    moe=MoEConfig(4, 2, WIDTH // 2, balance_loss=0.01),
    max_position_embeddings=512,
)
SUBJECTS = (
    ("revenue", "营业收入"),
    ("profit", "净利润"),
    ("cost", "营业成本"),
    ("cash", "货币资金"),
    ("debt", "有息负债"),
)
VERBS = (("rose", "增长"), ("fell", "下降"))
REASONS = (("demand", "需求"), ("prices", "价格"), ("exports", "出口"), ("rates", "利率"))
STEPS, BATCH, LENGTH = 200, 8, 72


def sentences(seed: int, count: int) -> str:
    """Pairs of sentences that say the same in English and Chinese, figures included."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        subject, verb, reason = draw.choice(SUBJECTS), draw.choice(VERBS), draw.choice(REASONS)
        year, figure = draw.randint(2015, 2024), f"{draw.randint(1, 99)}.{draw.randint(0, 9)}%"
        english = f"In {year} {subject[0]} {verb[0]} {figure} on {reason[0]}."
        lines.append(f"{english} {year}年{subject[1]}因{reason[1]}{verb[1]}{figure}。\n")
    return "".join(lines)


def encode(text: str) -> list[int]:
    return list(text.encode())


HELD_OUT, OTHERS = sentences(2, 150), [sentences(seed, 15) for seed in range(3, 7)]


@pytest.fixture(scope="module")
def trained() -> CausalLM:
    """Some hundred steps of AdamW, seconds on one core."""
    torch.manual_seed(0)
    model = CausalLM(SHAPE).train()
    data = torch.tensor(encode(sentences(1, 1500)))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95), weight_decay=0.01)
    places = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        starts = torch.randint(0, len(data) - LENGTH - 1, (BATCH,), generator=places)
        windows = torch.stack([data[start : start + LENGTH + 1] for start in starts])
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * min(1.0, 2 * (STEPS - step) / STEPS)
        logits = model(Batch.packed(list(windows[:, :-1])))
        loss = functional.cross_entropy(logits, windows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def with_outliers(trained: CausalLM) -> CausalLM:
    """The same function with what large models have: a few channels whose activations dwarf the others'.

    What makes them is multiplied, and the columns that read them are divided.
    """
    model, draw, factor = copy.deepcopy(trained), torch.Generator().manual_seed(0), 30.0
    for layer in model.layers:
        assert isinstance(layer, Layer)
        experts = layer.get_submodule("mlp.experts")
        assert isinstance(experts, Experts)
        readers = {
            layer.attn_norm: [layer.get_parameter(f"attn.{name}.weight") for name in ("wq", "wk", "wv")],
            layer.mlp_norm: [experts.w13_EGD, layer.get_parameter("mlp.router.gate.weight")],
        }
        for norm, weights in readers.items():
            channels = torch.randperm(WIDTH, generator=draw)[:6]
            norm.weight[channels] *= factor
            for weight in weights:
                weight[..., channels] /= factor
        for w13, w2 in zip(experts.w13_EGD, experts.w2_EDF, strict=True):
            channels = torch.randperm(w2.shape[1], generator=draw)[:6]
            w13[w2.shape[1] + channels] *= factor
            w2[:, channels] /= factor
    return model


def quantized(model: CausalLM, config: QuantConfig, texts: Sequence[str] | None = None) -> tuple[CausalLM, Report]:
    model = copy.deepcopy(model)
    calibration = None if texts is None else Calibration([encode(text) for text in texts])
    return model, quantize_(model, config, calibration)


def change_percent(model: CausalLM, after: CausalLM) -> float:
    before, _ = perplexity(model, [encode(HELD_OUT)])
    return 100 * (perplexity(after, [encode(HELD_OUT)])[0] / before - 1)


@torch.no_grad()
def divergence(model: CausalLM, after: CausalLM) -> float:
    """Mean Kullback-Leibler divergence of the next byte, from the float model: steadier than a perplexity."""
    work = Batch.packed([encode(HELD_OUT)[start : start + 512] for start in range(0, 4096, 512)])
    left, right = (each(work).log_softmax(dim=-1) for each in (model, after))
    return float((left.exp() * (left - right)).sum(dim=-1).mean())


def test_the_model_has_learnt_the_text(trained: CausalLM) -> None:
    assert perplexity(trained, [encode(HELD_OUT)])[0] < 2.5


@pytest.mark.parametrize("texts", [None, OTHERS])
def test_int8_changes_the_perplexity_by_less_than_half_a_percent(
    trained: CausalLM, texts: Sequence[str] | None
) -> None:
    model, report = quantized(trained, Int8Config(), texts)
    assert abs(change_percent(trained, model)) <= 0.5
    assert report.sizes.quantized < 0.40 * report.sizes.fp32


@pytest.mark.parametrize("group_size", [32, 128])
def test_calibration_is_never_worse_on_its_own_objective(trained: CausalLM, group_size: int) -> None:
    config = Int4Config(group_size)
    aware, report = quantized(trained, config, OTHERS)
    assert all(choice.error <= choice.plain for choice in report.choices)
    assert sum(choice.error for choice in report.choices) < 0.95 * sum(choice.plain for choice in report.choices)
    # Without outliers there is little to gain, and which near ties of the router tip over is chance.
    assert abs(change_percent(trained, aware)) < 4.0
    assert report.coverage is not None
    assert report.coverage.uncovered == ()


def test_smaller_groups_and_more_bits_are_closer(trained: CausalLM) -> None:
    configs = (Int8Config(), Int4Config(32), Int4Config(128, clip=False))
    int8, small, large = (divergence(trained, quantized(trained, config)[0]) for config in configs)
    assert 2 * int8 < small < large


@pytest.mark.parametrize("config", [Int8Config(), Int4Config(32), Int4Config(128)])
def test_calibration_recovers_what_outlier_channels_lose(
    trained: CausalLM, with_outliers: CausalLM, config: QuantConfig
) -> None:
    assert divergence(trained, with_outliers) < 1e-6
    plain, aware = (quantized(with_outliers, config, texts)[0] for texts in (None, OTHERS))
    assert divergence(with_outliers, aware) < 0.25 * divergence(with_outliers, plain)
    if config.bits == 4:
        assert change_percent(with_outliers, plain) > 2.0
        assert abs(change_percent(with_outliers, aware)) < 0.6 * change_percent(with_outliers, plain)


def byte_tokenizer(folder: Path) -> None:
    """A tokenizer file whose ids are the bytes, by the byte-level alphabet of GPT-2."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}
    tokenizer = Tokenizer(models.BPE({letters[byte]: byte for byte in range(256)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def source(with_outliers: CausalLM, tmp_path: Path) -> Path:
    folder = tmp_path / "float"
    save_model(with_outliers, folder)
    byte_tokenizer(folder)
    (folder / "CARD.md").write_text("# A model for tests\n")
    return folder


def test_a_folder_is_quantised_whole(source: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    report = quantize_folder(
        source,
        tmp_path / "deep" / "int8",
        Int8Config(),
        OTHERS,
        [HELD_OUT],
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert list(dict.fromkeys(stages)) == ["load", "evaluate", "calibrate", "search", "quantise", "save"]
    assert report.perplexity is not None
    assert abs(report.perplexity.change_percent) <= 0.5
    target = tmp_path / "deep" / "int8"
    names = {path.name for path in target.iterdir()}
    assert names == {"config.json", "model.safetensors", "checksums.json", "tokenizer.json", "CARD.md"}
    assert [path.name for path in target.parent.iterdir()] == ["int8"]
    assert target.stat().st_mode & 0o777 == source.stat().st_mode & 0o777
    found, tokens = perplexity(load(target), [encode(HELD_OUT)])
    assert (found, tokens) == (report.perplexity.after, report.perplexity.tokens)
    block = json.loads((target / "config.json").read_text())["quantization"]
    assert block["perplexity"]["after"] == found
    assert block["calibration"]["covered"] == 8


def test_a_loss_above_the_limit_is_refused_unless_forced_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "int4"
    with pytest.raises(InvalidInput, match=r"a change of \+\d+\.\d\d %; the limit is 1\.0 %"):
        quantize_folder(source, target, Int4Config(128), None, [HELD_OUT])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float"]
    target.mkdir()
    forced = quantize_folder(source, target, Int4Config(128), None, [HELD_OUT], force=True)
    assert forced.perplexity is not None
    assert forced.perplexity.change_percent > 1.0
    assert perplexity(load(target), [encode(HELD_OUT)])[0] == forced.perplexity.after


def test_folders_that_cannot_be_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="float is there already and not empty"):
        quantize_folder(source, source, Int8Config())
    target = tmp_path / "int8"
    assert quantize_folder(source, target, Int8Config()).perplexity is None
    with pytest.raises(InvalidInput, match="int8 is quantised already"):
        quantize_folder(target, tmp_path / "again", Int4Config())
    with pytest.raises(Conflict, match="int8 is there already"):
        quantize_folder(source, target, Int8Config())
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="file is there already"):
        quantize_folder(source, tmp_path / "file", Int8Config())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "float", "int8"]
