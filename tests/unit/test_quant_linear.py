"""The quantised modules against their definition, written out in float64 with Python's own rounding of each number."""

import copy

import pytest
import torch
from torch.nn import functional

from evident_core.quant.config import Int4Config, Int8Config, QuantConfig
from evident_core.quant.experts import QuantExperts
from evident_core.quant.linear import QuantEmbedding, QuantLinear, TiedHead, quantize_matrix

CONFIGS: list[QuantConfig] = [Int8Config(), Int4Config(group_size=32)]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def defined(x_T: torch.Tensor, w_OI: torch.Tensor) -> torch.Tensor:
    """One token: int8 by its largest magnitude, ties to even, then the exact product with dequantised weights."""
    scale = float(x_T.abs().max()) / 127
    q_T = torch.tensor([round(float(x) / scale) for x in x_T.double()], dtype=torch.float64)
    return (w_OI.double() @ q_T) * scale


def close(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool((left.double() - right.double()).abs().max() <= 2e-6 * right.double().abs().max())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("width", [64, 1024, 3072])
def test_a_linear_is_its_definition(config: QuantConfig, width: int) -> None:
    layer = QuantLinear.quantize(random(24, width), random(24, seed=1), config, "w")
    x_TI = random(5, width, seed=2) * torch.tensor([[1.0], [1e-6], [1e6], [0.1], [3.0]])
    expected = torch.stack([defined(x_I, layer.dequantize()) for x_I in x_TI]) + random(24, seed=1)
    for y_O, expected_O in zip(layer(x_TI), expected, strict=True):
        assert close(y_O, expected_O)


def test_sums_beyond_what_float32_holds_are_exact() -> None:
    width = 4096
    layer = QuantLinear(torch.full((1, width), 127, dtype=torch.int8), torch.ones(1))
    x_TI = torch.full((1, width), 127.0)
    x_TI[0, 0] = -127.0
    exact = 127 * 127 * (width - 2)
    assert float(layer(x_TI)) == float(torch.tensor(exact, dtype=torch.float32))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_token_gives_the_same_bits_alone_and_among_others(config: QuantConfig) -> None:
    layer = QuantLinear.quantize(random(40, 1536), None, config, "w")
    x_TI = random(37, 1536, seed=1)
    together = layer(x_TI)
    assert all(torch.equal(layer(x_TI[index : index + 1])[0], together[index]) for index in range(37))


def test_leading_dimensions_and_the_type_of_the_activations_are_kept() -> None:
    layer = QuantLinear.quantize(random(8, 32), None, Int8Config(), "w")
    x = random(2, 3, 32, seed=1).bfloat16()
    y = layer(x)
    assert y.shape == (2, 3, 8)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, layer(x.float()).bfloat16())


def test_zero_is_zero_and_a_broken_token_breaks_only_itself() -> None:
    for config in CONFIGS:
        layer = QuantLinear.quantize(random(8, 32), None, config, "w")
        x_TI = random(4, 32, seed=1)
        x_TI[1], x_TI[2, 5], x_TI[3, 5] = 0.0, float("nan"), float("inf")
        y_TO = layer(x_TI)
        assert torch.equal(y_TO[0], layer(x_TI[:1])[0])
        assert bool((y_TO[1] == 0).all())
        assert not bool(torch.isfinite(y_TO[2:]).any())


def test_a_module_says_what_it_holds() -> None:
    int8, int4 = (QuantLinear.quantize(random(8, 64), None, config, "w") for config in CONFIGS)
    assert (int8.bits, int8.group_size, int8.in_features, int8.out_features) == (8, 64, 64, 8)
    assert (int4.bits, int4.group_size, int4.in_features, int4.out_features) == (4, 32, 64, 8)
    assert int4.weight.shape == (8, 32)
    assert "bits=4, group_size=32" in repr(int4)
    assert set(int4.state_dict()) == {"weight", "scales"}


def chosen(tokens: int) -> torch.Tensor:
    """Two different experts of four for each token."""
    return random(tokens, 4, seed=5).topk(2, dim=1).indices


def experts(config: QuantConfig) -> QuantExperts:
    def stack(rows: int, width: int, seed: int) -> list[torch.Tensor]:
        parts = [quantize_matrix(random(rows, width, seed=seed + e), config, "w") for e in range(4)]
        return [torch.stack(column) for column in zip(*parts, strict=True)]

    return QuantExperts(*stack(2 * 96, 64, 0), *stack(64, 96, 10))


@pytest.mark.parametrize("config", CONFIGS)
def test_experts_are_a_loop_over_tokens_and_their_experts(config: QuantConfig) -> None:
    module = experts(config)
    x_TD, ids_TA = random(9, 64, seed=3), chosen(9)
    weights_TA = random(9, 2, seed=4).softmax(dim=1)
    w13_EGD, w2_EDF = module.dequantize()
    y_TD = module(x_TD, ids_TA, weights_TA)
    for token in range(9):
        expected_D = torch.zeros(64, dtype=torch.float64)
        for expert, weight in zip(ids_TA[token].tolist(), weights_TA[token].tolist(), strict=True):
            gate_F, up_F = defined(x_TD[token], w13_EGD[expert]).float().chunk(2)
            expected_D += weight * defined(functional.silu(gate_F) * up_F, w2_EDF[expert])
        # A rounding of the intermediate may fall the other way: one step of one input at most.
        assert float((y_TD[token] - expected_D).abs().max()) <= 1e-2 * float(expected_D.abs().max())
        assert float((y_TD[token] - expected_D).abs().median()) <= 1e-4 * float(expected_D.abs().max())


@pytest.mark.parametrize("config", CONFIGS)
def test_experts_give_a_token_the_same_bits_alone_and_among_others(config: QuantConfig) -> None:
    module, x_TD = experts(config), random(23, 64, seed=3)
    ids_TA = chosen(23)
    weights_TA = random(23, 2, seed=4).softmax(dim=1)
    together = module(x_TD, ids_TA, weights_TA)
    for token in range(23):
        one = slice(token, token + 1)
        assert torch.equal(module(x_TD[one], ids_TA[one], weights_TA[one])[0], together[token])


def test_experts_that_no_token_chose_are_not_needed_and_none_chosen_gives_nothing() -> None:
    module = experts(Int8Config())
    assert module(random(0, 64), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2)).shape == (0, 64)
    assert "4 x (64 -> 96), bits=8" in repr(module)


@pytest.mark.parametrize("config", CONFIGS)
def test_another_type_of_model_leaves_integers_and_scales_as_they_are(config: QuantConfig) -> None:
    layer, module = QuantLinear.quantize(random(8, 64), random(8), config, "w"), experts(config)
    before = {name: tensor.clone() for name, tensor in (layer.state_dict() | module.state_dict()).items()}
    layer.to(torch.bfloat16), module.half()
    for name, tensor in (layer.state_dict() | module.state_dict()).items():
        assert name == "bias" or (tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]))
    assert layer.bias is not None
    assert layer.bias.dtype == torch.bfloat16


def test_a_tied_head_is_the_embeddings_own_integers() -> None:
    model = torch.nn.ModuleDict()
    model["embed"] = QuantEmbedding(*quantize_matrix(random(50, 16), Int8Config(), "embed.weight"), torch.float32)
    embedding = model["embed"]
    assert isinstance(embedding, QuantEmbedding)
    model["head"] = TiedHead(embedding)
    assert set(model.state_dict()) == {"embed.weight", "embed.scales"}
    twin = copy.deepcopy(model).to(torch.bfloat16)
    for each, dtype in ((model, torch.float32), (twin, torch.bfloat16)):
        assert each["head"].weight.data_ptr() == each["embed"].weight.data_ptr()
        assert each["head"].scales.dtype == torch.float32
        assert each["embed"](torch.tensor([3, 4])).dtype == dtype
    assert twin["head"].weight.data_ptr() != embedding.weight.data_ptr()
    assert torch.equal(embedding(torch.arange(50)), embedding.dequantize())
    x_TD = random(3, 16, seed=1)
    same = QuantLinear(embedding.weight, embedding.scales)
    assert torch.equal(model["head"](x_TD), same(x_TD))
    with pytest.raises(AttributeError, match="colour"):
        _ = model["head"].colour
