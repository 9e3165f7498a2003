"""Text under a grammar always parses, also when ``max_tokens`` ends it.

How: while a text is written, a short end of it is known and kept to fit into the tokens that are left. A token after
which none fits any more is not written; the end is written in its place, and the text is finished for its "length".
What the end says is the grammar's least (an empty list, the number 0, the first word of a list), not the model's: who
reads such a text sees ``finish_reason`` "length".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from evident_core.errors import InvalidInput, ResourceExceeded

if TYPE_CHECKING:
    from evident_core.decode.generator import FinishReason
    from evident_core.decode.grammar import Constraint

_SPARE: Final = 96
_PERIOD: Final = 32
_FAR: Final = 4096
"""Most tokens of an end that is looked for where no limit is given."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What is written for a token.

    Attributes:
        tokens: The token and those that the grammar forces behind it, or the end in its place; none for the token that
            ends a text.
        finish_reason: "stop" where the grammar allows no more or the model ended the text, "length" where the end was
            written for want of tokens; None while the text goes on.
    """

    tokens: tuple[int, ...]
    finish_reason: "FinishReason | None" = None


class ClosingGuard:
    """Keeps one text such that it can always be brought to its end in time.

    :meth:`start` gives what is forced before the model is asked; then, for each token that the model chose under
    ``guard.constraint.fill_mask``, :meth:`admit` gives what is written. Nothing that was given is taken back.

    Most tokens cost one question: does the end known before still end the text? Where it does not, a new one is looked
    for; at once where the limit is near, else every 32 tokens at the latest. The limit is far while there is room for
    the known end, for the largest part that one token may open (``constraint.margin``), and for 96 tokens at least.
    Should the end have grown beyond what is left all the same, parsing wins over the limit: it is written beyond
    ``max_tokens``. What is written depends on this text alone, not on others under the same grammar.

    Args:
        constraint: Of this text, at its start; it is the guard's from here on.
        max_tokens: Most tokens of the text, forced ones included, the end token not.

    Raises:
        InvalidInput: The shortest text found has more tokens.
    """

    def __init__(self, constraint: "Constraint", max_tokens: int) -> None:
        self.constraint = constraint
        """Where the text is. Another object after some calls: ask for it each time."""
        self.remaining = max_tokens
        self._known = constraint.closing(max_tokens)
        if self._known is None:
            self._known = constraint.closing(max_tokens, thorough=True)
        if self._known is None:
            shortest = constraint.closing(_FAR, thorough=True)
            if shortest is None:
                raise InvalidInput(
                    f"No complete text of at most {max(_FAR, max_tokens)} tokens was found for this grammar; let its "
                    "parts end earlier.",
                    max_tokens=max_tokens,
                )
            raise InvalidInput(
                f"max_tokens is {max_tokens}, but the shortest text under this grammar has {len(shortest)} tokens; "
                f"allow at least as many.",
                max_tokens=max_tokens,
                shortest=len(shortest),
            )
        self._length = len(self._known)
        self._room = max(_SPARE, constraint.margin)
        self._unchecked = 0

    def start(self) -> Admission:
        """What comes before the model is asked for the first time."""
        return self._go_on([])

    def admit(self, token: int) -> Admission:
        """What is written for a token that the model chose.

        Raises:
            InvalidInput: The grammar does not allow it here.
            ResourceExceeded: No end was found at all, or the parser gave up.
        """
        if token in self.constraint.ends:
            self.constraint.accept(token)
            return Admission((), "stop")
        return self._go_on([token]) if self._write([token]) else self._end([])

    def _go_on(self, written: list[int]) -> Admission:
        while not self.constraint.complete and (forced := self.constraint.forced()):
            if not self._write(forced):
                return self._end(written)
            written += forced
        if self.constraint.stopped:
            return Admission(tuple(written), "stop")
        return Admission(tuple(written), None if self.remaining else "length")

    def _end(self, written: list[int]) -> Admission:
        known = self._known
        if known is None:
            known = self.constraint.closing(self.remaining)
        if known is None:
            known = self.constraint.closing(_FAR, thorough=True)
        if known is None:
            raise ResourceExceeded(
                f"No end of at most {_FAR} tokens was found for the text at this place of its grammar; let its parts "
                "end earlier."
            )
        self.constraint.advance(known)
        return Admission((*written, *known), "length")

    def _write(self, tokens: list[int]) -> bool:
        """Go on by tokens if an end fits behind them; else nothing is changed."""
        left = self.remaining - len(tokens)
        known = self._known
        if known is not None and left >= 0:
            if known[: len(tokens)] == tokens:
                return self._take(self.constraint, tokens, left, known[len(tokens) :])
            is_near = left - len(known) < self._room
            if is_near and len(known) <= left and self.constraint.closes([*tokens, *known]):
                return self._take(self.constraint, tokens, left, known)
        trial = self.constraint.copy()
        if not trial.advance(tokens):
            raise InvalidInput(f"The grammar does not allow the tokens {tokens!r:.80} here.", tokens=tokens[:16])
        self._unchecked += len(tokens)
        is_far = left - len(trial.forced()) - self._length >= self._room
        if is_far and self._unchecked < _PERIOD:
            return self._take(trial, [], left, None)
        found = trial.closing(left) if left >= 0 else None
        if found is None and is_far:
            # None that the search finds: there is room to come to a place where it does.
            found = trial.closing(left, thorough=True)
            self._unchecked = 0
            return self._take(trial, [], left, found)
        return found is not None and self._take(trial, [], left, found)

    def _take(self, state: "Constraint", tokens: list[int], left: int, known: list[int] | None) -> bool:
        state.advance(tokens)
        self.constraint, self.remaining, self._known = state, left, known
        if known is not None:
            self._length, self._unchecked = len(known), 0
        return True
