"""The group ``evident manufacturing``: an agent is started with what it needs, and without the other commands.

Those bring the report's templates, the measuring and the training with them, which take a fifth of an agent's start.
"""

import click

from evident_manufacturing import vertical
from evident_manufacturing.agent import starting


class _Commands(click.Group):
    """Commands that are imported when they are called: ``agent`` by itself, all others together."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        _load("cli:manufacturing")
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "agent":
            return _load("agent_cli:agent")
        _load("cli:manufacturing")
        return super().get_command(ctx, cmd_name)


def _load(name: str) -> click.Command:
    with starting():
        command = vertical.load(f"evident_manufacturing.{name}")
    assert isinstance(command, click.Command)  # noqa: S101  # it is declared as one
    return command


@click.group(cls=_Commands)
def manufacturing() -> None:
    """Board image -> defects in mm, a verdict by the product's specification, and MES events."""
