"""Choosing a token: what each setting keeps, in Hugging Face's order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident_core.decode import sampler
from evident_core.decode.generator import SamplingParams
from evident_core.errors import InvalidInput


def kept(logits: np.ndarray, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> set:
    points = np.linspace(0, 1, 2000, endpoint=False)
    return {sampler.draw(logits, temperature, top_k, top_p, min_p, float(u)) for u in points}


def test_each_filter_keeps_what_it_says() -> None:
    logits = np.log(np.array([0.05, 0.5, 0.2, 0.15, 0.1], np.float32))
    assert kept(logits) == {0, 1, 2, 3, 4}
    assert kept(logits, top_k=2) == {1, 2}
    assert kept(logits, top_p=0.69) == {1, 2}
    assert kept(logits, top_p=0.71) == {1, 2, 3}
    assert kept(logits, min_p=0.25) == {1, 2, 3}
    assert kept(logits, temperature=0.0) == {1}
    assert kept(logits, temperature=0.3, min_p=0.1) == {1}


def test_equal_logits_count_by_token_id() -> None:
    logits = np.zeros(6, np.float32)
    assert sampler.draw(logits, 0.0, 0, 1.0, 0.0, 0.9) == 0
    assert kept(logits, top_k=2) == {0, 1}
    assert kept(logits, top_p=0.4) == {0, 1, 2}


def test_what_is_forbidden_is_never_drawn() -> None:
    logits = np.array([1.0, -np.inf, 2.0, -np.inf], np.float32)
    assert kept(logits) == {0, 2}
    assert sampler.draw(logits, 1.0, 0, 1.0, 0.0, np.nextafter(1.0, 0.0)) == 2


def test_shares_are_those_of_the_distribution() -> None:
    probabilities = np.array([0.1, 0.6, 0.3])
    drawn = [
        sampler.draw(np.log(probabilities).astype(np.float32), 1.0, 0, 1.0, 0.0, float(u))
        for u in np.linspace(0, 1, 10_000, endpoint=False)
    ]
    assert np.bincount(drawn) / 10_000 == pytest.approx(probabilities, abs=2e-4)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.2, 3), st.integers(0, 40), st.floats(0.05, 1), st.floats(0, 0.5))
def test_what_is_kept_is_what_transformers_keeps(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = np.random.default_rng(seed).normal(0, 2, 40).astype(np.float32)
    scores, ids = torch.from_numpy(logits)[None], torch.zeros(1, 1, dtype=torch.long)
    warpers = [TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k) if top_k else None]
    warpers += [TopPLogitsWarper(top_p) if top_p < 1 else None, MinPLogitsWarper(min_p) if min_p else None]
    for warper in filter(None, warpers):
        scores = warper(ids, scores)
    expected = scores.softmax(-1)[0].double().numpy()
    for u in (0.0, 0.1, 0.5, 0.77, 0.9999):
        token = sampler.draw(logits, temperature, top_k, top_p, min_p, u)
        below, reached = expected[:token].sum(), expected[: token + 1].sum()
        assert expected[token] > 0
        assert below - 1e-5 <= u <= reached + 1e-5


def test_penalties_are_those_of_transformers() -> None:
    from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    tokens = [3, 1, 2, 3, 1]
    logits = np.random.default_rng(1).normal(0, 2, 8).astype(np.float32)
    ours = logits.copy()
    sampler.penalise(ours, tokens, SamplingParams(repetition_penalty=1.3, no_repeat_ngram=3))
    ids, scores = torch.tensor([tokens]), torch.from_numpy(logits)[None]
    theirs = NoRepeatNGramLogitsProcessor(3)(ids, RepetitionPenaltyLogitsProcessor(1.3)(ids, scores))[0].numpy()
    assert ours.tolist() == pytest.approx(theirs.tolist())
    assert np.isinf(ours[2])


def test_a_grammar_that_leaves_only_a_repetition_wins_over_the_rule_against_it() -> None:
    logits = np.full(8, -np.inf, np.float32)
    logits[2] = 1.0
    sampler.penalise(logits, [3, 1, 2, 3, 1], SamplingParams(no_repeat_ngram=3))
    assert logits[2] == 1.0


def test_a_mask_leaves_what_its_bits_say() -> None:
    logits = np.zeros(70, np.float32)
    allowed = np.zeros(3, np.int32)
    for token in (0, 31, 33, 69):
        allowed[token // 32] |= np.int32(np.uint32(1 << token % 32).astype(np.int32))
    sampler.mask(logits, allowed)
    assert np.flatnonzero(np.isfinite(logits)).tolist() == [0, 31, 33, 69]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"stop": ("a", "")}, "an empty text"),
        ({"stop": "end"}, "stop is the text 'end'"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        SamplingParams(**values)
