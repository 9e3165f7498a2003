"""How a pipeline tells how far it is, and learns that it should stop."""

from collections.abc import Callable
from typing import Any

from evident_core.evidence import Frozen


class Progress(Frozen):
    """One step of work: the stage's name (a step of the road), and ``done`` of ``total`` units of it.

    ``partial`` may carry what is already known (a service's first facts), JSON-serialisable.
    """

    stage: str
    done: int = 0
    total: int = 1
    partial: dict[str, Any] | None = None


OnProgress = Callable[[Progress], None]
"""Called between units of work. It raises ``errors.Cancelled`` when the caller has gone."""


def silent(_: Progress) -> None:
    """Report to nobody."""
