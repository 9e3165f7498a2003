"""The command ``evident``: its own commands, and one group for each installed service, loaded when it is called.

Exit codes: 0 done; 1 refused or failed, with the reason in one sentence; 2 a wrong command line, or a part that is not
installed, with the command that adds it; 130 ended by Ctrl-C. A traceback is shown for defects only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evident_core import __version__
from evident_core.cli_llm import COMMANDS
from evident_core.errors import EvidentError, InvalidInput, MissingExtra
from evident_core.services import find, installed
from evident_core.settings import CONFIG, Settings, load

if TYPE_CHECKING:
    from flask import Flask

    from evident_core.web.audit import Audit
    from evident_core.web.auth import Keys


class _Suite(click.Group):
    """Own commands, and a group for each service that is imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *installed()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in installed():
            vertical = find(cmd_name)
            group = vertical.load(vertical.cli)
            assert isinstance(group, click.Command)  # noqa: S101  # as the vertical declares
            return group
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Services"):
            formatter.write_dl([(name, vertical.title["en"]) for name, vertical in installed().items()])
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(90)) for name in sorted(self.commands)])


@click.group(cls=_Suite)
@click.version_option(__version__, prog_name="evident")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file; default: ./evident.toml if there."
)
def evident(config: Path | None) -> None:
    """Evident: reports in which nothing is written that cannot be pointed at."""
    if config is not None:
        os.environ[CONFIG] = str(config)


@evident.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def checks(as_json: bool) -> None:
    """Show what is installed and what is missing, each with its remedy."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from evident_core.checks import State, run_checks

    found = list(run_checks())
    if as_json:
        click.echo(
            json.dumps({"checks": [each.model_dump(mode="json") for each in found]}, ensure_ascii=False, indent=1)
        )
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("", "", "", "found", "remedy"):
            table.add_column(heading, overflow="fold")
        marks = {State.OK: "[green]✓[/]", State.ABSENT: "[yellow]–[/]", State.WRONG: "[red]✗[/]"}
        for group, lines in groupby(found, key=lambda each: each.group):
            for number, each in enumerate(lines):
                heading = f"[bold]{group}[/]" if number == 0 else ""
                table.add_row(heading, marks[each.state], *map(escape, (each.name, each.found, each.remedy)))
        Console().print(table)
    if any(each.state is State.WRONG for each in found):
        raise SystemExit(1)


host_option = click.option("--host", help="Address to listen on; any other than loopback needs an API key.")
port_option = click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")


def web_arguments(host: str | None, port: int | None) -> dict[str, dict[str, object]]:
    """What the two options above say, for ``settings.load``."""
    return {"web": {name: value for name, value in (("host", host), ("port", port)) if value is not None}}


@evident.command()
@host_option
@port_option
def serve(host: str | None, port: int | None) -> None:
    """Serve all installed services, and do their jobs."""
    settings = load(None, **web_arguments(host, port))

    def create(settings: Settings) -> Flask:
        from evident_core.web.service import create_landing

        return create_landing(settings)

    serve_app(settings, create)


def format_of(path: Path, formats: Collection[str]) -> str:
    """Which of some formats a file to be written has, by its ending.

    Raises:
        InvalidInput: None of them.
    """
    name = path.suffix.lstrip(".").lower()
    if name not in formats:
        raise InvalidInput(f"{path} has no known ending; end it in {', '.join(f'.{each}' for each in formats)}.")
    return name


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InvalidInput: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", path=str(path)) from error


def serve_app(settings: Settings, create: Callable[[Settings], Flask], path: str = "/") -> None:
    """Serve an app until Ctrl-C, and say where it is: for this command and those of the services."""
    from evident_core.web.server import serve as run

    run(settings, create, lambda address: click.echo(f"Evident is at {address}{path}  (Ctrl-C ends it)", err=True))


@evident.command()
@click.option("--workers", type=click.IntRange(1, 64), help="Files read at the same time.")
def worker(workers: int | None) -> None:
    """Do queued jobs, beside servers without a worker of their own."""
    from evident_core.web import logs
    from evident_core.web.worker import run_worker

    settings = load(None, **({"jobs": {"workers": workers}} if workers else {}))
    logs.configure(settings.web.log_level)
    run_worker(settings)


@evident.group()
def audit() -> None:
    """The audit log."""


@audit.command()
@click.option("--expect", metavar="HASH", help="A hash that was kept elsewhere; tells whether the end was cut off.")
def verify(expect: str | None) -> None:
    """Read the whole chain again, and tell the first line that does not hold."""
    with _frame() as (log, _):
        verdict = log.verify(expect)
    if not verdict.intact:
        raise click.ClickException(f"The audit log is broken: {verdict.reason}; {verdict.lines} lines before it hold.")
    click.echo(f"All {verdict.lines} lines hold. The last has the hash {verdict.head}")


@evident.group()
def keys() -> None:
    """API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, default=("read", "write"), show_default=True, help="May be given several times."
)
def create(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key for NAME and print it, this one time."""
    with _frame() as (_, known):
        key, info = known.create(name, scopes)
    click.echo(key)
    click.echo(f"This is key {info.id} with {', '.join(info.scopes)}; it cannot be shown again.", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_keys(as_json: bool) -> None:
    """List all keys, revoked ones too."""
    with _frame() as (_, known):
        found = known.list()
    if as_json:
        click.echo(json.dumps({"keys": [each.model_dump(mode="json") for each in found]}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("id", min_width=32, no_wrap=True)  # whole in a narrow terminal too: it is what `revoke` asks for
    for heading in ("name", "scopes", "last used", "revoked"):
        table.add_column(heading, overflow="fold")
    for each in found:
        days = (f"{at:%Y-%m-%d}" if at else "" for at in (each.last_used, each.revoked))
        table.add_row(each.id, escape(each.name), " ".join(each.scopes), *days)
    Console().print(table)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Make the key KEY_ID worthless from now on."""
    with _frame() as (_, known):
        info = known.revoke(key_id)
    click.echo(f"The key {info.name!r} is revoked; what it owns stays.")


@evident.group()
def store() -> None:
    """The database and the uploads."""


@store.command()
def migrate() -> None:
    """Create the tables or bring them up to date; servers and workers do it too when they start."""
    from evident_core.web.store import Store

    with Store(load()) as opened:
        click.echo(f"{opened.shown} is up to date: its tables are at {opened.revision()}.")


for command in COMMANDS:
    evident.add_command(command)


@contextmanager
def _frame() -> Iterator[tuple[Audit, Keys]]:
    from evident_core.web.audit import Audit
    from evident_core.web.auth import Keys
    from evident_core.web.store import Store

    with Store(load()) as opened:
        log = Audit(opened)
        yield log, Keys(opened, log)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and end the process."""
    try:
        evident.main(arguments, prog_name="evident", standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EvidentError as error:
        click.echo(error.message, err=True)
        sys.exit(2 if isinstance(error, MissingExtra) else 1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
