"""What a run found: rows beside rows, and each target with whether it was reached."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from evident_core.bench.bandwidth import Bandwidth
from evident_core.bench.batching import Batching
from evident_core.bench.constrained import Constrained
from evident_core.bench.grammar_speed import GrammarSpeed
from evident_core.bench.timing import Spread

State = Literal["measured", "not installed", "left out", "failed", "wrong result"]


@dataclass(frozen=True)
class Row:
    """One contestant at one vocabulary and number of threads.

    Attributes:
        threads: 0 where it could not take part at any number.
        state: "not installed", "left out" (of a quick run), "failed" and "wrong result" rows have no figures; ``note``
            then tells the command that installs it, or what went wrong.
        settings: The best it has, found in this run.
        exact_error: Of its float32 form's logits, relative to the reference's; the same function gives about 1e-6.
        error: Of the form that is timed.
        tokens_per_second: While decoding.
        ratio: Ours by its tokens per second, round by round.
        first_token_ms: Milliseconds to the first token, by tokens of the prompt.
    """

    contestant: str
    vocab_size: int
    threads: int
    state: State
    note: str = ""
    settings: str = ""
    exact_error: float | None = None
    error: float | None = None
    tokens_per_second: Spread | None = None
    ratio: Spread | None = None
    first_token_ms: dict[int, Spread] = field(default_factory=dict)


@dataclass(frozen=True)
class Reached:
    """How near decoding comes to what the memory gives.

    Attributes:
        bytes_a_token: That a token reads at least: int8 weights of attention, chosen experts and head, their scales,
            the router, and the cache in the middle of the measured text.
        bytes_per_second: That, times tokens per second.
        model_rate: Bytes per second at which a range as large as all int8 weights is read: what could be reached.
        memory_rate: Bytes per second of memory that no cache holds; decoding may exceed it where the last cache holds
            part of the weights.
    """

    vocab_size: int
    threads: int
    bytes_a_token: int
    bytes_per_second: float
    model_rate: float
    memory_rate: float

    @property
    def share(self) -> float:
        """Of what could be reached."""
        return self.bytes_per_second / self.model_rate


@dataclass(frozen=True)
class Target:
    """One of the figures that the engine is to reach."""

    name: str
    wanted: str
    measured: str
    reached: bool | None
    """None where it was not measured: a peer is absent, or something failed."""


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        processor: As the system calls it.
        cores: That this process may use.
        others: Share of all cores' time that other processes, or other machines on the same host, took in the run; None
            where the system does not tell.
        pinned: Whether processes could be kept on their cores.
        engine: What computes our own steps: its instruction set, and threads.
        python: Its version.
        versions: Of the packages that were measured.
    """

    processor: str
    cores: int
    others: float | None
    pinned: bool
    engine: str
    python: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Figures:
    """All of one run."""

    machine: Machine
    quick: bool
    decode_tokens: int
    rows: tuple[Row, ...]
    bandwidth: tuple[Bandwidth, ...]
    reached: tuple[Reached, ...]
    batching: tuple[Batching, ...]
    grammar: tuple[GrammarSpeed, ...]
    constrained: tuple[Constrained, ...]
    failures: tuple[str, ...]
    targets: tuple[Target, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)

    def print(self, *, targets: bool = True) -> None:
        """Print tables, and the targets with whether they are reached."""
        from evident_core.bench.table import show

        show(self, targets=targets)
