"""What a constraint costs: compiling one, and the mask of each token."""

import random
import statistics
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evident_core.bench.specimens import report, report_schema, terminology
from evident_core.bench.timing import Spread, seconds

if TYPE_CHECKING:
    from evident_core.decode.grammar import Constraint
    from evident_core.decode.tokenizer import Tokenizer

Row = npt.NDArray[np.int32]

TERMS = 1000


@dataclass(frozen=True)
class GrammarSpeed:
    """At one size of vocabulary, on one thread.

    Attributes:
        first_compile_ms: Of the first schema of a process, with what is made once for a tokenizer.
        compile_ms: Of schemas that were never seen before, each with other names.
        mask_mean_us: Of the masks of whole documents, written by chance or given.
        mask_p99_us: 99 of 100 masks take less.
        masks: How many were taken.
        trie_mean_us: Of a terminology of 1,000 terms.
        trie_p99_us: The same, 99 of 100.
    """

    vocab_size: int
    first_compile_ms: float
    compile_ms: Spread
    mask_mean_us: float
    mask_p99_us: float
    masks: int
    trie_mean_us: float
    trie_p99_us: float


class GrammarBench:
    """Measured in a worker; ``run`` gives :class:`GrammarSpeed` as a dictionary."""

    def run(self, folder: Path, rounds: int) -> dict[str, Any]:
        """Compile schemas, and walk through their texts and through terms."""
        from evident_core.decode.grammar import Grammar
        from evident_core.decode.terms import TermTrie
        from evident_core.decode.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(folder)
        number = iter(range(1 << 20))

        def compile_new() -> "Constraint":
            return Grammar.json_schema(report_schema(next(number))).constraint(tokenizer)

        first = seconds(compile_new)
        compiled = [seconds(compile_new) * 1e3 for _ in range(6 * rounds)]
        chance = random.Random(0)  # noqa: S311  # the same walk in each run
        masks: list[float] = []
        for _ in range(2 * rounds):
            shown = next(number)
            constraint = Grammar.json_schema(report_schema(shown)).constraint(tokenizer)
            masks += walk(constraint.copy(), tokenizer, ByChance(tokenizer, chance))
            masks += walk(constraint, tokenizer, AsGiven(tokenizer, report(shown, chance)))
        terms = terminology(TERMS, chance)
        trie = TermTrie(terms).constraint(tokenizer)
        in_trie: list[float] = []
        for term in chance.sample(terms, min(len(terms), 40 * rounds)):
            in_trie += walk(trie.copy(), tokenizer, AsTokens(tokenizer.encode(term, bos=False, continued=True)))
        found = GrammarSpeed(
            vocab_size=tokenizer.vocab_size,
            first_compile_ms=first * 1e3,
            compile_ms=Spread.of(compiled),
            mask_mean_us=statistics.fmean(masks),
            mask_p99_us=float(np.percentile(masks, 99)),
            masks=len(masks),
            trie_mean_us=statistics.fmean(in_trie),
            trie_p99_us=float(np.percentile(in_trie, 99)),
        )
        return asdict(found)


class Writer(Protocol):
    """Who chooses the tokens of a walk."""

    def passed(self, token: int) -> None:
        """A token was written."""
        ...

    def choose(self, row: Row) -> int | None:
        """One of the tokens that the mask allows; None ends the walk."""
        ...


class ByChance:
    """Writes any token that is allowed, and ends when it must or after many."""

    def __init__(self, tokenizer: "Tokenizer", chance: random.Random, limit: int = 300) -> None:
        self._ends, self._chance, self._left = set(tokenizer.eos_token_ids), chance, limit

    def passed(self, token: int) -> None:  # noqa: ARG002
        """One less is left."""
        self._left -= 1

    def choose(self, row: Row) -> int | None:
        """Any that does not end the text, as long as there is one."""
        allowed = [int(token) for token in np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))]
        going_on = [token for token in allowed if token not in self._ends]
        return self._chance.choice(going_on) if going_on and self._left > 0 else None


class AsGiven:
    """Writes a text in the longest tokens that are allowed, and then ends."""

    def __init__(self, tokenizer: "Tokenizer", text: str) -> None:
        self.left, self._ids = text.encode(), _ids_of(tokenizer)
        self._longest = max(map(len, self._ids))

    def passed(self, token: int) -> None:
        """So much less of the text is left."""
        written = self._ids.inverse[token]
        if not self.left.startswith(written):
            raise RuntimeError(f"The grammar forced {written!r} where {self.left[:40]!r} was to come")
        self.left = self.left[len(written) :]

    def choose(self, row: Row) -> int | None:
        """The longest token that the text begins with."""
        for length in range(min(self._longest, len(self.left)), 0, -1):
            token = self._ids.get(self.left[:length])
            if token is not None and row[token // 32] >> (token % 32) & 1:
                return token
        return None


class AsTokens:
    """Writes these tokens, and then ends."""

    def __init__(self, tokens: list[int]) -> None:
        self.left = tokens

    def passed(self, token: int) -> None:
        """One less is left."""
        if self.left[:1] != [token]:
            raise RuntimeError(f"Token {token} was forced where {self.left[:1]} was to come")
        self.left = self.left[1:]

    def choose(self, row: Row) -> int | None:  # noqa: ARG002
        """The next one."""
        return self.left[0] if self.left else None


class _Ids(dict[bytes, int]):
    """Tokens by their bytes, and the other way round in ``inverse``."""

    inverse: dict[int, bytes]


@cache
def _ids_of(tokenizer: "Tokenizer") -> _Ids:
    special = tokenizer.special_ids
    ids = _Ids(
        (bytes(each), token) for token, each in enumerate(tokenizer.token_bytes) if each and token not in special
    )
    ids.inverse = {token: each for each, token in ids.items()}
    return ids


def walk(constraint: "Constraint", tokenizer: "Tokenizer", writer: Writer) -> list[float]:
    """Microseconds of each mask on the way; what must follow is appended without one, as the engine does.

    It is the thread's own time: one in a hundred masks would else show how long another process had the core.
    """
    row = np.zeros(-(-tokenizer.vocab_size // 32), np.int32)
    took: list[float] = []
    while True:
        for token in constraint.forced():
            constraint.accept(token)
            writer.passed(token)
        if constraint.stopped:
            return took
        began = time.thread_time_ns()
        constraint.fill_mask(row)
        took.append((time.thread_time_ns() - began) / 1e3)
        chosen = writer.choose(row)
        if chosen is None:
            return took
        constraint.accept(chosen)
        writer.passed(chosen)
