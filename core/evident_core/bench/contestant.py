"""What is measured beside what: one small protocol for our engine and for each peer.

A contestant lives in a process of its own (``bench.worker``), so that no library's threads or settings meet another's.
Legend: T tokens, V vocabulary.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


DECODED = 128
"""Tokens that are decoded in one measurement."""


class Contestant(Protocol):
    """An engine that runs the reference shape, on one thread or several.

    The model is used greedily, one sequence at a time, and never ends by itself.
    """

    name: str

    def missing(self) -> str | None:
        """The command that installs what it needs; None where all is there."""
        ...

    def prepare(self, folder: Path) -> None:
        """Write the weights of the checkpoint in ``folder`` in its own format beside it; not timed, done once."""
        ...

    def load(self, folder: Path, threads: int) -> str:
        """Load the int8 form (or the only one it has) and find its best settings; they are told in a few words."""
        ...

    def logits(self, folder: Path, tokens: Sequence[int], *, exact: bool) -> Logits:
        """Logits [T, V] after each token, computed token by token with its cache.

        Args:
            folder: The checkpoint.
            tokens: What is read.
            exact: In float32, to prove that it computes the same function; otherwise in the form that is timed.
        """
        ...

    def decode(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds to write so many tokens after a prompt."""
        ...

    def first_token(self, prompt: Sequence[int]) -> float:
        """Seconds from the prompt to its first token, nothing of it being cached."""
        ...

    def save_logits(self, folder: Path, tokens: Sequence[int], *, exact: bool, out: Path) -> None:
        """Write what :meth:`logits` gives to a file, for whoever asks from another process."""
        np.save(out, self.logits(folder, tokens, exact=exact))


def library(name: str) -> Any:
    """A module that is optional and whose types are not known; imported when it is asked for."""
    return import_module(name)


def missing_packages(modules: Sequence[str], packages: Sequence[str]) -> str | None:
    """The pip command that installs ``packages`` where one of ``modules`` is absent."""
    absent = any(find_spec(module) is None for module in modules)
    return f"pip install {' '.join(packages)}" if absent else None


def relative_error(found: Logits, right: Logits) -> float:
    """The norm of the difference as a share of the norm of what is right."""
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))
