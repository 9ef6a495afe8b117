"""Output: all printing of the command `slurm`. Text from jobs, files and hosts is sanitized for terminals."""

from __future__ import annotations

import json
import math
import os
import sys
from codecs import getincrementaldecoder
from contextlib import nullcontext, redirect_stdout
from shutil import get_terminal_size
from textwrap import wrap
from typing import IO, TYPE_CHECKING, Any

import click

from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_json, for_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

_LONGEST_LINE = 1 << 20
"""The longest line of a log, in characters, that is shown as one line."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells: 128 plus the number of SIGINT."""

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
    for block in blocks:  # a colour may be split between two blocks, but not between two lines
        before, newline, held = (held + decode(block)).rpartition("\n")
        if len(held) > _LONGEST_LINE:
            before, held = held, ""
        show(before + newline, nl=False)
    show(held + decode(b"", final=True), nl=False)


def show_error(error: Exception) -> None:
    """Print an error message, with passwords removed, and with commands in place of Python calls."""
    from slurm.cli.shell_advice import for_a_shell  # noqa: PLC0415 - only for an error

    show_prose(f"error: {redacted(for_a_shell(str(error)))}".splitlines(), err=True, fg="red")


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(for_json(json.dumps(value, indent=2, ensure_ascii=False)))


def kept_for_json(as_json: bool) -> AbstractContextManager[object]:  # noqa: FBT001 - the value of --json
    """Redirect what the user's own code prints to standard error, if the standard output must contain only JSON."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns. The further lines of a cell are below its first line.

    If the terminal is too narrow, a table with two columns wraps the text of the second column. With more columns, each
    row takes several lines. A word that is longer than a line, such as a key, is not broken.
    """
    rows = [[for_stream(cell, _stream(err=False)).replace("\r", "") for cell in row] for row in rows]
    widths = [max((len(_longest(cell)) for cell in column), default=0) for column in zip(*rows, strict=True)]
    columns = get_terminal_size().columns
    if sum(widths) + 2 * (len(widths) - 1) > columns and _stream(err=False).isatty():
        if len(widths) == 2 and widths[0] <= columns // 3:
            _show_hanging(rows, widths[0])
        else:
            _show_narrow(rows)
        return
    for row in rows:
        cells = [cell.rstrip("\n").split("\n") for cell in row]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            click.echo("  ".join(padded).rstrip(), color=_color())


def show_prose(lines: Iterable[str], *, indent: int = 0, err: bool = False, fg: str | None = None) -> None:
    """Print lines of prose. On a terminal, wrap them at its width, and indent all lines except the first.

    `fg` is the colour of the first word.
    """
    wide = not _stream(err=err).isatty()
    columns = max(get_terminal_size().columns, 20)
    for line in lines:
        text = line if wide else "\n".join(_wrapped(line, columns, indent)) or line
        word = text.split(maxsplit=1)[0] if fg else ""
        show(text.replace(word, click.style(word, fg=fg), 1) if word else text, err=err)
        fg = None


def _wrapped(line: str, columns: int, indent: int) -> list[str]:
    return wrap(line, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _show_hanging(rows: Sequence[Sequence[str]], width: int) -> None:
    """Print two columns, with the text of the second column wrapped."""
    for name, cell in rows:
        for number, line in enumerate(cell.rstrip("\n").split("\n")):
            show_prose([f"{'' if number else name:{width}}  {line}"], indent=width + 2)


def _show_narrow(rows: Sequence[Sequence[str]]) -> None:
    """Print the first cell of each row on its own line, and the others, indented, on as few lines as possible."""
    for first, *others in rows:
        click.echo(first, color=_color())
        text = "  ".join(cell.replace("\n", ", ") for cell in others)
        show_prose([f"  {text}"], indent=2)


def _color() -> bool | None:
    """Whether colours are kept: None for only on a terminal, False if the user wants none (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


class Finite(click.FloatRange):
    """A finite number within a range. The base class FloatRange would accept NaN and infinity."""

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
