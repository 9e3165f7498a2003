"""What a job's function is given: the inputs on disk, and the options of the request."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import Field

from evident_core.evidence import Frozen
from evident_core.progress import OnProgress


class WorkInput(Frozen):
    """One input: where its bytes are (the file's name is their SHA-256), and what its sender called it."""

    id: str
    path: Path
    name: str
    sha256: str
    media_type: str = "application/octet-stream"


class Work(Frozen):
    """All that a job works on. ``secrets`` (a file's password) change nothing in the result, and are kept nowhere.

    ``data_dir`` is the data folder, in which a service may keep what belongs to no job; None: it has none.
    """

    inputs: tuple[WorkInput, ...]
    options: dict[str, Any] = Field(default_factory=dict)
    secrets: dict[str, Any] = Field(default_factory=dict, repr=False)
    data_dir: Path | None = None


class Run(Protocol):
    """A function that does a job, in a process of its own; what it returns is kept as the result."""

    def __call__(self, work: Work, *, on_progress: OnProgress) -> bytes:
        """Do it."""


def perform(reference: str, work: Work, *, on_progress: OnProgress) -> bytes:
    """Call the :class:`Run` that ``"module:function"`` names; the worker lets it happen in the sandbox."""
    module, _, name = reference.partition(":")
    run = cast(Run, getattr(import_module(module), name))
    return run(work, on_progress=on_progress)
