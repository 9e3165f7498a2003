"""The one place through which a request reaches everything else: store, jobs, audit log, keys, texts."""

from dataclasses import dataclass
from typing import Any, Final, cast

from flask import current_app, g

from evident_core.services import Vertical
from evident_core.settings import Settings
from evident_core.web.audit import Audit
from evident_core.web.auth import NOBODY, Caller, Keys
from evident_core.web.i18n import Texts
from evident_core.web.jobs import Jobs
from evident_core.web.store import Store

EXTENSION: Final = "evident"


@dataclass(frozen=True)
class Frame:
    """All that a request may reach; a view gets it from `current_frame`."""

    name: str
    vertical: Vertical | None
    settings: Settings
    store: Store
    jobs: Jobs
    audit: Audit
    keys: Keys
    texts: Texts

    @property
    def caller(self) -> Caller:
        """Who sends the present request; ``caller.id`` is the owner of what is stored for it."""
        return cast(Caller, g.get("caller", NOBODY))

    def record(self, action: str, subject: str = "", **details: Any) -> None:
        """Append a line to the audit log in the name of the present caller."""
        self.audit.record(self.caller.id, action, subject, **details)

    def close(self) -> None:
        """Let go of the database and the queue."""
        self.jobs.close()
        self.store.close()


def current_frame() -> Frame:
    """The frame of the service that answers the present request."""
    return cast(Frame, current_app.extensions[EXTENSION])
