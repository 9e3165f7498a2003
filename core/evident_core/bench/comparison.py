"""Contestants side by side: each proves that it computes the same function, and then they take turns."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evident_core.bench.contestant import DECODED, Contestant, Logits, relative_error
from evident_core.bench.ours import Evident
from evident_core.bench.peers.hugging_face import HuggingFace
from evident_core.bench.results import Row, State
from evident_core.bench.shape import Shape
from evident_core.bench.timing import Spread, in_turns, ratio
from evident_core.bench.vocabulary import prompt, read_tokenizer
from evident_core.bench.worker import Worker, WorkerFailed

Say = Callable[[str], None]
Kind = type[Contestant]

SHORT_PROMPT, VERIFIED = 8, 24
"""Tokens of the prompt before what is decoded, and of the text whose logits are compared."""

PROMPTS = (200, 300)
"""Tokens of the prompts whose first token is timed."""

EXACT_LIMIT, INT8_LIMIT = 1e-3, 0.1
"""Relative errors of the logits above which a contestant computes something else: a wrong rotary embedding or expert
gives about 1, rounding 1e-6 in float32 and some hundredths in the 8-bit formats."""


@dataclass(frozen=True)
class Entrant:
    """A contestant that computes what it should, with the relative errors of its logits in float32 and as timed."""

    kind: Kind
    exact_error: float
    error: float


def note(kind: Kind, shape: Shape, state: State, told: str, threads: int = 0) -> Row:
    """A row without figures; of any number of threads where it is not told."""
    return Row(kind.name, shape.vocab_size, threads, state, told)


def prove(
    kinds: Sequence[Kind], shape: Shape, folder: Path, cores: Sequence[int], say: Say
) -> tuple[list[Entrant], list[Row]]:
    """Convert the weights for each, and compare its logits with those of transformers.

    Where transformers is not installed, our own float32 model is the reference, which its tests hold to transformers.

    Returns:
        Who may take part, and a row for each that may not.
    """
    tokens = ids(folder, VERIFIED, 3)
    right: Logits | None = None
    entrants: list[Entrant] = []
    rows: list[Row] = []
    for kind in sorted(kinds, key=lambda each: each is not HuggingFace):
        if command := kind().missing():
            rows.append(note(kind, shape, "not installed", command))
            continue
        say(f"{kind.name}: converting the weights, comparing its logits")
        try:
            with worker_of(kind, cores) as worker:
                worker.call("prepare", folder=folder)
                exact, timed = (_logits(worker, folder, tokens, exact=exact) for exact in (True, False))
        except WorkerFailed as error:
            rows.append(note(kind, shape, "failed", error.message))
            continue
        right = exact if right is None else right
        entrant = Entrant(kind, relative_error(exact, right), relative_error(timed, right))
        if entrant.exact_error > EXACT_LIMIT or entrant.error > INT8_LIMIT:
            told = f"relative error of the logits {entrant.exact_error:.1e} in float32, {entrant.error:.2f} as timed"
            rows.append(note(kind, shape, "wrong result", told))
            continue
        entrants.append(entrant)
    return sorted(entrants, key=lambda entrant: kinds.index(entrant.kind)), rows


def compare(
    entrants: Sequence[Entrant], shape: Shape, folder: Path, cores: Sequence[int], rounds: int, say: Say
) -> list[Row]:
    """Decode and read prompts in turns, each in its own process on the same cores."""
    rows: list[Row] = []
    taking_part: dict[str, tuple[Entrant, Worker, str]] = {}
    with ExitStack() as stack:
        for entrant in entrants:
            name = entrant.kind.name
            say(f"{name}: loading for {len(cores)} threads, finding its best settings")
            worker = stack.enter_context(worker_of(entrant.kind, cores))
            try:
                settings = worker.call("load", folder=folder, threads=len(cores))
            except WorkerFailed as error:
                rows.append(note(entrant.kind, shape, "failed", error.message, len(cores)))
                continue
            taking_part[name] = (entrant, worker, settings)
        say(f"decoding with {len(cores)} threads, in turns")
        short = ids(folder, SHORT_PROMPT, 0)
        workers = {name: worker for name, (_, worker, _) in taking_part.items()}
        took = in_turns({name: partial(_decode, worker, short) for name, worker in workers.items()}, rounds, say)
        first: dict[int, dict[str, list[float]]] = {}
        for length in PROMPTS:
            say(f"prompts of {length} tokens, in turns")
            prompts = [ids(folder, length, number) for number in range(rounds + 1)]
            first[length] = in_turns({name: _FirstToken(worker, prompts) for name, worker in workers.items()}, rounds)
    ours = took.get(Evident.name)
    for name, (entrant, _, settings) in taking_part.items():
        rows.append(
            Row(
                contestant=name,
                vocab_size=shape.vocab_size,
                threads=len(cores),
                state="measured",
                settings=settings,
                exact_error=entrant.exact_error,
                error=entrant.error,
                tokens_per_second=Spread.of([DECODED / each for each in took[name]]),
                ratio=ratio(took[name], ours) if ours else None,
                first_token_ms={length: Spread.of(of[name]).scaled(1e3) for length, of in first.items()},
            )
        )
    return rows


def ids(folder: Path, length: int, number: int) -> list[int]:
    """The tokens of a prompt; another number shares no beginning with it."""
    tokenizer = read_tokenizer(folder)
    return list(tokenizer.encode(prompt(tokenizer, length, number), add_special_tokens=False).ids)


def worker_of(kind: Kind, cores: Sequence[int]) -> Worker:
    """A process with one contestant in it."""
    return Worker(f"{kind.__module__}:{kind.__name__}", cores)


class _FirstToken:
    """Seconds to the first token of one prompt after another, none of them read before."""

    def __init__(self, worker: Worker, prompts: Sequence[list[int]]) -> None:
        self._worker, self._prompts = worker, iter(prompts)
        self()  # what is allocated once for a length is, now

    def __call__(self) -> float:
        return float(self._worker.call("first_token", prompt=next(self._prompts)))


def _decode(worker: Worker, short: list[int]) -> float:
    """Seconds of the measured text, right after a few tokens that bring the weights back into the caches."""
    worker.call("decode", prompt=short, tokens=16)
    return float(worker.call("decode", prompt=short, tokens=DECODED))


def _logits(worker: Worker, folder: Path, tokens: list[int], *, exact: bool) -> Logits:
    out = folder / "logits.npy"
    worker.call("save_logits", folder=folder, tokens=tokens, exact=exact, out=out)
    logits: Logits = np.load(out)
    return logits
