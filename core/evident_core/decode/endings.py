"""The search for the shortest end of a text: what to write so that it is complete under its grammar.

Mask legend: V vocabulary.
"""

import heapq
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from evident_core.errors import ResourceExceeded

if TYPE_CHECKING:
    from evident_core.decode.grammar import Constraint

_CLOSERS: Final = frozenset(b"\"'`)]}>")
_QUOTE: Final = ord('"')
_COMMA: Final = ord(",")
_QUOTES: Final = frozenset(b"\"'`")
_JSON_CLOSERS: Final = frozenset(b'"]}')
_MARKS: Final = frozenset(b'"]},:')
_OPENERS: Final = frozenset(b"([{<")
_LIKELY: Final = b'"]}),:0 1an-te.\xe4'
"""First bytes that are tried in any grammar, the likeliest to lead to an end first."""

# How wide a search is: first bytes that are tried at a place, in the quick search and in the thorough one, and where
# none of the likely ones may come; how many branches that end a part are enough.
_GROUPS: Final = 24
_EVERY: Final = 96
_SOME: Final = 12
_ENOUGH: Final = 3
# How long it is: masks that are computed, and seconds for grammars each of whose masks is slow.
_LOOKS: Final = 600
_LOOKS_THOROUGH: Final = 3000
_SECONDS: Final = 1.0
# What tells places apart: forced tokens that are compared, and how many tokens a mask has that is surely of
# free text, and surely not.
_TAIL: Final = 6
_MANY: Final = 256
_FEW: Final = 64
# When what waits has its turn, and how often one token is repeated to come through a least length.
_TURN: Final = 16
_REPEATS: Final = 128


class Alphabet:
    """The tokens of a vocabulary by what they are good for in bringing a text to its end.

    Args:
        pieces: The bytes of each token.
        ends: Tokens that end a text.
    """

    def __init__(self, pieces: Sequence[bytes], ends: Sequence[int]) -> None:
        usable = [token for token, piece in enumerate(pieces) if piece and token not in ends]
        alone = {pieces[token]: token for token in usable}  # of two tokens with the same bytes the later, a real piece
        closers = [
            token
            for piece, token in alone.items()
            if set(piece) <= _JSON_CLOSERS or (len(piece) == 1 and piece[0] in _CLOSERS)
        ]
        self._every, self._closers = _ByFirst(usable, pieces), _ByFirst(closers, pieces)
        self.pieces, self.token_of = pieces, alone
        self.closing_words = _words(closers, len(pieces))
        self.quote_words = _words([token for token in closers if pieces[token][0] == _QUOTE], len(pieces))
        self.brackets = frozenset(token for token in closers if _QUOTE not in pieces[token])
        self.marks = frozenset(token for token in usable if not _MARKS.isdisjoint(pieces[token]))
        self.length = [len(piece) for piece in pieces]
        self.depth = [sum((byte in _OPENERS) - (byte in _CLOSERS) for byte in piece) for piece in pieces]
        self.vocab_size = len(pieces)

    def branches(self, mask: NDArray[np.int32], hints: "Hints", *, thorough: bool) -> list[int]:
        """A few allowed tokens, such that one of them is likely on the shortest way to an end, the likeliest first.

        Args:
            mask: The words of a mask.
            hints: Of the grammar.
            thorough: Try all first bytes, and not only what closes.
        """
        allowed_V = np.unpackbits(mask.view(np.uint8), count=self.vocab_size, bitorder="little").view(bool)
        closers = self._closers.extremes(allowed_V, hints.likely, _EVERY)
        others = self._every.extremes(allowed_V, hints.likely, _EVERY if thorough else _GROUPS)
        if not hints.is_json:
            brackets = [token for token in closers if token in self.brackets]
            is_text = int(allowed_V.sum()) >= _FEW  # where a bracket closes nothing
            return list(dict.fromkeys([*closers, *others])) if thorough or is_text or not brackets else brackets
        much = len(others) >= _GROUPS
        if not any(self.pieces[token][0] == _QUOTE for token in closers):
            # Outside strings a comma means that a value is whole, and nothing is shorter than to leave it at that.
            commas = [token for token in others if self.pieces[token][0] == _COMMA]
            if commas and not much:
                return closers or commas
            if closers and much and not thorough:  # a string that may not end yet, where brackets are mere text
                return sorted(others, key=lambda token: -self.length[token])[:_ENOUGH]
        # Only what closes leads to an end. But a quote opens as well: it closes where much else is allowed.
        certain = much or any(not set(self.pieces[token]) <= _QUOTES for token in closers)
        return closers if closers and certain and not thorough else list(dict.fromkeys([*closers, *others]))


def _words(tokens: Sequence[int], vocab_size: int) -> NDArray[np.int32]:
    bits = np.zeros(32 * ((vocab_size + 31) // 32), np.uint8)
    bits[list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view(np.int32)


class _ByFirst:
    """Tokens by their first byte, the longest of each first."""

    def __init__(self, tokens: list[int], pieces: Sequence[bytes]) -> None:
        order = sorted(tokens, key=lambda token: (pieces[token][0], -len(pieces[token])))
        self._order = np.array(order, np.int64)
        self._first = np.array([pieces[token][0] for token in order], np.int64)

    def extremes(self, allowed_V: NDArray[np.bool_], likely: Sequence[int], groups: int) -> list[int]:
        """Of the allowed tokens the longest and the shortest of each of the likeliest first bytes."""
        chosen = allowed_V[self._order]
        tokens, first = self._order[chosen], self._first[chosen]
        if not len(tokens):
            return []
        starts = np.flatnonzero(np.diff(first, prepend=-1))
        ends = np.append(starts[1:], len(first)) - 1
        group = {int(byte): place for place, byte in enumerate(first[starts])}
        kept = [group[byte] for byte in likely if byte in group][:groups]
        # Where none of the likely is allowed (within a character) some others; every other only if there is room.
        kept += list(group.values())[: _SOME if not kept else max(0, groups - len(group))]
        return [int(tokens[place]) for one in dict.fromkeys(kept) for place in dict.fromkeys((starts[one], ends[one]))]


@dataclass(frozen=True, slots=True)
class Hints:
    """What a grammar's source tells of its texts' ends.

    Attributes:
        likely: First bytes of tokens that may lead to an end, the likeliest first.
        is_json: Whether quotes and brackets close what they close in JSON.
        samples: Tokens that may do so together, the fewest first.
    """

    likely: tuple[int, ...]
    is_json: bool
    samples: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, source: str, *, is_json: bool) -> "Hints":
        """Likely is what closes something, and what the source names."""
        return cls(tuple(dict.fromkeys([*_LIKELY, *(piece[0] for piece in map(str.encode, source))])), is_json)


@dataclass(slots=True)
class _Place:
    """A state that the search has come to.

    ``ended`` counts the parts that came to their end on the way to it: choices behind which something was forced.
    ``mask`` and the number of tokens ``allowed`` are known once the place is looked at.
    """

    state: "Constraint"
    before: "_Place | None" = None
    span: tuple[int, ...] = ()
    written: int = 0
    depth: int = 0
    length: int = 0
    ended: int = 0
    hops: int = 0
    stands: bool = False
    late: bool = False
    mask: bytes = b""
    allowed: int = 0

    def ancestors(self) -> Iterator["_Place"]:
        place = self.before
        while place is not None:
            yield place
            place = place.before

    @property
    def level(self) -> int:
        """Brackets that were opened less those that were closed on the way; 0 in free text, where they mean nothing."""
        return self.depth if self.allowed < _FEW else 0

    @property
    def tail(self) -> tuple[int, ...]:
        """The last tokens that were forced."""
        return self.span[1:][-_TAIL:]

    def way(self) -> list[int]:
        """The tokens that lead here."""
        parts = [self.span, *(place.span for place in self.ancestors())]
        return [token for part in reversed(parts) for token in part]


def shortest_end(
    constraint: "Constraint", alphabet: Alphabet, hints: Hints, limit: int, *, thorough: bool = False
) -> list[int] | None:
    """The shortest continuation found after which a text is complete.

    Best-first over copies of the constraint: forced spans are followed to their end, and at a choice a few tokens are
    tried, those first that close what is open, and ways that have brought more parts to their end. The search is
    bounded, so a shorter end may exist.

    Args:
        constraint: Where the text is; not changed.
        alphabet: Of the constraint's tokenizer.
        hints: Of the constraint's grammar.
        limit: Most tokens.
        thorough: Look on for a shorter end, or for one at all, with all kinds of tokens, the shortest ways first: tens
            to hundreds of milliseconds instead of a few.

    Returns:
        Tokens; [] if it is complete, None if no end was found within the limit.
    """
    if constraint.complete:
        return []
    quick = _Search(alphabet, hints, limit, thorough=False).run(constraint)
    if not thorough or quick == []:
        return quick
    better = _Search(alphabet, hints, limit if quick is None else len(quick) - 1, thorough=True).run(constraint)
    return quick if better is None else better


_Entry = tuple[tuple[int, ...], _Place]


class _Search:
    """One search.

    What a state is cannot be asked, only what it allows. A state that allows what its parent does, or of very much a
    little less (one more letter in a string), or what a shorter way allowed at as many like places before (a longer
    number), is most likely a detour. But a text with a least length looks so too: such a state waits, and has a turn
    now and then.
    """

    def __init__(self, alphabet: Alphabet, hints: Hints, limit: int, *, thorough: bool) -> None:
        self.alphabet, self.hints, self.limit, self.thorough = alphabet, hints, limit, thorough
        self._exits = alphabet.quote_words if hints.is_json else alphabet.closing_words
        self._looks = _LOOKS_THOROUGH if thorough else _LOOKS
        self._until = time.monotonic() + _SECONDS
        self._row = np.zeros((alphabet.vocab_size + 31) // 32, np.int32)
        self._heaps: tuple[list[_Entry], list[_Entry]] = ([], [])  # the second of places that wait
        self._pops = 0
        self._order = itertools.count()
        self._first_at: dict[tuple[bytes, tuple[int, ...], int, int], int] = {}
        self._expanded: set[tuple[bytes, int, int]] = set()
        self._repeated: set[tuple[bytes, int]] = set()

    def run(self, constraint: "Constraint") -> list[int] | None:
        """The tokens of the first end that is found."""
        self._push(self._follow(_Place(constraint), ()))
        while (place := self._pop()) is not None and self._looks > 0 and time.monotonic() < self._until:
            if place.state.complete:
                return place.way()
            if place.written < self.limit and (place.mask or self._look(place)):
                if place.stands and len(place.span) == 1 and not self._allows(place, self._exits):
                    self._repeat(place)
                self._expand(place)
        return None

    def _push(self, place: "_Place | None") -> None:
        if place is None:
            return
        ended, hops = (0, 0) if self.thorough else (place.ended, place.hops if place.late else 0)
        if place.state.complete and not self.thorough:
            ended = self.limit
        # What was opened on the way takes tokens to close, and what was closed is done.
        value = (-ended, -hops, place.written + place.depth, -place.length, next(self._order))
        heapq.heappush(self._heaps[place.late], (value, place))

    def _pop(self) -> "_Place | None":
        self._pops += 1
        going, waiting = self._heaps
        heap = waiting if waiting and (not going or self._pops % _TURN == 0) else going
        return heapq.heappop(heap)[1] if heap else None

    def _follow(self, before: _Place, tokens: Sequence[int]) -> "_Place | None":
        """The place behind some tokens and what they force; None if they may not come or the limit is passed."""
        state = before.state.copy()
        if not state.advance(tokens):
            return None
        forced = [] if state.complete else state.forced()
        span = (*tokens, *forced)
        written = before.written + len(span)
        if written > self.limit:
            return None
        state.advance(forced)
        depth = before.depth
        if before.allowed < _FEW:  # in free text brackets mean nothing
            depth += sum(self.alphabet.depth[one] for one in span)
        length = sum(self.alphabet.length[one] for one in span)
        # What is forced within a string of JSON, by its pattern, ends nothing.
        ended = bool(forced) and not (self.hints.is_json and self.alphabet.marks.isdisjoint(span))
        return _Place(state, before, span, written, depth, length, before.ended + ended, before.hops + 1)

    def _look(self, place: _Place) -> bool:
        """See what a place allows; whether it is gone on from at once."""
        if not self._see(place):
            return False
        place.stands = self._stands(place)
        place.late = place.stands or self._is_detour(place)
        if place.late:
            self._push(place)
        return not place.late

    def _is_detour(self, place: _Place) -> bool:
        """Whether a shorter way came to such a place: one after as many like it, behind the same forced tokens."""
        like = [one for one in place.ancestors() if one.mask == place.mask and one.tail == place.tail]
        number = sum(not one.stands for one in like)
        return self._first_at.setdefault((place.mask, place.tail, number, place.level), place.written) < place.written

    def _see(self, place: _Place) -> bool:
        self._looks -= 1
        try:
            place.state.fill_mask(self._row)
        except ResourceExceeded:  # nothing can follow here, or the parser gives up: no way to an end either way
            return False
        place.mask = self._row.tobytes()
        place.allowed = int(np.unpackbits(self._row.view(np.uint8)).sum())
        return True

    def _stands(self, place: _Place) -> bool:
        """Whether a place allows what its parent does, or, a token later, a little less than much: a string's most."""
        before = place.before.mask if place.before else b""
        if not place.before or not before:
            return False
        if before == place.mask:
            # A part that ended and is to come once more is no detour while nothing can be closed: a list's least items.
            if len(place.span) > 1:
                return place.tail == place.before.tail and self._allows(place, self.alphabet.closing_words)
            # Nor is the end of one object after another, each of which could go on: brackets outside of free text.
            return place.allowed >= _FEW or place.span[0] not in self.alphabet.brackets
        if len(place.span) > 1 or (self._row & ~np.frombuffer(before, np.int32)).any():
            return False
        return place.allowed > _MANY

    @staticmethod
    def _allows(place: _Place, words: NDArray[np.int32]) -> bool:
        return bool((np.frombuffer(place.mask, np.int32) & words).any())

    def _repeat(self, place: _Place) -> None:
        """Go on by the same token until something changes: the quick way to a least length."""
        key = (place.mask, place.ended)
        if key in self._repeated:
            return
        self._repeated.add(key)
        token = place.span[0]
        for _ in range(_REPEATS):
            after = self._follow(place, (token,))
            if after is None:
                return
            if after.state.complete or len(after.span) > 1:
                self._push(after)
                return
            if not self._see(after):
                return
            if not self._stands(after):
                after.mask = b""  # it is looked at like any other
                self._push(after)
                return
            place = after

    def _expand(self, place: _Place) -> None:
        key = (place.mask, place.level, place.written)
        if key in self._expanded:
            return
        self._expanded.add(key)
        row = np.frombuffer(place.mask, np.int32)
        ended = 0
        for token in self.alphabet.branches(row, self.hints, thorough=self.thorough):
            after = self._follow(place, (token,))
            self._push(after)
            ended += after is not None and _has_ended(after)
            if ended == _ENOUGH and not self.thorough:
                break
        ended = 0
        for sample in self.hints.samples:
            if ended < _ENOUGH and int(row[sample[0] >> 5]) >> (sample[0] & 31) & 1:
                after = self._follow(place, sample)
                if after is not None and (len(after.span) > len(sample) or after.state.complete):
                    self._push(after)
                    ended += 1


def _has_ended(place: _Place) -> bool:
    """Whether the last choice on a way ended a part."""
    return len(place.span) > 1 or place.state.complete
