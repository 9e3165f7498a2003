"""What is told of a run: targets, tables, JSON; and how constraints are walked."""

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from evident_core.bench.bandwidth import Bandwidth
from evident_core.bench.batching import Batching
from evident_core.bench.constrained import Constrained
from evident_core.bench.grammar_speed import AsGiven, AsTokens, ByChance, GrammarSpeed, walk
from evident_core.bench.ours import Evident
from evident_core.bench.peers.hugging_face import HuggingFace
from evident_core.bench.peers.llama_cpp import LlamaCpp
from evident_core.bench.peers.onnx_runtime import OnnxDynamic
from evident_core.bench.results import Figures, Machine, Reached, Row
from evident_core.bench.specimens import report, report_schema, terminology
from evident_core.bench.table import show
from evident_core.bench.targets import judge
from evident_core.bench.timing import Spread
from evident_core.bench.vocabulary import write_tokenizer
from evident_core.decode.grammar import Grammar
from evident_core.decode.terms import TermTrie
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput


def spread(value: float) -> Spread:
    return Spread(value, value * 0.9, value * 1.1, 3)


def row(name: str, **figures: object) -> Row:
    return Row(name, 16_384, 2, "measured", settings="[as stored]", exact_error=1e-6, error=0.03, **figures)


FIGURES = Figures(
    machine=Machine("A processor", 2, 0.2, True, "C++ kernel, avx2, 2 threads", "3.12.1", {"torch": "2.13"}),
    quick=True,
    decode_tokens=128,
    rows=(
        row(
            Evident.name,
            tokens_per_second=spread(1500),
            ratio=spread(1.0),
            first_token_ms={200: spread(150), 300: spread(1200)},
        ),
        row(LlamaCpp.name, tokens_per_second=spread(600), ratio=spread(2.5)),
        row(OnnxDynamic.name, tokens_per_second=spread(600), ratio=spread(2.5)),
        Row(HuggingFace.name, 16_384, 0, "not installed", "pip install 'transformers>=5.11' torch"),
    ),
    bandwidth=(Bandwidth(2, 30e9, 40e9, 56_000_000),),
    reached=(Reached(16_384, 2, 24_000_000, 36e9, 40e9, 30e9),),
    batching=(Batching(2, 16_384, 16, spread(1500), spread(6500), spread(6400), spread(4.3), spread(0.3), spread(9)),),
    grammar=(GrammarSpeed(32_768, 700, spread(2.2), 40, 700, 4000, 12, 40),),
    constrained=(Constrained(32_768, 1, spread(0.04), spread(1.2), 90, 128),),
    failures=("something could not run: because",),
    targets=(),
    seconds=61.0,
)  # fmt: skip


def test_targets_say_what_is_reached_what_is_not_and_what_was_not_measured() -> None:
    verdicts = {target.name.split(", ")[0]: target.reached for target in judge(FIGURES).targets}
    assert verdicts == {
        "int8 decode beside llama.cpp Q8_0": True,
        "int8 decode beside ONNX Runtime dynamic int8": False,
        "int8 decode beside ONNX Runtime QMoE 8-bit": None,
        "int8 decode beside transformers float32": None,
        "first token of 200": True,
        "first token of 300": False,
        "compile an unseen schema": True,
        "mask": False,  # of its two lines the last: 99 of 100
        "mask of 1,000 terms": True,
        "constrained beside free decode": True,
        "16 requests beside one": True,
        "no request starves": False,
    }


def test_a_median_at_the_target_reaches_it() -> None:
    rows = (replace(FIGURES.rows[1], ratio=Spread(2.0, 1.5, 2.4, 3)),)
    (line, *_) = judge(replace(FIGURES, rows=rows)).targets
    assert (line.wanted, line.measured, line.reached) == (">= 2x", "2x (1.5–2.4)", True)


def test_figures_are_json() -> None:
    told = json.loads(json.dumps(judge(FIGURES).to_dict()))
    assert told["rows"][1]["ratio"] == {"median": 2.5, "low": 2.25, "high": 2.75, "rounds": 3}
    assert told["targets"][0]["reached"] is True
    assert told["machine"]["others"] == 0.2


def test_the_table_shows_each_contestant_and_each_failure() -> None:
    out = io.StringIO()
    show(judge(FIGURES), console=Console(file=out, width=240))
    text = out.getvalue()
    for wanted in (
        "C++ kernel, avx2, 2 threads",
        "Other processes took 20% of the cores' time meanwhile; they disturb",
        "600 (540–660)  2.50x (2.25–2.75)",
        "not installed: pip install 'transformers>=5.11' torch",
        "[as stored]",
        "something could not run: because",
        "90%",
        "+4.0% (+3.6% to +4.4%)",
        "90 of 128",
        "not reached",
        "not measured",
    ):
        assert wanted in text, wanted
    out = io.StringIO()
    show(judge(FIGURES), targets=False, console=Console(file=out, width=240))
    assert "not reached" not in out.getvalue()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, 1000)
    return Tokenizer.load(folder)


def test_a_walk_writes_the_whole_report(tokenizer: Tokenizer) -> None:
    text = report(1, random.Random(1))
    writer = AsGiven(tokenizer, text)
    took = walk(Grammar.json_schema(report_schema(1)).constraint(tokenizer), tokenizer, writer)
    assert writer.left == b""
    assert 50 < len(took) < len(text)
    assert min(took) > 0


def test_a_walk_that_is_not_of_the_grammar_is_refused(tokenizer: Tokenizer) -> None:
    writer = AsGiven(tokenizer, '{"something": "else"}')
    with pytest.raises(RuntimeError, match="was to come"):
        walk(Grammar.json_schema(report_schema(1)).constraint(tokenizer), tokenizer, writer)


def test_a_walk_by_chance_writes_what_is_allowed_and_ends(tokenizer: Tokenizer) -> None:
    took = walk(Grammar.regex("[ab]{3,5}").constraint(tokenizer), tokenizer, ByChance(tokenizer, random.Random(0)))
    assert 2 <= len(took) <= 6
    limited = ByChance(tokenizer, random.Random(0), limit=7)
    assert len(walk(Grammar.regex("[ab]*").constraint(tokenizer), tokenizer, limited)) == 8


def test_a_walk_through_terms_writes_one(tokenizer: Tokenizer) -> None:
    terms = terminology(50, random.Random(0))
    trie = TermTrie(terms).constraint(tokenizer)
    for term in terms[::7]:
        writer = AsTokens(tokenizer.encode(term, bos=False, continued=True))
        at = trie.copy()
        walk(at, tokenizer, writer)
        assert writer.left == []
        assert at.complete
    with pytest.raises(InvalidInput, match="No listed term"):
        walk(trie.copy(), tokenizer, AsTokens(tokenizer.encode("~~", bos=False, continued=True)))


def test_the_reference_checkpoint_is_written_where_it_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, 300)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert Tokenizer.load(tmp_path).vocab_size == 300
