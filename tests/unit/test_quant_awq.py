"""Calibration and the activation-aware search: folding changes no function, and the search is never worse."""

import copy

import pytest
import torch
from torch import nn

from evident_core.errors import InvalidInput
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.experts import Experts
from evident_core.moe.model import CausalLM, Layer
from evident_core.moe.rope import RopeConfig
from evident_core.quant import Calibration, Int4Config, Int8Config, QuantConfig, quantize_
from evident_core.quant.awq import search_linears
from evident_core.quant.calibration import batches, collect, coverage, cut
from evident_core.quant.conversion import silent
from evident_core.quant.folding import Folding, find_folding

ROPE, MOE = RopeConfig(1e4, 8), MoEConfig(4, 2, 32, shared_intermediate_size=32)
SHAPES = {
    "gqa": ModelConfig("evident", 61, 32, 64, 2, GQAConfig(4, 2, 8, bias=True), ROPE, MOE, (False, True)),
    "clipped": ModelConfig("evident", 61, 32, 64, 1, GQAConfig(4, 4, 8, qk_norm="full", clip_qkv=0.5), ROPE),
    "mla": ModelConfig("evident", 61, 32, 64, 2, MLAConfig(4, 16, 24, 8, 8, 8), ROPE, MOE),
    "mla-lite": ModelConfig("evident", 61, 32, 64, 1, MLAConfig(4, None, 24, 8, 8, 8), ROPE, tie_word_embeddings=True),
}


def built(config: ModelConfig) -> CausalLM:
    """A random model some of whose channels carry activations 20 times as large as the others'."""
    torch.manual_seed(0)
    model = CausalLM(config).eval()
    model.reset_parameters(0.15)
    with torch.no_grad():
        for layer in model.layers:
            assert isinstance(layer, Layer)
            layer.attn_norm.weight[3] = layer.mlp_norm.weight[5] = 20.0
            for name, bias in layer.named_parameters():
                if name.endswith("bias"):
                    bias.normal_(0, 0.1)
    return model


def tokens(lengths: tuple[int, ...] = (70, 40, 90), seed: int = 0, top: int = 61) -> list[list[int]]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(0, top, (length,), generator=random).tolist() for length in lengths]


@torch.no_grad()
def fold_matrices_(layer: Layer, folding: Folding) -> None:
    """Do to the float matrices what is otherwise done on their way to the rounding."""
    for name, scaling in folding.matrices.items():
        if ".experts." in name:
            stacked, _, expert = name.rpartition(".")
            experts = layer.get_submodule("mlp.experts")
            assert isinstance(experts, Experts)
            weight = (experts.w13_EGD if stacked.endswith("w13") else experts.w2_EDF)[int(expert)]
            weight.copy_(scaling.weight(weight))
            continue
        linear = layer.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        linear.weight.copy_(scaling.weight(linear.weight))
        if linear.bias is not None:
            bias = scaling.bias(linear.bias)
            assert bias is not None
            linear.bias.copy_(bias)


@pytest.mark.parametrize("name", SHAPES)
def test_folding_changes_no_function(name: str) -> None:
    model = built(SHAPES[name])
    calibration = Calibration(tokens())
    seen = collect(model, calibration, silent)
    folded = copy.deepcopy(model)
    moved = 0
    for index, layer in enumerate(folded.layers):
        assert isinstance(layer, Layer)
        folding = find_folding(f"layers.{index}", layer, seen[index], 1, Int4Config(32))
        moved += sum(choice.alpha > 0 for choice in folding.choices)
        folding.fold_(layer)
        fold_matrices_(layer, folding)
        assert ("attn.wo" in folding.matrices) == (name != "clipped")
    assert moved >= 2 * len(folded.layers)
    work = Batch.packed(tokens(seed=1))
    with torch.no_grad():
        assert float((folded(work) - model(work)).abs().max()) < 2e-4 * float(model(work).abs().max())


@pytest.mark.parametrize("config", [Int8Config(), Int4Config(32, clip=False), Int4Config(32)])
@pytest.mark.parametrize("name", SHAPES)
def test_the_search_is_never_worse_than_plain_rounding_on_its_sample(name: str, config: QuantConfig) -> None:
    report = quantize_(built(SHAPES[name]), config, Calibration(tokens()))
    assert report.method == "awq"
    assert report.choices
    assert all(choice.error <= choice.plain for choice in report.choices)
    first = next(choice for choice in report.choices if "wq" in choice.name)
    assert first.error < 0.6 * first.plain


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_tokens_that_were_not_seen_gain_from_it_too(name: str) -> None:
    model, plain, aware = (built(SHAPES[name]) for _ in range(3))
    quantize_(plain, Int8Config())
    quantize_(aware, Int8Config(), Calibration(tokens()))
    work = Batch.packed(tokens(seed=1))
    exact_TV = model(work)
    # The median, as a token whose router tips over to another expert is off by far either way.
    lost, kept = (
        float(((each(work) - exact_TV).norm(dim=1) / exact_TV.norm(dim=1)).median()) for each in (plain, aware)
    )
    assert kept < 0.85 * lost


def test_the_search_finds_the_exponent_of_an_outlier_and_leaves_even_channels_alone() -> None:
    random = torch.Generator().manual_seed(0)
    x_ND, w_OI = torch.randn(64, 32, generator=random), torch.randn(16, 32, generator=random)
    config = Int4Config(32, clip=False)
    even = search_linears("even", x_ND, torch.ones(32), [w_OI], config)
    assert torch.equal(even.scale, torch.ones(32))
    assert even.choice.alpha == 0.0
    assert even.choice.error == even.choice.plain
    x_ND[:, 7] *= 50
    w_OI[:, 7] /= 50
    outlier = search_linears("outlier", x_ND, x_ND.abs().mean(dim=0), [w_OI], config)
    assert outlier.choice.alpha > 0.4
    assert outlier.choice.error < 0.25 * outlier.choice.plain
    assert int(outlier.scale.argmax()) == 7


def test_a_channel_without_activations_is_no_trouble() -> None:
    x_ND = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    x_ND[:, 4] = 0.0
    found = search_linears("w", x_ND, x_ND.abs().mean(dim=0), [torch.ones(8, 32)], Int4Config(32))
    assert bool(torch.isfinite(found.scale).all())
    silent_input = search_linears("w", x_ND * 0, torch.zeros(32), [torch.ones(8, 32)], Int4Config(32))
    assert torch.equal(silent_input.scale, torch.ones(32))
    assert silent_input.choice.error == 0.0


def test_calibration_sees_what_each_linear_reads() -> None:
    model = built(SHAPES["gqa"])
    calibration = Calibration(tokens((50, 30)), sample=20, batch_tokens=30)
    seen = collect(model, calibration, silent)
    inputs: list[torch.Tensor] = []
    layer = model.layers[0]
    handle = layer.get_submodule("attn.wk").register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        for sequence in calibration.sequences:
            model.hidden(Batch.packed([sequence]))
    handle.remove()
    all_TD = torch.cat(inputs)
    sample = seen[0].inputs["attn"]
    assert sample.tokens == 80
    assert torch.allclose(sample.magnitude(), all_TD.abs().mean(dim=0), rtol=1e-4)
    assert len(sample.rows()) == 20
    assert all(float((all_TD - row).abs().sum(dim=1).min()) < 1e-3 for row in sample.rows())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_calibration_counts_who_visits_which_expert() -> None:
    model = built(SHAPES["gqa"])
    calibration = Calibration(tokens(), expert_sample=10, sample=5)
    seen = collect(model, calibration, silent)
    ids: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []

    def watch(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        ids.append(args[1])
        weights.append(args[2])

    handle = model.layers[1].get_submodule("mlp.experts").register_forward_pre_hook(watch)
    with torch.no_grad():
        for sequence in calibration.sequences:
            model.hidden(Batch.packed([sequence]))
    handle.remove()
    counts = torch.bincount(torch.cat(ids).flatten(), minlength=4)
    visits = seen[1].visits
    assert visits is not None
    assert torch.equal(visits.tokens_E, counts)
    for expert in range(4):
        rows_M, weights_M = visits.of(expert)
        assert len(rows_M) >= min(10, int(counts[expert]))
        everything = torch.cat(weights)[torch.cat(ids) == expert]
        assert all(float((everything - weight).abs().min()) < 1e-5 for weight in weights_M)
    assert coverage(calibration, seen).visits == {"layers.1.mlp.experts": tuple(counts.tolist())}


def test_experts_that_too_few_tokens_visit_are_listed_and_rounded_plainly() -> None:
    model = built(SHAPES["gqa"])
    plain, config = copy.deepcopy(model), Int4Config(32)
    few = Calibration(tokens((12,)), min_tokens=11)
    report = quantize_(model, config, few)
    assert report.coverage is not None
    counts = report.coverage.visits["layers.1.mlp.experts"]
    uncovered = [index for index, count in enumerate(counts) if count < 11]
    assert 0 < len(uncovered) < 4
    assert report.coverage.uncovered == tuple(f"layers.1.mlp.experts.{index}" for index in uncovered)
    assert report.coverage.experts == 4
    quantize_(plain, config)
    w2 = model.layers[1].get_submodule("mlp.experts").get_buffer("w2")
    w2_plain = plain.layers[1].get_submodule("mlp.experts").get_buffer("w2")
    for expert in range(4):
        assert torch.equal(w2[expert], w2_plain[expert]) == (expert in uncovered)
    table, block = report.table(), report.block()
    assert f"{4 - len(uncovered)} of 4 experts covered" in table
    assert all(name in table for name in report.coverage.uncovered)
    assert block["calibration"]["uncovered"] == list(report.coverage.uncovered)
    assert report.to_dict()["calibration"]["visits"]["layers.1.mlp.experts"] == list(counts)


def test_long_texts_are_cut_and_short_ones_run_together() -> None:
    assert cut([[1, 2, 3, 4, 5], [], [6]], 2, 10) == [[1, 2], [3, 4], [5], [6]]
    assert batches([[1, 2], [3], [4, 5, 6], [7, 8, 9, 10, 11]], 4) == [
        [[1, 2], [3]],
        [[4, 5, 6]],
        [[7, 8, 9, 10, 11]],
    ]


def test_calibration_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one token"):
        Calibration([[]])
    with pytest.raises(InvalidInput, match="min_tokens is 0"):
        Calibration([[1]], min_tokens=0)
    with pytest.raises(InvalidInput, match="Token 61 is not of the model's vocabulary of 61"):
        quantize_(built(SHAPES["gqa"]), Int8Config(), Calibration([[1, 61]]))


def test_the_model_is_left_in_the_mode_it_was_in() -> None:
    model = built(SHAPES["gqa"]).train()
    collect(model, Calibration(tokens()), silent)
    assert model.training
