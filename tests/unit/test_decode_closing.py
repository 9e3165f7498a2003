"""Text under a grammar parses wherever it ends, whatever the model says and however few tokens there are."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lark import Lark
from tokenizers import decoders, models, pre_tokenizers, trainers

from evident_core.decode import matcher
from evident_core.decode.closing import ClosingGuard
from evident_core.decode.grammar import Constraint, Grammar
from evident_core.decode.terms import TermTrie
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, ResourceExceeded

FAR = 4000


def merged() -> Tokenizer:
    """A byte-level vocabulary with the tokens of JSON that real ones have."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    samples = ['{"a":{"b":[["肺结节","心"],[{"c":null}]]},"名称":true}]', "lorem ipsum dolor 12345 67", '[[[{"a":[{']
    backend.train_from_iterator(samples * 9, trainer)
    backend.add_special_tokens(["<|end|>"])
    return Tokenizer(backend, eos_token_ids=[backend.token_to_id("<|end|>")])


BYTES, MERGED = Tokenizer.bytes(), merged()
BOTH = pytest.mark.parametrize("tokenizer", [BYTES, MERGED], ids=["bytes", "merged"])
OPENERS = [b"", b"{[,", b'{["', b"9", b"("]
"""Bytes of tokens that a model prefers: none, or those that open one thing after another."""

scalars = st.one_of(
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 8),
        st.integers(0, 9),
    ),
    st.just({"type": "string"}),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-99, 99),
        st.integers(0, 300),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.sampled_from(["red", "肺结节", "肺", "a b", 1, 2.5, None, True, [1, "x"]]), min_size=1, max_size=4),
    ),
    st.sampled_from([{"type": "string", "pattern": p} for p in ("^[a-z]{3,8}$", "^[0-9]{4}-[0-9]{2}$", "^(ab|cd)+$")]),
)


def nest(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects, lists and alternatives of some schemas."""
    named = st.dictionaries(st.sampled_from(["a", "b", "名称", 'x"y']), parts, max_size=4)
    return st.one_of(
        st.builds(
            lambda properties, optional: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name not in optional],
                "additionalProperties": False,
            },
            named,
            st.sets(st.sampled_from(["a", "名称"])),
        ),
        st.builds(
            lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
            parts,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(parts, min_size=1, max_size=3)),
    )


schemas = st.recursive(scalars, nest, max_leaves=6)


def write(constraint: Constraint, limit: int, tokenizer: Tokenizer, seed: int, openers: bytes) -> tuple[str, str, int]:
    """The text that a model writes which picks among the allowed tokens: any, or of those that open something."""
    choose = random.Random(seed)
    row = np.zeros((tokenizer.vocab_size + 31) // 32, np.int32)
    guard = ClosingGuard(constraint, limit)
    admission = guard.start()
    written = [*admission.tokens]
    while admission.finish_reason is None:
        guard.constraint.fill_mask(row)
        tokens = [int(token) for token in np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))]
        opening = [token for token in tokens if set(tokenizer.token_bytes[token]) & set(openers)]
        admission = guard.admit(choose.choice(opening or tokens))
        assert admission.tokens or admission.finish_reason
        written += admission.tokens
    return tokenizer.decode(written, continued=True), admission.finish_reason, len(written)


def limit_for(constraint: Constraint, spare: int) -> int:
    """A limit with so much to spare over the shortest text."""
    shortest = constraint.closing(FAR) or constraint.closing(FAR, thorough=True)
    assert shortest is not None
    return max(1, len(shortest) + spare)


@BOTH
@settings(max_examples=120, deadline=None)
@given(
    schema=schemas,
    spare=st.one_of(st.integers(0, 12), st.integers(0, 200)),
    seed=st.integers(0, 999),
    openers=st.sampled_from(OPENERS),
)
def test_json_parses_and_is_valid_wherever_it_ends(
    tokenizer: Tokenizer, schema: Any, spare: int, seed: int, openers: bytes
) -> None:
    constraint = Grammar.json_schema(schema).constraint(tokenizer)
    limit = limit_for(constraint, spare)
    text, reason, length = write(constraint, limit, tokenizer, seed, openers)
    jsonschema.validate(json.loads(text), schema)
    assert length <= limit
    assert reason in ("stop", "length")


@BOTH
@pytest.mark.parametrize("limit", [2, 3, 10, 40, 41, 100, 300])
def test_json_that_opens_as_much_as_it_can_is_closed_in_time(tokenizer: Tokenizer, limit: int) -> None:
    node = {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "object"}, {"type": "string"}]}
    constraint = Grammar.json_schema(node).constraint(tokenizer)
    text, reason, length = write(constraint, limit, tokenizer, 1, b"[{")
    json.loads(text)
    assert reason == "length"
    assert length <= limit
    assert text.count("[") + text.count("{") >= limit // 4


PATTERNS = [
    "[a-z]{3,20}",
    "(foo|ba+r)+!",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}",
    "(a|b)*c{5}",
    "[^x]{0,40}x",
    r"[a-z]+@[a-z]+\.(com|org)",
    "(肺|心){2,6}结节",
    r"[\s\S]{10,50}END",
    r"(\([0-9]+\) ){1,5}",
    "a?b?c?",
    ".{0,30}",
    "((ab){3}|x[yz]{40})",
    r"Finding: .*\. Size: [0-9]+ mm\.",
    r'\[("[a-z]*",)*"z"\]',
    "[0-9a-f]{64}",
    "[a-z]*(zz){30}",
    "(a*)*(a|aa)+(a|b|ab)*c",
]


@BOTH
@settings(max_examples=60, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    spare=st.integers(0, 60),
    seed=st.integers(0, 999),
    openers=st.sampled_from([b"", b"ab", b"z", b"."]),
)
def test_an_expression_is_matched_wherever_the_text_ends(
    tokenizer: Tokenizer, pattern: str, spare: int, seed: int, openers: bytes
) -> None:
    constraint = Grammar.regex(pattern).constraint(tokenizer)
    limit = limit_for(constraint, spare)
    text, _, length = write(constraint, limit, tokenizer, seed, openers)
    assert re.fullmatch(pattern, text)
    assert length <= limit


GRAMMARS = [
    'start: "(" start ")" | "x"',
    'start: expr\nexpr: term (("+"|"-") term)*\nterm: NUM | "(" expr ")"\nNUM: /[0-9]+/',
    'start: item ("; " item)*\nitem: WORD " is " WORD\nWORD: /[a-z]+/',
    'start: "BEGIN " start* "END " | "leaf "',
    'start: "a" "long forced text here and more of it" start | "b"',
    'start: TAG\nTAG: "<" /[a-z]{1,10}/ ">" /[^<]*/ "</t>"',
    'start: "c" | "a" x\nx: "b" x',  # no text of x ever ends
]


@BOTH
@settings(max_examples=60, deadline=None)
@given(
    grammar=st.sampled_from(GRAMMARS),
    spare=st.integers(0, 120),
    seed=st.integers(0, 999),
    openers=st.sampled_from([b"", b"(", b"aB"]),
)
def test_a_context_free_text_parses_wherever_it_ends(
    tokenizer: Tokenizer, grammar: str, spare: int, seed: int, openers: bytes
) -> None:
    constraint = Grammar.lark(grammar).constraint(tokenizer)
    limit = limit_for(constraint, spare)
    text, _, length = write(constraint, limit, tokenizer, seed, openers)
    Lark(grammar).parse(text)
    assert length <= limit


@BOTH
@settings(deadline=None)
@given(
    terms=st.lists(st.sampled_from(["肺", "肺结节", "a", "ab", "a b", "lorem ipsum"]), min_size=1, unique=True),
    spare=st.integers(0, 20),
    seed=st.integers(0, 999),
)
def test_a_choice_is_whole_wherever_it_ends(tokenizer: Tokenizer, terms: list[str], spare: int, seed: int) -> None:
    for grammar in (Grammar.choices(terms), TermTrie(terms)):
        limit = limit_for(grammar.constraint(tokenizer), spare)
        text, _, length = write(grammar.constraint(tokenizer), limit, tokenizer, seed, b"")
        assert text in terms
        assert length <= limit


@pytest.mark.parametrize(
    ("grammar", "shortest"),
    [
        (Grammar.json_schema({"type": "array", "items": {"type": "integer"}, "minItems": 3}), "[0,0,0]"),
        (Grammar.json_schema({"anyOf": [{"type": "string", "minLength": 30}, {"type": "integer"}]}), "0"),
        (Grammar.json_schema({"type": "string"}), '""'),
        (Grammar.json_schema({"type": "string", "pattern": "^a.*bcd.*e$"}), '"abcde"'),
        (Grammar.json_schema({"enum": ["a long one", "short"]}), '"short"'),
        (Grammar.regex("(aaaa|b)*cc"), "cc"),
        (Grammar.regex(r"Finding: .*\. Size: [0-9]+ mm\."), "Finding: . Size: 0 mm."),
        (Grammar.lark('start: "x" start | "yy" start | "z"'), "z"),
        (Grammar.choices(["lung nodule", "lung"]), "lung"),
    ],
    ids=lambda value: value.source if isinstance(value, Grammar) else value,
)
def test_fewer_tokens_than_the_shortest_text_are_refused_and_as_many_do(grammar: Grammar, shortest: str) -> None:
    least = len(shortest)
    if least > 1:
        with pytest.raises(InvalidInput, match=f"max_tokens is {least - 1}, but .* has {least} tokens"):
            ClosingGuard(grammar.constraint(BYTES), least - 1)
    text, _, length = write(grammar.constraint(BYTES), least, BYTES, 3, b"")
    assert length <= least
    assert grammar.constraint(BYTES).closes(list(text.encode()))


def test_a_grammar_whose_texts_are_all_too_long_or_endless_is_refused() -> None:
    for grammar in (Grammar.json_schema({"type": "string", "minLength": 10**6}), Grammar.lark('start: "a" start')):
        with pytest.raises(InvalidInput, match="No complete text of at most 4096 tokens was found"):
            ClosingGuard(grammar.constraint(BYTES), 200)


def test_a_character_that_was_begun_is_finished() -> None:
    constraint = Grammar.regex(".{1,4}!").constraint(BYTES)
    guard = ClosingGuard(constraint, 6)
    guard.start()
    first, *rest = "🩺".encode()
    admission = guard.admit(first)
    assert (admission.tokens, admission.finish_reason) == ((first,), None)
    written = [first]
    while admission.finish_reason is None:
        admission = guard.admit(rest.pop(0) if rest else ord("a"))
        written += admission.tokens
    assert bytes(written).decode() == "🩺a!"
    assert admission.finish_reason == "length"


def test_the_model_ends_a_text_where_it_may() -> None:
    guard = ClosingGuard(Grammar.regex("a{1,9}").constraint(BYTES), 9)
    assert guard.start().tokens == (ord("a"),)
    guard.admit(ord("a"))
    ended = guard.admit(256)
    assert (ended.tokens, ended.finish_reason) == ((), "stop")
    early = ClosingGuard(Grammar.regex("ab|ac").constraint(BYTES), 9)
    early.start()
    with pytest.raises(InvalidInput, match="does not allow token 256"):
        early.admit(256)
    with pytest.raises(InvalidInput, match="does not allow"):
        early.admit(ord("z"))


def test_what_is_forced_needs_no_choice() -> None:
    opening = ClosingGuard(Grammar.regex("only this").constraint(BYTES), 9).start()
    assert (bytes(opening.tokens), opening.finish_reason) == (b"only this", "stop")
    guard = ClosingGuard(Grammar.regex("(yes|no), I (do|did)").constraint(BYTES), 30)
    assert guard.start().tokens == ()
    assert bytes(guard.admit(ord("n")).tokens) == b"no, I d"


@BOTH
def test_ends_that_are_known_spare_the_search(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near its limit the end of a text must be known after each token; most are parts of ends that are known."""
    item = {
        "type": "object",
        "properties": {
            "site": {"enum": ["apex", "hilum", "lower lobe"]},
            "size": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 4000}, {"type": "null"}]},
            "text": {"type": "string", "minLength": 3, "maxLength": 40},
        },
        "required": ["site", "size", "text"],
        "additionalProperties": False,
    }
    schema = {"type": "array", "items": item, "minItems": 2, "maxItems": 9}
    searches = 0
    search = matcher.shortest_end

    def counted(*arguments: Any, **named: Any) -> list[int] | None:
        nonlocal searches
        searches += 1
        return search(*arguments, **named)

    tokens = 0
    for seed in range(20):
        constraint = Grammar.json_schema(schema).constraint(tokenizer)
        limit = limit_for(constraint, 60)
        with monkeypatch.context() as patched:
            patched.setattr(matcher, "shortest_end", counted)
            text, _, length = write(constraint, limit, tokenizer, seed, b"")
        jsonschema.validate(json.loads(text), schema)
        tokens += length
    assert tokens > 1000
    assert searches < tokens / 50


def test_a_text_that_may_end_at_its_limit_is_left_as_it_is() -> None:
    guard = ClosingGuard(Grammar.regex("a*").constraint(BYTES), 3)
    admissions = [guard.start(), *(guard.admit(ord("a")) for _ in range(3))]
    assert [one.finish_reason for one in admissions] == [None, None, None, "length"]
    assert [one.tokens for one in admissions] == [(), *[(ord("a"),)] * 3]


class Jumping:
    """A text that any number of ``a`` make longer and whose end, once asked for, is suddenly far."""

    ends = (0,)
    margin = 0
    complete = stopped = False

    def __init__(self, far: int) -> None:
        self.far, self.written = far, 0

    def advance(self, tokens: list[int]) -> bool:
        self.written += len(tokens)
        return True

    def forced(self) -> list[int]:
        return []

    def closes(self, tokens: list[int]) -> bool:
        return False

    def closing(self, limit: int, *, thorough: bool = False) -> list[int] | None:
        need = 1 if self.written == 0 else self.far
        return [2] * need if need <= limit else None

    def copy(self) -> "Jumping":
        copied = Jumping(self.far)
        copied.written = self.written
        return copied


def test_an_end_that_has_grown_unseen_is_written_beyond_the_limit() -> None:
    guard = ClosingGuard(Jumping(300), 100)  # type: ignore[arg-type]
    written, admission = [], guard.start()
    while admission.finish_reason is None:
        admission = guard.admit(1)
        written += admission.tokens
    assert written[-300:] == [2] * 300
    assert 300 < len(written) < 400
    assert admission.finish_reason == "length"


def test_an_end_that_cannot_be_found_any_more_is_an_error() -> None:
    guard = ClosingGuard(Jumping(10**6), 100)  # type: ignore[arg-type]
    guard.start()

    def go_on() -> None:
        for _ in range(100):
            guard.admit(1)

    with pytest.raises(ResourceExceeded, match="No end of at most 4096 tokens was found"):
        go_on()


def test_a_branch_whose_end_is_far_is_not_entered_late() -> None:
    long: dict[str, Any] = {f"p{n}": {"type": "string", "minLength": 9} for n in range(9)}
    schema = {
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "integer"},
                {"type": "object", "properties": long, "required": [*long], "additionalProperties": False},
            ]
        },
    }
    for limit in range(60, 400, 17):
        constraint = Grammar.json_schema(schema).constraint(BYTES)
        text, _, length = write(constraint, limit, BYTES, limit, b"{,")
        jsonschema.validate(json.loads(text), schema)
        assert length <= limit


@pytest.mark.parametrize("make", [Grammar.regex, Grammar.lark], ids=["regex", "lark"])
@settings(deadline=None)
@given(data=st.data())
def test_a_closing_that_is_given_closes(make: Callable[[str], Grammar], data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(PATTERNS if make == Grammar.regex else GRAMMARS[:-1]))
    constraint = make(source).constraint(MERGED)
    row = np.zeros((MERGED.vocab_size + 31) // 32, np.int32)
    for _ in range(data.draw(st.integers(0, 12))):
        constraint.fill_mask(row)
        tokens = np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist()
        token = data.draw(st.sampled_from(tokens))
        if token in constraint.ends:
            break
        constraint.accept(token)
    limit = data.draw(st.integers(0, 80))
    before = constraint.copy()
    closing = constraint.closing(limit, thorough=data.draw(st.booleans()))
    assume(closing is not None)
    assert closing is not None
    assert len(closing) <= limit
    assert constraint.closes(closing)
    assert before.closes(closing), "the search has changed the text"
    assert constraint.advance(closing)
    assert constraint.complete
