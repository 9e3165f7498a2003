"""Attention over packed and paged sequences, positions and batches, against plain loops in float64."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from evident_core.errors import InvalidInput
from evident_core.moe.attention import LayerCache, attend_last, attend_packed, attend_paged, cache_shapes
from evident_core.moe.batch import Batch
from evident_core.moe.config import GQAConfig, MLAConfig, ModelConfig, MoEConfig
from evident_core.moe.model import CausalLM
from evident_core.moe.rope import RopeConfig, Rotary, YarnScaling, rotate
from paged_runs import PagedRun

HEADS, KV_HEADS, DIM, BLOCK = 4, 2, 8, 3


def _loop(q: Tensor, k: Tensor, v: Tensor, first: int, window: int | None) -> Tensor:
    """Each of the last tokens over what it sees, one head at a time; ``first`` is the position of the first query."""
    out = torch.zeros(q.shape[0], HEADS, v.shape[-1], dtype=torch.float64)
    group = HEADS // k.shape[1]
    for row in range(q.shape[0]):
        position = first + row
        oldest = 0 if window is None else max(0, position - window + 1)
        for head in range(HEADS):
            keys = k[oldest : position + 1, head // group].double()
            scores = (keys @ q[row, head].double() * DIM**-0.5).softmax(dim=0)
            out[row, head] = scores @ v[oldest : position + 1, head // group].double()
    return out


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("lengths", [(7,), (5, 5, 5), (6, 4, 5), (11, 1, 1, 2)], ids=str)
def test_packed_sequences_see_their_own_past_only(lengths: tuple[int, ...], window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = Batch.packed([[0] * length for length in lengths])
    tokens = sum(lengths)
    q = torch.randn(tokens, HEADS, DIM, generator=generator)
    k, v = (torch.randn(tokens, KV_HEADS, DIM, generator=generator) for _ in range(2))
    got = attend_packed(q, k, v, batch, DIM**-0.5, window)
    expected = torch.cat([
        _loop(*parts, 0, window)
        for parts in zip(q.split(list(lengths)), k.split(list(lengths)), v.split(list(lengths)), strict=True)
    ])  # fmt: skip
    assert (got - expected).abs().max() < 1e-5


def _paged(lengths: list[int], contexts: list[int]) -> tuple[Batch, Tensor, Tensor, list[Tensor]]:
    """A step over scattered blocks, the cache with NaN wherever nothing was written, and each context's keys."""
    generator = torch.Generator().manual_seed(sum(contexts))
    blocks = [math.ceil(context / BLOCK) for context in contexts]
    order = torch.randperm(sum(blocks) + 2, generator=generator).tolist()
    cache = torch.full((len(order) * BLOCK, KV_HEADS, DIM), torch.nan)
    tables = torch.zeros(len(contexts), max(blocks), dtype=torch.int64)
    kept = []
    for row, (count, context) in enumerate(zip(blocks, contexts, strict=True)):
        mine, order = order[:count], order[count:]
        tables[row, :count] = torch.tensor(mine)
        keys = torch.randn(context, KV_HEADS, DIM, generator=generator)
        slots = [mine[place // BLOCK] * BLOCK + place % BLOCK for place in range(context)]
        cache[torch.tensor(slots)] = keys
        kept.append(keys)
    starts = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    zeros = torch.zeros(starts[-1], dtype=torch.int64)
    batch = Batch(zeros, zeros, zeros, starts, contexts, tables, zeros, BLOCK)
    return batch, cache, torch.randn(starts[-1], HEADS, DIM, generator=generator), kept


@pytest.mark.parametrize("window", [None, 1, 5])
@pytest.mark.parametrize(
    ("lengths", "contexts"), [([4, 1, 3], [4, 9, 12]), ([1, 1, 1], [1, 14, 6]), ([2], [2])], ids=str
)
def test_paged_contexts_are_seen_through_their_tables(
    lengths: list[int], contexts: list[int], window: int | None
) -> None:
    batch, cache, q, kept = _paged(lengths, contexts)
    expected = torch.cat([
        _loop(part, keys, keys, context - length, window)
        for part, keys, context, length in zip(q.split(lengths), kept, contexts, lengths, strict=True)
    ])  # fmt: skip
    got = attend_paged(q, cache, cache, batch, DIM**-0.5, window)
    assert (got - expected).abs().max() < 1e-5
    if max(lengths) == 1:
        together = attend_last(q, cache, cache, batch, DIM**-0.5, window)
        assert (together - expected).abs().max() < 1e-5


def _config(attention: Any, rope_dim: int, **change: Any) -> ModelConfig:
    rope = RopeConfig(1e4, rope_dim, YarnScaling(4, 8, mscale=0.8, mscale_all_dim=0.6), interleaved=True)
    return ModelConfig("evident", 53, 32, 40, 2, attention, rope, MoEConfig(4, 2, 12), **change)


CONFIGS = {
    "grouped": _config(GQAConfig(4, 2, 8, qk_norm="head"), 4),
    "window": _config(GQAConfig(4, 1, 8, sliding_window=5), 8, sliding_layers=(True, False)),
    "latent": _config(MLAConfig(4, 12, 16, 8, 6, 10), 6, moe_layers=(False, True)),
}


def _model(kind: str) -> CausalLM:
    torch.manual_seed(0)
    model = CausalLM(CONFIGS[kind]).eval()
    model.reset_parameters(0.2)
    return model


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_any_schedule_of_chunks_gives_the_logits_of_the_whole(kind: str, seed: int) -> None:
    model, draw = _model(kind), random.Random(seed)
    sequences = {name: [draw.randrange(53) for _ in range(draw.randint(1, 25))] for name in "abcd"}
    with torch.inference_mode():
        whole = model(Batch.packed(list(sequences.values()))).split([len(each) for each in sequences.values()])
    run = PagedRun(model, block_size=draw.choice([1, 2, 5, 16]), blocks=110, seed=seed)
    got: dict[str, list[Tensor]] = {name: [] for name in sequences}
    left = dict(sequences)
    while left:
        names = draw.sample(sorted(left), draw.randint(1, len(left)))
        step = {name: left[name][: draw.choice([1, 1, 2, 7])] for name in names}
        for name, logits in run.step(step).items():
            got[name].append(logits)
            left[name] = left[name][len(step[name]) :]
        left = {name: tokens for name, tokens in left.items() if tokens}
    for expected, name in zip(whole, sequences, strict=True):
        assert (torch.cat(got[name]) - expected).abs().max() < 2e-5


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_half_precision_cache_changes_little(kind: str) -> None:
    model, tokens = _model(kind), list(range(20))
    exact, rough = PagedRun(model), PagedRun(model)
    rough.cache = [
        LayerCache(each.k_NGK.half(), None if each.v_NGK is None else each.v_NGK.half()) for each in rough.cache
    ]
    apart = (exact.step({"a": tokens})["a"] - rough.step({"a": tokens})["a"]).abs().max()
    assert 0 < apart < 0.05


def test_a_latent_cache_is_as_small_as_the_paper_says() -> None:
    assert cache_shapes(CONFIGS["latent"]) == ((1, 16 + 6), None)
    assert cache_shapes(CONFIGS["grouped"]) == ((2, 8), (2, 8))


def test_a_cache_of_the_wrong_kind_is_refused() -> None:
    run = PagedRun(_model("grouped"))
    run.cache = [LayerCache(each.k_NGK) for each in run.cache]
    with pytest.raises(InvalidInput, match="needs a cache with values"):
        run.step({"a": [1]})


def test_only_the_wanted_rows_come_back() -> None:
    model, batch = _model("grouped"), Batch.packed([[1, 2, 3], [4, 5]])
    everything = model(batch)
    assert everything.shape == (5, 53)
    wanted = model(replace(batch, rows_R=torch.tensor([2, 4])))
    assert torch.allclose(wanted, everything[[2, 4]], atol=1e-5)


def test_packed_training_reaches_every_parameter() -> None:
    for kind in CONFIGS:
        model = _model(kind).train()
        model(Batch.packed([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])).logsumexp(dim=-1).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_turns_each_pair_by_its_angle(interleaved: bool) -> None:
    rotary = Rotary(RopeConfig(100.0, 6, interleaved=interleaved))
    x = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([0, 1, 7, 30, 200])
    got = rotate(x, *rotary(positions), interleaved)
    assert torch.equal(got[..., 6:], x[..., 6:])
    for row, position in enumerate(positions.tolist()):
        for pair in range(3):
            first, second = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 3)
            angle = position * 100.0 ** (-2 * pair / 6)
            a, b = x[row, :, first].double(), x[row, :, second].double()
            assert torch.allclose(got[row, :, pair].double(), a * math.cos(angle) - b * math.sin(angle), atol=1e-4)
            assert torch.allclose(got[row, :, pair + 3].double(), b * math.cos(angle) + a * math.sin(angle), atol=1e-4)


def test_the_table_for_compiled_kernels_is_what_the_model_uses() -> None:
    rotary = _model("grouped").rotary
    cos, sin = rotary.table(12)
    assert cos.shape == sin.shape == (12, 2)
    assert all(
        torch.equal(*pair) for pair in zip((cos[[3, 11]], sin[[3, 11]]), rotary(torch.tensor([3, 11])), strict=True)
    )
    assert cos[0, 0] == pytest.approx(rotary.magnitude)
    assert rotary.magnitude != 1.0


def test_positions_stay_float32_when_the_model_is_cast() -> None:
    model = _model("grouped").to(torch.bfloat16)
    assert model.rotary(torch.tensor([1000]))[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": [0, 2]}, "do not cut 3 tokens into 2 sequences"),
        ({"starts": [0, 2, 2]}, "do not cut 3 tokens"),
        ({"starts": [0, 3, 3], "contexts": [3, 1]}, "Sequence 1 has 0 tokens in this step"),
        ({"contexts": [1, 1]}, "Sequence 0 has 2 tokens in this step and a context of 1"),
    ],
    ids=str,
)
def test_a_batch_whose_parts_do_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    batch = Batch.packed([[1, 2], [3]])
    with pytest.raises(InvalidInput, match=message):
        replace(batch, **change)


@pytest.mark.parametrize("sequences", [[], [[1], []]], ids=str)
def test_empty_sequences_are_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        Batch.packed(sequences)
