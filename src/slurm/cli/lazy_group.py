"""LazyGroup: a group of commands that imports the module of a command only when it runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from slurm.cli.help_text import Context, Group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.shell_completion import CompletionItem


class LazyGroup(Group):
    """Lists commands from a table. For each name, it has the module and attribute, and the line in the help."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        del ctx
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        command.context_class = Context
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Ctrl-C ends it with the exit status of shells; click would print "Aborted!" and use 1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from slurm.cli.output import INTERRUPTED  # noqa: PLC0415 - only after Ctrl-C

            raise SystemExit(INTERRUPTED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names of commands that begin with `incomplete`, and click's other completions."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for a completion

        own = [CompletionItem(n, help=text) for n, (_, text) in self.table.items() if n.startswith(incomplete)]
        return [*own, *click.Command.shell_complete(self, ctx, incomplete)]
