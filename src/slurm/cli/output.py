"""Output: all printing of the command `slurm`. Text from jobs, files and hosts is sanitized for terminals."""

from __future__ import annotations

import json
import math
import os
import sys
from codecs import getincrementaldecoder
from shutil import get_terminal_size
from textwrap import wrap
from typing import IO, TYPE_CHECKING, Any

import click

from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_json, for_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_LINE = 1 << 20
"""The longest line of a log, in characters, that is shown as one."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def show(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text. A terminal receives no control characters except colours."""
    click.echo(for_stream(text, _stream(err=err)), err=err, nl=nl, color=_color())


def show_bytes(blocks: Iterable[bytes]) -> None:
    """Print the output of a job: unchanged into a pipe or file, sanitized as in `show` on a terminal."""
    if not _stream(err=False).isatty():
        for block in blocks:
            click.echo(block, nl=False)
        return
    decode, held = getincrementaldecoder("utf-8")("replace").decode, ""
    for block in blocks:  # a colour may lie on the border of two blocks, but not of two lines
        before, newline, held = (held + decode(block)).rpartition("\n")
        if len(held) > _LONGEST_LINE:
            before, held = held, ""
        show(before + newline, nl=False)
    show(held + decode(b"", final=True), nl=False)


def show_error(error: Exception) -> None:
    """Print an error message, with passwords removed."""
    show(f"{click.style('error', fg='red')}: {redacted(str(error))}", err=True)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(for_json(json.dumps(value, indent=2, ensure_ascii=False)))


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns. The further lines of a cell stand below its first line.

    On a terminal that is too narrow for more than two columns, each row takes several lines.
    """
    rows = [[for_stream(cell, _stream(err=False)).replace("\r", "") for cell in row] for row in rows]
    widths = [max((len(_longest(cell)) for cell in column), default=0) for column in zip(*rows, strict=True)]
    wide = len(widths) > 2 and sum(widths) + 2 * (len(widths) - 1) > get_terminal_size().columns
    if wide and _stream(err=False).isatty():
        _show_narrow(rows)
        return
    for row in rows:
        cells = [cell.rstrip("\n").split("\n") for cell in row]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            click.echo("  ".join(padded).rstrip(), color=_color())


def _show_narrow(rows: Sequence[Sequence[str]]) -> None:
    """Print the first cell of each row on a line of its own, and the others, indented, on as few lines as possible."""
    columns = get_terminal_size().columns
    for first, *others in rows:
        click.echo(first, color=_color())
        text = "  ".join(cell.replace("\n", ", ") for cell in others)
        lines = wrap(text, columns, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
        click.echo("\n".join(lines), color=_color())


def _color() -> bool | None:
    """Whether colours are kept: None, on a terminal only; False if the user wants none (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


class Finite(click.FloatRange):
    """A finite number within a range. FloatRange alone accepts NaN and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fail if it is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def _longest(cell: str) -> str:
    return max(cell.split("\n"), key=len)


def _stream(*, err: bool) -> IO[str]:
    return sys.stderr if err else sys.stdout
