"""Terminologies: only listed terms can be written, and listed terms are found in texts.

A term is written in the tokens that the tokenizer itself gives it. Where one term begins another ("lung", "lung
nodule") both its end and its continuation are open, and the model decides.
"""

import heapq
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evident_core.decode.grammar import mask_words, must_have_end
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput

# Scripts without spaces between words: Thai, Lao, Burmese and Khmer, kana, Han.
_UNSPACED: Final = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A listed term in a text, at ``text[start:end]``."""

    term: str
    start: int
    end: int


class TermTrie:
    """The listed terms; accepted wherever a ``Grammar`` is.

    Args:
        terms: The terms, in any language.
        separator: What stands between terms where several may be written (", ", "、").
        max_terms: Most terms that are written; each at most once.
        name: What errors call the list.

    Raises:
        InvalidInput: There is no term, a term is empty or is there twice, several are allowed without a separator, or
            a term has the separator in it.
    """

    def __init__(
        self, terms: Iterable[str], separator: str | None = None, max_terms: int = 1, *, name: str = "terms"
    ) -> None:
        if isinstance(terms, str):
            raise InvalidInput(f"{name} is the text {terms!r:.80}; it must be a list of texts.", parameter=name)
        self.terms = tuple(terms)
        self.separator, self.max_terms = separator, max_terms
        if not self.terms:
            raise InvalidInput(f"{name} is empty, so that nothing could be written.", parameter=name)
        seen: dict[str, int] = {}
        for place, term in enumerate(self.terms):
            if not isinstance(term, str) or not term:
                raise InvalidInput(f"{name}[{place}] is {term!r:.80}; it must be a text.", parameter=name, place=place)
            if seen.setdefault(term, place) != place:
                raise InvalidInput(
                    f"{name} has {term!r:.80} twice, at {seen[term]} and {place}; list it once.",
                    parameter=name,
                    place=place,
                )
            if separator and max_terms > 1 and separator in term:
                raise InvalidInput(
                    f"{name}[{place}], {term!r:.80}, has the separator {separator!r} in it, so that a list could not "
                    "be taken apart; choose another separator.",
                    parameter=name,
                    place=place,
                )
        if max_terms < 1:
            raise InvalidInput(f"max_terms is {max_terms}; it must be at least 1.", parameter="max_terms")
        if max_terms > 1 and not separator:
            raise InvalidInput(f"max_terms is {max_terms}, which needs a separator.", parameter="separator")
        self._name = name
        self._key = hash((self.terms, separator, max_terms))
        self._tries: WeakKeyDictionary[Tokenizer, _Trie] = WeakKeyDictionary()

    def __hash__(self) -> int:
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TermTrie) and (self.terms, self.separator, self.max_terms) == (
            other.terms,
            other.separator,
            other.max_terms,
        )

    def __len__(self) -> int:
        return len(self.terms)

    def constraint(self, tokenizer: Tokenizer) -> "_TermConstraint":
        """What keeps one text to these terms; compiled at the first call for a tokenizer.

        Raises:
            InvalidInput: The tokenizer cannot write a term, or has no token that ends a text.
        """
        trie = self._tries.get(tokenizer)
        if trie is None:
            trie = self._tries[tokenizer] = _Trie(self, tokenizer)
        return _TermConstraint(trie)

    def find(self, text: str, *, fold_case: bool = False) -> list[Found]:
        """The listed terms in a text, from left to right, of several at one place the longest.

        A term that begins or ends with a letter or digit of a script with spaces must begin or end a word there:
        "lung" is not in "lunge". Scripts without spaces have no such rule.

        Args:
            text: Any text.
            fold_case: Take letters for the same that differ in case only (``str.casefold``).

        Returns:
            Places that do not overlap; ``term`` as it is listed.
        """
        terms, lengths = self._folded if fold_case else self._exact
        parts = [character.casefold() if fold_case else character for character in text]
        folded = "".join(parts)
        # Where each character of the folded text begins in the text; -1 within what one character became.
        origin = [at if within == 0 else -1 for at, part in enumerate(parts) for within in range(len(part))]
        origin.append(len(text))
        found, place = [], 0
        while place < len(folded):
            for length in lengths.get(folded[place], ()):
                start, end = place, place + length
                term = terms.get(folded[start:end]) if end <= len(folded) else None
                if term is not None and origin[start] >= 0 and origin[end] >= 0 and _is_word(folded, start, end):
                    found.append(Found(term, origin[start], origin[end]))
                    place = end
                    break
            else:
                place += 1
        return found

    @cached_property
    def _exact(self) -> tuple[dict[str, str], dict[str, list[int]]]:
        return _by_first({term: term for term in self.terms})

    @cached_property
    def _folded(self) -> tuple[dict[str, str], dict[str, list[int]]]:
        folded: dict[str, str] = {}
        for term in self.terms:  # of terms that differ in case only the first listed
            folded.setdefault("".join(character.casefold() for character in term), term)
        return _by_first(folded)


def _by_first(terms: dict[str, str]) -> tuple[dict[str, str], dict[str, list[int]]]:
    """The terms, and for each first character the lengths of its terms, the longest first."""
    lengths: dict[str, set[int]] = {}
    for term in terms:
        lengths.setdefault(term[0], set()).add(len(term))
    return terms, {first: sorted(some, reverse=True) for first, some in lengths.items()}


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether a term's place begins and ends where words do."""
    begins = start == 0 or not (_is_spaced(text[start]) and _is_spaced(text[start - 1]))
    return begins and (end == len(text) or not (_is_spaced(text[end - 1]) and _continues(text[end])))


def _is_spaced(character: str) -> bool:
    """Whether it is part of a word in a script that has spaces between words."""
    if character.isascii():
        return character.isalnum() or character == "_"
    if not (character.isalnum() or unicodedata.combining(character)):
        return False
    return not any(low <= ord(character) <= high for low, high in _UNSPACED)


def _continues(character: str) -> bool:
    return _is_spaced(character) or unicodedata.combining(character) != 0


class _Trie:
    """Terms as tokens: nodes are numbers, the first is where a text begins, the second where a further term does."""

    def __init__(self, terms: TermTrie, tokenizer: Tokenizer) -> None:
        self.ends = must_have_end(tokenizer)
        self.max_terms = terms.max_terms
        self.words = mask_words(tokenizer.vocab_size)
        self.children: list[dict[int, int]] = [{}, {}]
        self.parent = [-1, -1]
        self.token = [-1, -1]
        self.term = [-1, -1]
        """Which term ends at a node; -1 for none."""
        self.terms_below = [0, 0]
        self.leaf: list[int] = []
        """The node at which each term ends as a further one."""
        separator = terms.separator or ""
        for place, ids in enumerate(self._spell(terms, tokenizer, "")):
            self._add(0, ids, place)
        if terms.max_terms > 1:
            self.leaf = [self._add(1, ids, place) for place, ids in enumerate(self._spell(terms, tokenizer, separator))]
        self.distance = [0 if term >= 0 else 1 << 30 for term in self.term]
        """Fewest tokens from a node to the end of a term."""
        for node in range(len(self.parent) - 1, 1, -1):
            above = self.parent[node]
            self.distance[above] = min(self.distance[above], self.distance[node] + 1)
        self._bits: dict[int, tuple[NDArray[np.int64], NDArray[np.int32]]] = {}

    def _spell(self, terms: TermTrie, tokenizer: Tokenizer, before: str) -> Iterator[list[int]]:
        pieces = tokenizer.token_bytes
        texts = [before + term for term in terms.terms]
        for place, (text, ids) in enumerate(zip(texts, tokenizer.encode_all(texts, continued=True), strict=True)):
            if b"".join(pieces[token] for token in ids) != text.encode():
                raise InvalidInput(
                    f"The tokenizer cannot write {text!r:.80}: it makes {tokenizer.decode(ids, continued=True)!r:.80} "
                    "of it. Remove the term, or write it in characters of the vocabulary.",
                    place=place,
                )
            yield ids

    def _add(self, node: int, ids: Sequence[int], term: int) -> int:
        self.terms_below[node] += 1
        for token in ids:
            below = self.children[node].get(token)
            if below is None:
                below = self.children[node][token] = len(self.parent)
                self.children.append({})
                self.parent.append(node)
                self.token.append(token)
                self.term.append(-1)
                self.terms_below.append(0)
            node = below
            self.terms_below[node] += 1
        self.term[node] = term
        return node

    def bits(self, node: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The words of a mask that a node's children touch, and their bits in them."""
        found = self._bits.get(node)
        if found is None:
            tokens = np.fromiter(self.children[node], np.int64)
            words, group = np.unique(tokens >> 5, return_inverse=True)
            bits = np.zeros(len(words), np.uint32)
            np.bitwise_or.at(bits, group, np.uint32(1) << (tokens & 31).astype(np.uint32))
            found = self._bits[node] = (words, bits.view(np.int32))
        return found


@dataclass(frozen=True, slots=True)
class _At:
    """A reading of the text so far: the node it is at, the terms before, and how many of them lie below each node."""

    node: int
    used: frozenset[int]
    spent: dict[int, int]


class _TermConstraint:
    """A text of one trie. It has several readings where a term goes on as the separator begins."""

    __slots__ = ("_ended", "_readings", "_trie", "ends")

    def __init__(self, trie: _Trie) -> None:
        self._trie, self.ends, self._ended = trie, trie.ends, False
        self._readings: tuple[_At, ...] = (_At(0, frozenset(), {}),)

    margin = 0

    def fill_mask(self, row: NDArray[np.int32]) -> None:
        row.fill(0)
        if not self._ended:
            for reading in self._readings:
                self._allow(row, reading)
                further = self._further(reading)
                if further is not None:
                    self._allow(row, further)
        if self.complete:
            for token in self.ends:
                row[token >> 5] |= np.int32(np.uint32(1 << (token & 31)).view(np.int32))

    def _allow(self, row: NDArray[np.int32], reading: _At) -> None:
        trie, node = self._trie, reading.node
        if not trie.children[node]:
            return
        words, bits = trie.bits(node)
        gone = [
            trie.token[below]
            for below, count in reading.spent.items()
            if trie.parent[below] == node and count == trie.terms_below[below]
        ]
        if gone:
            bits = bits.copy()
            for token in gone:
                place = int(np.searchsorted(words, token >> 5))
                bits[place] &= ~np.uint32(1 << (token & 31)).view(np.int32)
        row[words] |= bits

    def accept(self, token: int) -> None:
        if token in self.ends and self.complete and not self._ended:
            self._ended = True
            return
        readings = () if self._ended else self._after(self._readings, token)
        if not readings:
            raise InvalidInput(f"No listed term allows token {token} here.", token=token)
        self._readings = readings

    def advance(self, tokens: Sequence[int]) -> bool:
        readings = () if self._ended else self._readings
        for token in tokens:
            readings = self._after(readings, token)
        if not readings:
            return not tokens
        self._readings = readings
        return True

    def _after(self, readings: tuple[_At, ...], token: int) -> tuple[_At, ...]:
        after = []
        for reading in readings:
            for start in (reading, self._further(reading)):
                below = None if start is None else self._trie.children[start.node].get(token)
                if start is not None and below is not None and self._left(start, below):
                    after.append(_At(below, start.used, start.spent))
        return tuple(after)

    def _left(self, reading: _At, node: int) -> int:
        """How many terms that may still be written lie at a node and below."""
        return self._trie.terms_below[node] - reading.spent.get(node, 0)

    def _ends_term(self, reading: _At) -> bool:
        term = self._trie.term[reading.node]
        return term >= 0 and term not in reading.used

    def _further(self, reading: _At) -> _At | None:
        """Where a further term begins, if the text may go on by one."""
        if len(reading.used) + 1 >= self._trie.max_terms or not self._ends_term(reading):
            return None
        trie = self._trie
        term = trie.term[reading.node]
        spent = dict(reading.spent)
        node = trie.leaf[term]
        while node >= 0:
            spent[node] = spent.get(node, 0) + 1
            node = trie.parent[node]
        further = _At(1, reading.used | {term}, spent)
        return further if self._left(further, 1) else None

    def _options(self, readings: tuple[_At, ...]) -> Iterator[int]:
        """Tokens that may come."""
        for reading in readings:
            for start in (reading, self._further(reading)):
                if start is not None:
                    for token, below in self._trie.children[start.node].items():
                        if self._left(start, below):
                            yield token

    def forced(self) -> list[int]:
        readings = self._readings
        tokens: list[int] = []
        while not self._ended and not any(map(self._ends_term, readings)):
            some = set(itertools.islice(self._options(readings), 2 * len(readings) + 1))
            if len(some) != 1:
                break
            tokens += some
            readings = self._after(readings, tokens[-1])
        return tokens

    @property
    def complete(self) -> bool:
        return any(map(self._ends_term, self._readings))

    @property
    def stopped(self) -> bool:
        return self._ended or (self.complete and next(self._options(self._readings), None) is None)

    def closing(self, limit: int, *, thorough: bool = False) -> list[int] | None:  # noqa: ARG002
        """The shortest of all: exact, by the distances that the trie knows; terms that were used lengthen some."""
        trie = self._trie
        order = itertools.count()
        heap: list[tuple[int, int, int, _At, tuple[int, ...]]] = [
            (trie.distance[one.node], next(order), one.node, one, ()) for one in self._readings
        ]
        heapq.heapify(heap)
        while heap:
            value, _, node, reading, way = heapq.heappop(heap)
            if value > limit:
                return None
            if trie.term[node] >= 0 and trie.term[node] not in reading.used:
                return list(way)
            for token, below in trie.children[node].items():
                if self._left(reading, below):
                    value = len(way) + 1 + trie.distance[below]
                    heapq.heappush(heap, (value, next(order), below, reading, (*way, token)))
        return None

    def closes(self, tokens: Sequence[int]) -> bool:
        readings = self._readings
        for token in tokens:
            readings = self._after(readings, token)
        return any(map(self._ends_term, readings))

    def copy(self) -> "_TermConstraint":
        copied = _TermConstraint(self._trie)
        copied._readings, copied._ended = self._readings, self._ended
        return copied
