"""Ends that are known already: at most places of a text, what is left to write is the last part of another end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from evident_core.errors import ResourceExceeded

if TYPE_CHECKING:
    from evident_core.decode.endings import Alphabet
    from evident_core.decode.grammar import Constraint

_MOST: Final = 2048
"""Parts that are kept; where more are met they are looked for each time."""
_LONGEST: Final = 8
"""Bytes of a token's end that a part may begin with."""


class KnownEnds:
    """Ends of texts under one grammar, to find that of another place without a search.

    A list that has begun another item, a value that was chosen, a string that has its least length: behind it the same
    follows as where an end is known, so a part of that end ends this text too. Whether it does is asked, not assumed.

    Args:
        alphabet: Of the tokenizer.
    """

    def __init__(self, alphabet: "Alphabet") -> None:
        self._alphabet = alphabet
        self._parts: dict[int, set[tuple[int, ...]]] = {}
        self._count = 0

    def add(self, end: Sequence[int]) -> None:
        """Keep all parts of an end of a text, those as well that begin within a token."""
        pieces, token_of = self._alphabet.pieces, self._alphabet.token_of
        for at, token in enumerate(end):
            rest, piece = tuple(end[at + 1 :]), pieces[token]
            self._keep(token, rest)
            for length in range(1, min(len(piece), _LONGEST)):
                if (begun := token_of.get(piece[-length:])) is not None:
                    self._keep(begun, rest)

    def _keep(self, token: int, rest: tuple[int, ...]) -> None:
        parts = self._parts.setdefault(token, set())
        if self._count < _MOST and (token, *rest) not in parts:
            parts.add((token, *rest))
            self._count += 1

    def find(self, state: "Constraint", limit: int) -> list[int] | None:
        """The shortest part of a known end that ends this text within the limit; None if none does."""
        if state.complete:
            return []
        forced = state.forced()
        if forced:
            state = state.copy()
            state.advance(forced)
            if state.complete:
                return forced if len(forced) <= limit else None
        row = np.zeros((self._alphabet.vocab_size + 31) // 32, np.int32)
        try:
            state.fill_mask(row)
        except ResourceExceeded:  # nothing can follow here
            return None
        room = limit - len(forced)
        fitting = [
            part
            for token, parts in self._parts.items()
            if int(row[token >> 5]) >> (token & 31) & 1
            for part in parts
            if len(part) <= room
        ]
        for part in sorted(fitting, key=lambda part: (len(part), part)):
            if state.closes(part):
                return [*forced, *part]
        return None
