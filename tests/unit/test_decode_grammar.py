"""What a text must be: the four kinds of grammar, what is refused in them, and the protocol of constraints."""

import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from evident_core.decode.grammar import MAX_SOURCE, Constraint, Grammar
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, MissingExtra, TooLarge

EOS = 256
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["肺结节", "mass"]}, "size": {"type": "integer", "minimum": 0}},
    "required": ["name", "size"],
    "additionalProperties": False,
}


def merged() -> Tokenizer:
    """A byte-level vocabulary with long tokens, so that canonical tokens are not single bytes."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(['{"name":"肺结节","size":12}', "the only text there is", "12345"] * 9, trainer)
    backend.add_special_tokens(["<|end|>", "<|stop|>"])
    return Tokenizer(backend, eos_token_ids=[backend.token_to_id("<|end|>"), backend.token_to_id("<|stop|>")])


BYTES, MERGED = Tokenizer.bytes(), merged()


def allowed(constraint: Constraint, tokenizer: Tokenizer = BYTES) -> set[int]:
    """The tokens in a mask."""
    row = np.full((tokenizer.vocab_size + 31) // 32, -1, np.int32)
    constraint.fill_mask(row)
    return {int(token) for token in np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))}


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether a whole text is one of the grammar's."""
    constraint = grammar.constraint(BYTES)
    return constraint.closes(list(text.encode()))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"name":"mass","size":12}', True),
        ('{"name":"肺结节","size":0}', True),
        ('{"name": "mass","size":12}', False),  # whitespace
        ('{"size":12,"name":"mass"}', False),  # order
        ('{"name":"mass","size":-1}', False),
        ('{"name":"mass"}', False),
        ("", False),
    ],
)
def test_json_is_that_of_the_schema_without_whitespace(text: str, valid: bool) -> None:
    assert accepts(Grammar.json_schema(SCHEMA), text) is valid
    assert accepts(Grammar.json_schema(json.dumps(SCHEMA)), text) is valid


def test_a_schema_cannot_switch_whitespace_on_or_keywords_off() -> None:
    loose = {
        "type": "array",
        "items": {"type": "integer"},
        "x-guidance": {"whitespace_flexible": True, "lenient": True},
    }
    assert accepts(Grammar.json_schema(loose), "[1,2]")
    assert not accepts(Grammar.json_schema(loose), "[1, 2]")
    with pytest.raises(InvalidInput, match="uniqueItems"):
        Grammar.json_schema(loose | {"uniqueItems": True}).constraint(BYTES)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"\d{4}-\d{2}", ["2024-01", "2024-1", "x2024-01", "2024-01 "]),
        ("a/b", ["a/b", "a\\/b", "ab"]),
        ("a|b&c", ["a", "b&c", "b"]),
        ("(?i)yes", ["YES", "yes", "no"]),
        ("(a*)*b", ["b", "aab", "aa"]),
        ("a\nb", ["a\nb", "a b"]),
        ("a\0b", ["a\0b", "ab"]),
        ("肺(结节)?", ["肺", "肺结节", "肺结"]),
        ("", ["", "a"]),
    ],
)
def test_an_expression_matches_whole_texts_as_in_python(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert accepts(Grammar.regex(pattern), text) is bool(re.fullmatch(pattern, text))


def test_a_context_free_grammar_may_nest() -> None:
    grammar = Grammar.lark('start: "(" start ")" | WORD\nWORD: /[a-z]+/')
    assert accepts(grammar, "((ab))")
    assert not accepts(grammar, "((ab)")


def test_choices_are_all_there_is() -> None:
    grammar = Grammar.choices(["lung", "lung nodule", "肺"])
    assert all(accepts(grammar, text) for text in ("lung", "lung nodule", "肺"))
    assert not any(accepts(grammar, text) for text in ("lun", "lung nodul", "", "肺lung"))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "is not JSON: .* line 1 column 2"),
        ("[1]", r"is \[1\]; it must be an object"),
        ('{"const": NaN}', "NaN is not a JSON number"),
        ({"const": float("inf")}, "is not JSON"),
        ({"enum": {1, 2}}, "set is not JSON serializable"),
        ({"const": "a\ud800"}, "half of a surrogate pair"),
        ({"properties": {"a": {"items": {"type": "foo"}}}}, "at #/properties/a/items.*: Invalid type: foo"),
        ({"properties": {"a/b": {"type": "string", "pattern": "x("}}}, r"#/properties/a~1b\): unclosed group in x\("),
        ({"anyOf": [{"type": "null"}, {"not": {}}]}, 'at #/anyOf/1.*"not"'),
        ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, "branches cannot overlap; use anyOf"),
        ({"$ref": "#/$defs/absent"}, "Pointer '/$defs/absent' does not exist".replace("$", r"\$")),
        ({"$ref": "http://elsewhere/x"}, "does not fetch"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength.*5.*maxLength.*2"),
        ({"type": "integer", "minimum": -(10**400)}, "number out of range"),
        ({"type": "integer", "multipleOf": 1_000_003}, "multipleOf 1000003 at # .* at most 10000"),
        ({"allOf": [{"multipleOf": 97}, {"multipleOf": 103}, {"multipleOf": 107}]}, "at #/allOf/"),
        ({"properties": {f"p{n}": {} for n in range(2001)}}, "2001 properties at #; at most 2000"),
        ({"$ref": "#"}, "value of # in the JSON schema can never end"),
        ({"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "value of # in the JSON schema can never end"),
        (
            {
                "$defs": {"n": {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, "required": ["c"]}},
                "anyOf": [{"type": "string"}, {"$ref": "#/$defs/n"}],
            },
            "value of #/anyOf/1 in the JSON schema can never end",
        ),
    ],
)
def test_a_schema_that_is_wrong_is_refused_with_the_place(schema: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Grammar.json_schema(schema).constraint(BYTES)


def test_a_schema_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"nested too deep|recursion limit"):
        Grammar.json_schema('{"items":' * 5000 + "{}" + "}" * 5000).constraint(BYTES)


def test_a_tree_and_an_unused_endless_definition_are_fine() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"parts": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["parts"],
        "additionalProperties": False,
    }
    endless = {"type": "array", "items": {"$ref": "#/$defs/endless"}, "minItems": 1}
    grammar = Grammar.json_schema({"$defs": {"node": node, "endless": endless}, "$ref": "#/$defs/node"})
    assert accepts(grammar, '{"parts":[{"parts":[]},{"parts":[{"parts":[]}]}]}')


@pytest.mark.parametrize(
    ("make", "source", "message"),
    [
        (Grammar.regex, "ab(", r"not valid \(at character 2\): unclosed group"),
        (Grammar.regex, "a{2,1}", r"\(at character 1\): invalid repetition"),
        (Grammar.regex, "(?=a)b", "look-around.*is not supported"),
        (Grammar.regex, r"(a)\1", r"\(at character 3\): backreferences"),
        (Grammar.regex, r"[^\s\S]", "matches no text at all"),
        (Grammar.regex, "(" * 100_000 + ")" * 100_000, "nested"),
        (Grammar.regex, "a\ud800", "surrogates not allowed"),
        (Grammar.regex, 5, "is 5; it must be a text"),
        (Grammar.lark, "start: x", r'1\(8\): unknown name: "x"'),
        (Grammar.lark, 'start: "a', "lexer error"),
        (Grammar.lark, 'foo: "a"', "no start rule"),
        (Grammar.lark, "start: <absent>", "unknown special token"),
        (Grammar.lark, 'start: "a\0b"', "lexer error"),
        (Grammar.lark, "start: " + "(" * 50_000, "too deeply nested"),
        (Grammar.lark, "", "Empty grammar"),
        (Grammar.choices, [], "choices is empty"),
        (Grammar.choices, "abc", "must be a list of texts"),
        (Grammar.choices, ["a", ""], r"choices\[1\] is ''"),
        (Grammar.choices, ["a", "b", "a"], "'a' twice, at 0 and 2"),
        (Grammar.choices, [1], r"choices\[0\] is 1"),
        (Grammar.choices, ["\ud800"], "half of a surrogate pair"),
    ],
)
def test_other_sources_that_are_wrong_are_refused_with_the_place(make: Any, source: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make(source).constraint(BYTES)


@pytest.mark.parametrize("make", [Grammar.regex, Grammar.lark, Grammar.json_schema])
def test_a_source_that_is_too_long_is_refused_at_once(make: Any) -> None:
    with pytest.raises(TooLarge, match="10,000,000 characters; at most 524,288"):
        make("a" * 10_000_000)
    with pytest.raises(TooLarge):
        Grammar.json_schema({"const": "a" * MAX_SOURCE})


def test_the_longest_chains_of_rules_and_references_do_not_end_the_process() -> None:
    program = """
from evident_core.decode.grammar import Grammar
from evident_core.decode.tokenizer import Tokenizer
rules = "\\n".join(f"x{n}: x{n + 1}" for n in range(30000))
Grammar.lark(f'start: x0\\n{rules}\\nx30000: "a"').constraint(Tokenizer.bytes())
names = {f"n{n}": {"$ref": f"#/$defs/n{n + 1}"} for n in range(9000)}
Grammar.json_schema({"$defs": names | {"n9000": {"const": 1}}, "$ref": "#/$defs/n0"}).constraint(Tokenizer.bytes())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_grammars_are_equal_and_hashed_by_what_they_say() -> None:
    assert Grammar.json_schema(SCHEMA) == Grammar.json_schema(json.dumps(SCHEMA, indent=2))
    assert len({Grammar.regex("a"), Grammar.regex("a"), Grammar.lark("a"), Grammar.choices(["a"])}) == 3
    with pytest.raises(AttributeError):
        Grammar.regex("a").source = "b"  # type: ignore[misc]


def test_a_tokenizers_trie_is_built_once_for_all_grammars(monkeypatch: pytest.MonkeyPatch) -> None:
    llguidance = pytest.importorskip("llguidance")
    built: list[str] = []

    def build(*args: Any, **kwargs: Any) -> Any:
        built.append("trie")
        return trie(*args, **kwargs)

    def match(*args: Any, **kwargs: Any) -> Any:
        built.append("grammar")
        return matcher(*args, **kwargs)

    trie, matcher = llguidance.LLTokenizer, llguidance.LLMatcher
    for name in ("grammar_from_regex", "grammar_from_json_schema"):
        setattr(match, name, getattr(matcher, name))
    monkeypatch.setattr(llguidance, "LLTokenizer", build)
    monkeypatch.setattr(llguidance, "LLMatcher", match)
    tokenizer = Tokenizer.bytes()
    for grammar in (Grammar.regex("a"), Grammar.json_schema(SCHEMA), Grammar.regex("a"), Grammar.json_schema(SCHEMA)):
        grammar.constraint(tokenizer)
    assert built == ["trie", "grammar", "grammar"]


def test_the_end_is_allowed_where_the_text_is_complete_and_only_there() -> None:
    constraint = Grammar.regex("ab?").constraint(BYTES)
    assert (allowed(constraint), constraint.complete, constraint.stopped) == ({ord("a")}, False, False)
    constraint.accept(ord("a"))
    assert (allowed(constraint), constraint.complete, constraint.stopped) == ({ord("b"), EOS}, True, False)
    constraint.accept(ord("b"))
    assert (allowed(constraint), constraint.complete, constraint.stopped) == ({EOS}, True, True)
    constraint.accept(EOS)
    with pytest.raises(InvalidInput, match="does not allow token 98 here"):
        constraint.accept(ord("b"))


def test_every_end_token_is_allowed() -> None:
    constraint = Grammar.regex("1*").constraint(MERGED)
    assert set(MERGED.eos_token_ids) < allowed(constraint, MERGED)
    assert constraint.ends == MERGED.eos_token_ids


def test_what_is_refused_changes_nothing() -> None:
    constraint = Grammar.regex("ab").constraint(BYTES)
    for token in (ord("b"), EOS, 258, -1, 10**9):
        with pytest.raises(InvalidInput, match=f"does not allow token {token}"):
            constraint.accept(token)
    assert not constraint.advance([ord("a"), ord("a")])
    assert constraint.advance([ord("a"), ord("b")])
    assert constraint.complete


def test_a_mask_wider_than_the_vocabulary_is_cleared_behind_it() -> None:
    row = np.full(40, -1, np.int32)
    Grammar.regex("a").constraint(BYTES).fill_mask(row)
    assert np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist() == [ord("a")]


def test_a_copy_goes_its_own_way() -> None:
    constraint = Grammar.json_schema(SCHEMA).constraint(BYTES)
    constraint.advance(constraint.forced())
    copied = constraint.copy()
    copied.advance(b"mass")
    assert allowed(constraint) == {ord("m"), "肺".encode()[0]}
    assert constraint.closes([*b'mass","size":1}'])
    assert not copied.closes([*b'mass","size":1}'])


def test_what_is_forced_is_written_in_the_tokenizers_own_tokens() -> None:
    only = "the only text there is"
    assert Grammar.regex(only).constraint(MERGED).forced() == MERGED.encode(only)
    assert len(MERGED.encode(only)) < len(only) / 2
    constraint = Grammar.json_schema(SCHEMA).constraint(MERGED)
    forced = constraint.forced()
    assert '{"name":"'.startswith(MERGED.decode(forced))
    assert forced == MERGED.encode('{"name":"肺')[: len(forced)]
    assert Grammar.regex("a|b").constraint(MERGED).forced() == []


@settings(deadline=None)
@given(st.lists(st.sampled_from(["肺", "肺结节", "lung", "lungs", "lung nodule", "a", "ab"]), min_size=1, unique=True))
def test_choices_forced_and_masked_as_the_texts_are(texts: list[str]) -> None:
    constraint, written = Grammar.choices(texts).constraint(MERGED), b""
    every = [text.encode() for text in texts]
    while not constraint.stopped:
        assert constraint.complete is (written in every)
        forced = constraint.forced()
        ahead = written + b"".join(MERGED.token_bytes[token] for token in forced)
        assert [text for text in every if text.startswith(ahead)] == [
            text for text in every if text.startswith(written) and (not forced or text != written)
        ]
        token = forced[0] if forced else min(allowed(constraint, MERGED) - set(MERGED.eos_token_ids))
        constraint.accept(token)
        written += MERGED.token_bytes[token]
    assert written in every


def test_a_tokenizer_without_an_end_is_refused() -> None:
    endless = Tokenizer(BYTES.backend)
    with pytest.raises(InvalidInput, match="no token that ends a text"):
        Grammar.regex("a").constraint(endless)
    with pytest.raises(InvalidInput, match="no token that ends a text"):
        Grammar.choices(["a"]).constraint(endless)


def test_without_llguidance_the_command_that_adds_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    tokenizer = Tokenizer.bytes()
    with pytest.raises(MissingExtra, match=r"pip install 'evident\[llm\]'"):
        Grammar.regex("a").constraint(tokenizer)
    assert Grammar.choices(["a"]).constraint(tokenizer).forced() == [ord("a")]
