"""Help texts of commands, at terminals of any width."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST = 20


class HelpFormatter(click.HelpFormatter):
    """Formats also for narrow terminals: click needs at least 50 columns, and uses up to 30 for names of options."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = min(get_terminal_size().columns, max_width or 80) - 2  # 80 is click's default
        super().__init__(indent_increment, width or max(columns, _LEAST), max_width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and their descriptions; a description begins on the next line if its name is long."""
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class Context(click.Context):
    """The context of a command whose help `HelpFormatter` formats."""

    formatter_class = HelpFormatter


class Group(click.Group):
    """A group of commands whose help `HelpFormatter` formats. For an unknown command, it suggests another."""

    context_class = Context

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command to the group."""
        cmd.context_class = Context
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names. Fails for an unknown word, and suggests the nearest command."""
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args[0] not in known and not args[0].startswith("-"):
            from slurm.cli.synonyms import meant  # noqa: PLC0415 - only for an error

            ctx.fail(f"there is no command {args[0]!r}{meant(args[0], self.name, known)}")
        return super().resolve_command(ctx, args)
