"""Output: the one place where the command prints. Text of jobs, files and hosts doesn't reach a terminal as it is."""

from __future__ import annotations

import json
import logging
import math
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_json, for_stream, for_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def show(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text; a terminal isn't sent its control characters, but for colours."""
    click.echo(for_stream(text, _stream(err=err)), err=err, nl=nl)


def show_bytes(data: bytes) -> None:
    """Print what a job has printed: into a pipe or file byte by byte, to a terminal as `show` does."""
    if _stream(err=False).isatty():
        show(data.decode(errors="replace"), nl=False)
    else:
        click.echo(data, nl=False)


def show_error(error: Exception) -> None:
    """Print what went wrong."""
    show(f"{click.style('error', fg='red')}: {redacted(str(error))}", err=True)


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(for_json(json.dumps(value, indent=2, ensure_ascii=False)))


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, each as wide as it must be; a value of several lines goes on under itself."""
    rows = [[for_stream(cell, _stream(err=False)).replace("\r", "") for cell in row] for row in rows]
    widths = [max((len(_longest(cell)) for cell in column), default=0) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rstrip("\n").split("\n") for cell in row]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            click.echo("  ".join(padded).rstrip())


class Finite(click.FloatRange):
    """A number of a range; neither NaN, which no bound keeps out, nor infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class SafeFormatter(logging.Formatter):
    """Log records as a terminal may be sent them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without control characters and passwords."""
        return for_terminal(redacted(super().format(record)))


def _longest(cell: str) -> str:
    return max(cell.split("\n"), key=len)


def _stream(*, err: bool) -> IO[str]:
    return sys.stderr if err else sys.stdout
