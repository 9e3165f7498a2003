"""Contestants that behave in known ways, to prove the harness that measures engines."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evident_core.bench.contestant import Contestant, Logits
from evident_core.bench.ours import Evident

ROWS, COLUMNS = 4, 8


class Right(Contestant):
    """Takes half a second for each token, so it says, and computes what it should."""

    name = "right"
    seconds_a_token = 0.5

    def missing(self) -> str | None:
        return None

    def prepare(self, folder: Path) -> None:
        (folder / f"prepared {self.name}").touch()

    def load(self, folder: Path, threads: int) -> str:
        return f"{threads} threads"

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        return np.full((len(tokens), COLUMNS), 1.0 if exact else 1.01, np.float32)

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        return tokens * self.seconds_a_token

    def first_token(self, prompt: Sequence[int]) -> float:
        return len(prompt) / 1000


class Ours(Right):
    """Four times as fast, under our engine's name."""

    name = Evident.name
    seconds_a_token = 0.125


class Wrong(Right):
    """Computes something else in its int8 form."""

    name = "wrong"

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        return super().logits(folder, tokens, exact=exact) * (1 if exact else 2)


class Broken(Right):
    """Cannot read the weights."""

    name = "broken"

    def prepare(self, folder: Path) -> None:
        raise ValueError("no such tensor")


class Absent(Right):
    """Is not installed."""

    name = "absent"

    def missing(self) -> str | None:
        return "pip install absent"


class Unloadable(Right):
    """Ends its process instead of loading."""

    name = "unloadable"

    def load(self, folder: Path, threads: int) -> str:
        print("out of memory", file=sys.stderr)  # noqa: T201
        os._exit(3)


class Witness:
    """Tells about the process it lives in."""

    def place(self) -> dict[str, object]:
        print("this goes to standard error")  # noqa: T201
        return {"cores": sorted(os.sched_getaffinity(0)), "threads": os.environ["OMP_NUM_THREADS"]}

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def suffix(self, path: Path) -> str:
        return path.suffix
