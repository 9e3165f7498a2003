"""The reference shape: its sizes, weights, tokenizer and prompts."""

import json
from pathlib import Path

import numpy as np
import pytest

from evident_core.bench.cpu import REFERENCE
from evident_core.bench.shape import END, Shape, random_weights, read_shape, read_weights, write_checkpoint
from evident_core.bench.specimens import report, report_schema, terminology
from evident_core.bench.vocabulary import prompt, read_tokenizer

SMALL = Shape(
    vocab_size=600, num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16, num_experts=4,
    intermediate_size=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("small")
    write_checkpoint(written, SMALL)
    return written


def test_the_reference_is_the_shape_of_the_targets() -> None:
    small, large = REFERENCE
    assert (small.vocab_size, large.vocab_size) == (16_384, 32_768)
    assert (small.num_layers, small.hidden_size, small.num_heads, small.num_kv_heads) == (12, 512, 8, 4)
    assert (small.num_experts, small.top_k, small.intermediate_size) == (16, 2, 128)


def test_parameters_are_those_of_the_weights(folder: Path) -> None:
    matrices = [value for value in read_weights(folder).values() if value.ndim == 2]
    assert sum(value.size for value in matrices) == SMALL.num_parameters
    assert SMALL.int8_bytes == SMALL.num_parameters - SMALL.vocab_size * SMALL.hidden_size


def test_bytes_a_token_are_those_of_the_arrays_it_reads() -> None:
    weights, context = random_weights(SMALL), 10
    used = ("self_attn", "experts.0.", "experts.1.", "lm_head")
    read = 0
    for name, value in weights.items():
        if value.ndim == 2 and any(part in name for part in used):
            read += value.size + 4 * value.shape[0]  # int8, and a float scale a row
        elif "gate.weight" in name or "layernorm" in name:
            read += 4 * value.size
    read += SMALL.num_layers * 2 * context * SMALL.num_kv_heads * SMALL.head_dim * 2
    assert SMALL.int8_bytes_a_token(context) == read


def test_weights_are_the_same_each_time_and_never_end_a_text(folder: Path) -> None:
    again = random_weights(SMALL)
    written = read_weights(folder)
    assert written.keys() == again.keys()
    assert all(np.array_equal(written[name], value) for name, value in again.items())
    assert not again["lm_head.weight"][END].any()
    assert read_shape(folder) == SMALL


def test_the_tokenizer_has_exactly_the_size(folder: Path) -> None:
    tokenizer = read_tokenizer(folder)
    assert tokenizer.get_vocab_size(with_added_tokens=True) == SMALL.vocab_size
    assert tokenizer.token_to_id("<|end|>") == END == json.loads((folder / "config.json").read_text())["eos_token_id"]
    text = "Größe 12 mm, 左肺上叶\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_prompts_have_their_length_and_share_no_beginning(folder: Path) -> None:
    tokenizer = read_tokenizer(folder)
    prompts = [tuple(tokenizer.encode(prompt(tokenizer, 200, number)).ids) for number in range(8)]
    assert {len(each) for each in prompts} == {200}
    assert len({each[:16] for each in prompts}) == 8


def test_reports_follow_their_schema_and_schemas_differ() -> None:
    import random

    import jsonschema

    for number in range(5):
        value = json.loads(report(number, random.Random(number)))
        jsonschema.validate(value, report_schema(number))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, report_schema(number + 1))


def test_a_terminology_has_as_many_terms_in_both_languages() -> None:
    import random

    terms = terminology(1000, random.Random(0))
    assert len(set(terms)) == 1000
    assert 400 < sum(term.isascii() for term in terms) < 600
