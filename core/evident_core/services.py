"""Which services are installed: the core finds them by entry point, and imports none."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from evident_core.errors import MissingExtra, NotFound

ENTRY_POINTS = "evident.verticals"


@dataclass(frozen=True)
class Vertical:
    """A service as its package declares it, cheap to import: the parts are named, and loaded when called for.

    ``app`` and ``cli`` are ``"module:attribute"``: a ``create_app(settings) -> flask.Flask`` and a ``click.Group``.
    ``requires`` are the import names of the packages that the extra of the same name brings. ``settings`` names the
    ``settings.Section`` subclass of the service's own section, if any; ``preload`` the modules that a worker imports
    once, before it starts a process for each file. ``long_runs`` are the functions of jobs (``"module:function"``) that
    take hours by their nature, such as training: the sandbox's limits, which are for strangers' files, are not theirs.
    """

    name: str
    title: dict[str, str]
    summary: dict[str, str]
    app: str
    cli: str
    requires: tuple[str, ...] = ()
    settings: str = ""
    preload: tuple[str, ...] = ()
    long_runs: tuple[str, ...] = ()

    def load(self, reference: str) -> Any:
        """The attribute that ``"module:attribute"`` names.

        Raises:
            MissingExtra: A package of this service's extra is not installed; the message is the command that adds it.
        """
        module, _, attribute = reference.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in self.requires:
                raise
            raise MissingExtra(
                f"evident {self.name} needs {error.name}, which is not installed: pip install 'evident[{self.name}]'",
                extra=self.name,
                package=error.name,
            ) from error


@cache
def installed() -> dict[str, Vertical]:
    """All declared services by name, in the order of their names."""
    found = (entry.load() for entry in entry_points(group=ENTRY_POINTS))
    return {vertical.name: vertical for vertical in sorted(found, key=lambda vertical: vertical.name)}


def find(name: str) -> Vertical:
    """The service of that name.

    Raises:
        NotFound: There is none; the message lists those there are.
    """
    services = installed()
    if name not in services:
        raise NotFound(
            f"There is no service called {name!r}; installed are: {', '.join(services) or 'none'}.", name=name
        )
    return services[name]
