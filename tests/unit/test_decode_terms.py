"""Terminologies: what can be written is listed, and what is listed is found."""

import json
import re
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from evident_core.decode.closing import ClosingGuard
from evident_core.decode.grammar import Constraint
from evident_core.decode.terms import Found, TermTrie
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput

WORDS = ["lung", "lungs", "lung nodule", "pleural effusion", "effusion", "肺", "肺结节", "结节", "CT", "x-ray", "naïve"]


def merged() -> Tokenizer:
    """A byte-level vocabulary in which words are one token or a few."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([", ".join(WORDS), "、".join(WORDS)] * 9, trainer)
    backend.add_special_tokens(["<|end|>"])
    return Tokenizer(backend, eos_token_ids=[backend.token_to_id("<|end|>")])


BYTES, MERGED = Tokenizer.bytes(), merged()
BOTH = pytest.mark.parametrize("tokenizer", [BYTES, MERGED], ids=["bytes", "merged"])


def allowed(constraint: Constraint, tokenizer: Tokenizer) -> list[int]:
    """The tokens in a mask."""
    row = np.full((tokenizer.vocab_size + 31) // 32 + 2, -1, np.int32)
    constraint.fill_mask(row)
    return [int(token) for token in np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))]


def every_text(trie: TermTrie, tokenizer: Tokenizer) -> set[str]:
    """All texts that the masks allow."""
    found, waiting = set(), [(trie.constraint(tokenizer), b"")]
    while waiting:
        constraint, written = waiting.pop()
        tokens = allowed(constraint, tokenizer)
        assert constraint.complete is bool(set(tokens) & set(tokenizer.eos_token_ids))
        assert constraint.stopped is (set(tokens) <= set(tokenizer.eos_token_ids))
        for token in tokens:
            if token in tokenizer.eos_token_ids:
                found.add(written.decode())
            else:
                further = constraint.copy()
                further.accept(token)
                waiting.append((further, written + tokenizer.token_bytes[token]))
    return found


@BOTH
def test_every_listed_term_can_be_written_and_nothing_else(tokenizer: Tokenizer) -> None:
    assert every_text(TermTrie(WORDS), tokenizer) == set(WORDS)


@BOTH
def test_a_list_has_each_term_at_most_once_and_no_more_than_allowed(tokenizer: Tokenizer) -> None:
    words = ["lung", "lung nodule", "肺", "肺结节"]
    texts = every_text(TermTrie(words, separator=", ", max_terms=3), tokenizer)
    lists = [text.split(", ") for text in texts]
    assert all(set(one) <= set(words) and len(set(one)) == len(one) for one in lists)
    assert sorted(map(len, lists)) == [1] * 4 + [2] * 12 + [3] * 24


def test_terms_and_separators_that_begin_alike_are_told_apart() -> None:
    words = ["a", "a;b", "b", "b;c"]
    texts = every_text(TermTrie(words, separator=";;", max_terms=2), BYTES)
    assert texts == {*words, *(f"{one};;{other}" for one in words for other in words if one != other)}


def test_where_one_term_begins_another_its_end_and_its_continuation_are_open() -> None:
    constraint = TermTrie(["lung", "lung nodule"]).constraint(BYTES)
    assert bytes(constraint.forced()) == b"lung"
    constraint.advance(constraint.forced())
    assert allowed(constraint, BYTES) == [ord(" "), 256]
    assert constraint.complete
    assert constraint.forced() == []
    constraint.accept(ord(" "))
    assert bytes(constraint.forced()) == b"nodule"
    constraint.advance(constraint.forced())
    assert constraint.stopped


def test_terms_are_written_in_the_tokenizers_own_tokens() -> None:
    constraint = TermTrie(["pleural effusion"], separator=", ", max_terms=2).constraint(MERGED)
    assert constraint.forced() == MERGED.encode("pleural effusion")
    listed = TermTrie(["lung", "effusion"], separator=", ", max_terms=2).constraint(MERGED)
    for token in MERGED.encode("lung, effusion"):
        assert token in allowed(listed, MERGED)
        listed.accept(token)
    assert listed.stopped


def test_a_piece_with_a_space_before_the_first_word_is_not_taken() -> None:
    vocab = {piece: n for n, piece in enumerate(["<unk>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *"▁ab", "▁a"])}
    model = models.BPE(vocab=vocab, merges=[("▁", "a")], byte_fallback=True, unk_token="<unk>")
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["</s>"])
    assert every_text(TermTrie(["a", "a b", "肺"]), Tokenizer(backend, eos_token_ids=[1])) == {"a", "a b", "肺"}


@BOTH
@settings(deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, unique=True), data=st.data())
def test_the_closing_is_the_shortest_there_is(tokenizer: Tokenizer, words: list[str], data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 3))
    constraint = TermTrie(words, separator=", ", max_terms=most).constraint(tokenizer)
    for _ in range(data.draw(st.integers(0, 12))):
        tokens = [token for token in allowed(constraint, tokenizer) if token not in tokenizer.eos_token_ids]
        if not tokens:
            break
        constraint.accept(data.draw(st.sampled_from(tokens)))
    closing = constraint.closing(1000)
    assert closing is not None
    assert constraint.closes(closing)
    states, steps = [constraint], 0
    while not any(state.complete for state in states):  # all ways at once, one token after another
        steps += 1
        states = [after for state in states for after in followers(state, tokenizer)]
    assert len(closing) == steps
    assert constraint.closing(steps - 1) is None or steps == 0


def followers(constraint: Constraint, tokenizer: Tokenizer) -> list[Constraint]:
    """The states behind each allowed token."""
    found = []
    for token in allowed(constraint, tokenizer):
        further = constraint.copy()
        further.accept(token)
        found.append(further)
    return found


@BOTH
@settings(deadline=None)
@given(data=st.data())
def test_a_list_ends_within_its_limit(tokenizer: Tokenizer, data: st.DataObject) -> None:
    trie = TermTrie(WORDS, separator="、", max_terms=6)
    shortest = trie.constraint(tokenizer).closing(100)
    assert shortest is not None
    limit = data.draw(st.integers(len(shortest), 40))
    guard = ClosingGuard(trie.constraint(tokenizer), limit)
    admission = guard.start()
    written = [*admission.tokens]
    while admission.finish_reason is None:
        admission = guard.admit(data.draw(st.sampled_from(allowed(guard.constraint, tokenizer))))
        written += admission.tokens
    terms = tokenizer.decode(written).split("、")
    assert set(terms) <= set(WORDS)
    assert len(set(terms)) == len(terms) <= 6
    assert len(written) <= limit


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ([], {}, "terms is empty"),
        ("lung", {}, "must be a list of texts"),
        (["a", ""], {}, r"terms\[1\] is ''"),
        (["a", 5], {}, r"terms\[1\] is 5"),
        (["a", "b", "a"], {}, "'a' twice, at 0 and 2"),
        (["a"], {"max_terms": 2}, "needs a separator"),
        (["a"], {"max_terms": 0}, "must be at least 1"),
        (["a", "b, c"], {"max_terms": 2, "separator": ", "}, r"terms\[1\], 'b, c', has the separator ', ' in it"),
    ],
)
def test_terms_that_cannot_be_told_apart_are_refused(terms: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TermTrie(terms, **options)


def test_a_term_that_the_tokenizer_cannot_write_is_named() -> None:
    backend = tokenizers.Tokenizer.from_str(BYTES.backend.to_str())
    backend.normalizer = normalizers.Lowercase()
    with pytest.raises(InvalidInput, match="cannot write 'CT': it makes 'ct' of it"):
        TermTrie(["lung", "CT"]).constraint(Tokenizer(backend, eos_token_ids=[256]))
    with pytest.raises(InvalidInput, match="half of a surrogate pair"):
        TermTrie(["\ud800"]).constraint(BYTES)


def test_tries_are_equal_and_hashed_by_what_they_say() -> None:
    one, same, other = TermTrie(["a", "b"]), TermTrie(("a", "b")), TermTrie(["a", "b"], separator=",", max_terms=2)
    assert one == same != other
    assert len({one, same, other}) == 2
    assert len(one) == 2


def test_ten_thousand_terms_are_told_apart() -> None:
    terms = [
        f"{first}{second}{number}" for first in "肺心肝肾" for second in ("结节", " mass") for number in range(1250)
    ]
    trie = TermTrie(terms)
    constraint = trie.constraint(MERGED)
    for token in MERGED.encode("肾 mass1249", continued=True):
        assert token in allowed(constraint, MERGED)
        constraint.accept(token)
    assert constraint.complete
    assert [found.term for found in trie.find("见肺结节7，及肝 mass1000。")] == ["肺结节7", "肝 mass1000"]


def test_a_term_may_not_come_here() -> None:
    constraint = TermTrie(["ab"]).constraint(BYTES)
    for token in (ord("b"), 256, -1, 10**9):
        with pytest.raises(InvalidInput, match=f"No listed term allows token {token} here"):
            constraint.accept(token)
    assert not constraint.advance(b"aa")
    assert constraint.advance(b"ab")
    constraint.accept(256)
    assert constraint.stopped
    with pytest.raises(InvalidInput):
        constraint.accept(256)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lung", ["lung"]),
        ("a lung nodule, lungs", ["lung nodule", "lungs"]),
        ("lunge plunging lung_x", []),
        ("lung-nodule", ["lung"]),
        ("双肺结节及结节", ["肺结节", "结节"]),
        ("肺CT检查", ["肺", "CT"]),
        ("CTA of CT2", []),
        ("naïve naïveté", ["naïve"]),
        ("nai\u0308ve lung\u0301", []),
        ("Lung ct", []),
        ("", []),
    ],
)
def test_the_longest_terms_are_found_where_words_begin_and_end(text: str, expected: list[str]) -> None:
    found = TermTrie(WORDS).find(text)
    assert [one.term for one in found] == expected
    assert all(text[one.start : one.end] == one.term for one in found)


def test_a_term_is_found_in_any_case_if_asked() -> None:
    trie = TermTrie(["Straße", "CT", "ct", "İx"])
    assert trie.find("STRASSE ct CT ẞ i̇x", fold_case=True) == [
        Found("Straße", 0, 7),
        Found("CT", 8, 10),
        Found("CT", 11, 13),
        Found("İx", 16, 19),
    ]
    assert TermTrie(["s"]).find("ß", fold_case=True) == []


@settings(deadline=None)
@given(st.lists(st.text("ab 肺结", min_size=1, max_size=4), min_size=1, unique=True), st.text("ab 肺结", max_size=20))
def test_found_terms_are_those_of_a_plain_search(terms: list[str], text: str) -> None:
    latin = "[ab]"
    pattern = "|".join(
        (f"(?<!{latin})" if re.match(latin, term) else "")
        + re.escape(term)
        + (f"(?!{latin})" if re.search(f"{latin}$", term) else "")
        for term in sorted(terms, key=len, reverse=True)
    )
    expected = [Found(match[0], match.start(), match.end()) for match in re.finditer(pattern, text)]
    assert TermTrie(terms).find(text) == expected


def test_a_grammar_of_choices_is_a_trie_of_terms() -> None:
    from evident_core.decode.grammar import Grammar

    grammar = Grammar.choices(WORDS)
    assert json.loads(grammar.source) == WORDS
    assert allowed(grammar.constraint(MERGED), MERGED) == allowed(TermTrie(WORDS).constraint(MERGED), MERGED)
