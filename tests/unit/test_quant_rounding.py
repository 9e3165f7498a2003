"""Weights to int8 and int4 and back: the layout, the bounds of the error, and what the search for a scale gains."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_core.quant.config import Int4Config, Int8Config, config_from_dict, config_of, config_to_dict, group_width
from evident_core.quant.rounding import dequantize, pack_int4, quantize_int4, quantize_int8
from evident_kernels.reference import unpack_int4


def gaussian(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_int8_takes_the_largest_magnitude_of_a_row_to_127_and_is_off_by_half_a_step_at_most() -> None:
    w = gaussian(7, 33)
    q, scales = quantize_int8(w, "w")
    assert q.dtype == torch.int8
    assert scales.dtype == torch.float32
    assert torch.equal(q.abs().amax(dim=1), torch.full((7,), 127, dtype=torch.int8))
    assert bool(((dequantize(q, scales) - w).abs() <= scales[:, None] * 0.5001).all())


def test_ties_go_to_the_even_integer() -> None:
    q, _ = quantize_int8(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]]), "w")
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, -2]]


def test_int4_without_search_takes_the_largest_magnitude_of_a_group_to_7() -> None:
    w = gaussian(5, 64)
    packed, scales = quantize_int4(w, 16, "w", clip=False)
    assert packed.shape == (5, 32)
    assert packed.dtype == torch.uint8
    assert scales.shape == (5, 4)
    q = unpack_int4(packed).view(5, 4, 16)
    assert torch.equal(q.abs().amax(dim=2), torch.full((5, 4), 7.0))
    off = (dequantize(packed, scales) - w).view(5, 4, 16).abs()
    assert bool((off <= scales[..., None] * 0.5001).all())


def test_a_nibble_is_the_value_plus_8_and_the_low_one_is_the_even_input() -> None:
    assert pack_int4(torch.tensor([[-8, 7, 0, -1]], dtype=torch.int8)).tolist() == [[0xF0, 0x78]]


@given(st.lists(st.integers(-8, 7), min_size=2, max_size=64).filter(lambda values: len(values) % 2 == 0))
def test_packing_loses_nothing(values: list[int]) -> None:
    q = torch.tensor(values, dtype=torch.int8).view(1, -1)
    assert torch.equal(unpack_int4(pack_int4(q)), q.float())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([8, 16, 32]), st.floats(1e-30, 1e30))
def test_the_searched_scale_is_never_worse_and_the_error_stays_within_the_group(
    seed: int, group: int, size: float
) -> None:
    w = gaussian(3, 32, seed) * size
    plain, clipped = (dequantize(*quantize_int4(w, group, "w", clip=clip)) for clip in (False, True))
    squares = [((each - w).double() / size).square().view(-1, group).sum(dim=1) for each in (plain, clipped)]
    assert bool((squares[1] <= squares[0] * 1.0001 + 1e-9).all())
    assert bool(((clipped - w).abs() <= w.abs().max() * 0.51).all())


def test_the_search_lowers_the_error_of_gaussian_weights_visibly() -> None:
    w = gaussian(64, 128)
    errors = [float((dequantize(*quantize_int4(w, 128, "w", clip=clip)) - w).square().mean()) for clip in (False, True)]
    assert errors[1] < 0.85 * errors[0]


def test_the_longer_side_of_a_group_can_take_the_eighth_step() -> None:
    w = torch.tensor([[8.0, -7.0, 6.0, -1.0, 2.0, 0.0, 1.0, 5.0]])
    assert torch.equal(dequantize(*quantize_int4(w, 8, "w", clip=True)), w)
    assert not torch.equal(dequantize(*quantize_int4(w, 8, "w", clip=False)), w)


def test_the_search_spends_the_error_on_inputs_that_matter_least() -> None:
    w = gaussian(32, 32)
    importance = torch.ones(32)
    importance[:4] = 1000.0
    weighted, even = (
        dequantize(*quantize_int4(w, 32, "w", importance_I=each)) - w for each in (importance, torch.ones(32))
    )
    assert float((weighted.square() * importance).sum()) < 0.9 * float((even.square() * importance).sum())
    assert torch.equal(even, dequantize(*quantize_int4(w, 32, "w")) - w)


@pytest.mark.parametrize("clip", [False, True])
def test_a_row_of_zeros_stays_zero(clip: bool) -> None:
    w = gaussian(3, 16)
    w[1] = 0.0
    for weight, scales in (quantize_int8(w, "w", clip=clip), quantize_int4(w, 8, "w", clip=clip)):
        assert bool((dequantize(weight, scales)[1] == 0).all())
        assert bool(torch.isfinite(scales).all())


def test_experts_dequantise_as_each_alone() -> None:
    parts = [quantize_int4(gaussian(6, 16, seed), 8, "w") for seed in range(3)]
    stacked = dequantize(torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts]))
    assert torch.equal(stacked, torch.stack([dequantize(*part) for part in parts]))


def test_weights_of_lower_precision_are_rounded_from_their_exact_values() -> None:
    w = gaussian(4, 16).bfloat16()
    for low, exact in zip(quantize_int8(w, "w"), quantize_int8(w.float(), "w"), strict=True):
        assert torch.equal(low, exact)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused_with_the_tensors_name(value: float) -> None:
    w = gaussian(2, 16)
    w[1, 3] = value
    with pytest.raises(InvalidInput, match=r"layers\.0\.attn\.wq\.weight holds weights that are not finite"):
        quantize_int8(w, "layers.0.attn.wq.weight")
    with pytest.raises(InvalidInput, match=r"layers\.0\.attn\.wq\.weight"):
        quantize_int4(w, 8, "layers.0.attn.wq.weight")


@pytest.mark.parametrize(
    ("width", "group_size", "group"),
    [
        *((512, 128, 128), (1408, 128, 128), (96, 32, 32), (768, 256, 256), (480, 96, 96)),
        *((10944, 128, 64), (64, 128, 64), (96, 128, 32), (224, 56, 56), (224, 128, 32), (1152, 256, 128)),
        *((200, 128, 40), (8, 128, 8)),
    ],
)
def test_a_group_that_does_not_divide_becomes_the_largest_that_the_kernel_takes(
    width: int, group_size: int, group: int
) -> None:
    assert group_width(width, group_size, "w") == group


def test_a_width_that_no_group_divides_is_refused_with_tensor_width_and_group() -> None:
    with pytest.raises(InvalidInput, match=r"layers\.3\.mlp\.w2\.weight has rows of 100 weights.* groups of 128"):
        group_width(100, 128, "layers.3.mlp.w2.weight")


@pytest.mark.parametrize("config", [Int8Config(), Int8Config(clip=True, steps=5), Int4Config(), Int4Config(32, False)])
def test_a_configuration_is_read_back_as_it_was_written(config: Int8Config | Int4Config) -> None:
    assert config_from_dict({**config_to_dict(config), "method": "awq"}) == config


@pytest.mark.parametrize(
    ("block", "said"),
    [({"bits": 3}, "3 bits"), ({"bits": "8"}, "bits is '8'"), ({"bits": 4, "group_size": None}, "group_size is None")],
)
def test_a_block_that_means_nothing_is_refused(block: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        config_from_dict(block)


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidInput, match="group_size is 12"):
        Int4Config(group_size=12)
    with pytest.raises(InvalidInput, match="steps is 0"):
        Int8Config(steps=0)
    with pytest.raises(InvalidInput, match="takes no group size"):
        config_of(8, 128)
    assert config_of(4, 32) == Int4Config(32)
    assert config_of(8) == Int8Config()
