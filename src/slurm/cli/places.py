"""Which cluster a command is about: a name in the Slurmfile, or a URL."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import click

from slurm import slurmfile
from slurm.cluster import Cluster
from slurm.errors import ConfigurationError, SlurmfileError
from slurm.slurmfile.places import near

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


DEFAULT = "local"
"""The URL of the cluster where none is named, and no Slurmfile is there."""


def cluster_of(text: str | None) -> Cluster:
    """The cluster of a name or a URL. Raises UsageError if it is neither, SlurmfileError if the file is wrong."""
    path = slurmfile_of(text)
    return Cluster.from_slurmfile(text, path=path, callbacks=False) if path else Cluster(text or DEFAULT)


def slurmfile_of(text: str | None) -> Path | None:
    """The Slurmfile that has a cluster of this name; None for a URL. Raises as `cluster_of`."""
    path: Path | None = None
    names: Sequence[str] = ()
    if text is None or "://" not in text:
        with contextlib.suppress(SlurmfileError):  # there is none
            path = slurmfile.find()
        names = slurmfile.names(path) if path else ()
    if path and (text is None or text in names):
        return path
    try:
        Cluster(text or DEFAULT)
    except ConfigurationError as error:
        known = f"; nor is it a cluster of the Slurmfile{near(text or DEFAULT, names)}" if names else ""
        message = f"{error}{known}"
        raise click.UsageError(message) from None
    return None


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, each as wide as it must be; a value of several lines goes on under itself."""
    widths = [max((len(_longest(cell)) for cell in column), default=0) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rstrip("\n").split("\n") for cell in row]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            click.echo("  ".join(padded).rstrip())


def _longest(cell: str) -> str:
    return max(cell.split("\n"), key=len)
