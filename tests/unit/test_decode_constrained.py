"""The engine under a grammar: what is forced costs no model step, what ends early still parses."""

import json
import re

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evident_core.decode import LLM, Grammar, SamplingParams, TermTrie
from evident_core.errors import InvalidInput, ResourceExceeded
from tiny_model import tiny_model, tiny_tokenizer

SCHEMA = {
    "type": "object",
    "properties": {
        "finding": {"type": "string", "maxLength": 40},
        "side": {"enum": ["left", "right", None]},
        "sizes": {"type": "array", "items": {"type": "integer"}, "maxItems": 6},
    },
    "required": ["finding", "side", "sizes"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(tiny_model(), tiny_tokenizer(), kernel=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), max_tokens=st.integers(45, 150), temperature=st.sampled_from([0.0, 0.7, 3.0]))
def test_a_text_parses_and_is_valid_wherever_it_ends(llm: LLM, seed: int, max_tokens: int, temperature: float) -> None:
    params = SamplingParams(
        grammar=Grammar.json_schema(SCHEMA), seed=seed, max_tokens=max_tokens, temperature=temperature
    )
    (done,) = llm.generate(["Report:"], params)
    jsonschema.validate(json.loads(done.text), SCHEMA)
    assert done.completion_tokens <= max_tokens
    assert llm.engine.pool.free == llm.engine.pool.num_blocks


def test_what_the_grammar_forces_is_written_without_the_model(llm: LLM) -> None:
    (done,) = llm.generate(["x"], SamplingParams(grammar=Grammar.choices(["benign", "malignant"])))
    assert done.text in ("benign", "malignant")
    assert (done.model_steps, done.finish_reason) == (1, "stop")
    (only,) = llm.generate(["x"], SamplingParams(grammar=Grammar.choices(["the only one"])))
    assert (only.text, only.model_steps) == ("the only one", 0)
    assert [chunk.text for chunk in llm.stream("x", SamplingParams(grammar=Grammar.choices(["one"])))] == ["one"]


def test_free_and_constrained_texts_share_a_batch_and_each_is_as_alone(llm: LLM) -> None:
    grammars = [None, Grammar.regex(r"\d{3}-\d{2,9}"), None, TermTrie(["肺结节", "肺", "lung nodule"])]
    params = [SamplingParams(grammar=grammar, max_tokens=40) for grammar in grammars]
    together = llm.generate(["abc"] * 4, params)
    assert together == [llm.generate(["abc"], each)[0] for each in params]
    assert re.fullmatch(r"\d{3}-\d{2,9}", together[1].text)
    assert together[3].text in ("肺结节", "肺", "lung nodule")


def test_too_few_tokens_for_the_grammar_are_refused_before_anything_is_written(llm: LLM) -> None:
    with pytest.raises(InvalidInput, match="max_tokens is 5, but the shortest text under this grammar has"):
        llm.generate(["x"], SamplingParams(grammar=Grammar.json_schema(SCHEMA), max_tokens=5))


class GivesUp:
    """A constraint whose parser ends before its text does."""

    ends = frozenset({256})

    def fill_mask(self, row: object) -> None:
        raise ResourceExceeded("the parser gave up")


def test_a_grammar_that_gives_up_ends_its_own_text_alone(llm: LLM) -> None:
    params = [SamplingParams(max_tokens=12), SamplingParams(max_tokens=12, grammar=Grammar.regex("[a-z]+"))]
    free, constrained = [llm.engine.prepare([120], each) for each in params]
    for sequence in (free, constrained):
        llm.engine.add(sequence)
    assert constrained.guard is not None
    constrained.guard.constraint = GivesUp()  # type: ignore[assignment]
    while len(llm.engine.scheduler):
        llm.engine.step()
    assert isinstance(constrained.error, ResourceExceeded)
    assert free.result == llm.generate(["x"], params[0])[0]
    assert llm.engine.pool.free == llm.engine.pool.num_blocks
