"""Which cluster a command is about: a name in the Slurmfile, or a URL."""

from __future__ import annotations

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


def cluster_of(text: str | None) -> Cluster:
    """The cluster of a name or a URL. Raises UsageError if it is neither, SlurmfileError if the file is wrong."""
    found = place_of(text)
    return found if isinstance(found, Cluster) else Cluster.from_slurmfile(text, path=found, callbacks=False)


def place_of(text: str | None) -> Path | Cluster:
    """The Slurmfile that has a cluster of this name, or else the cluster of this URL. Raises as `cluster_of`."""
    if text is not None and "://" in text:
        return _by_url(text, ())
    try:
        path = slurmfile.find()
    except SlurmfileError:
        return _by_url(text or "local", ())
    names = slurmfile.names(path)
    return path if text is None or text in names else _by_url(text, names)


def _by_url(text: str, names: Sequence[str]) -> Cluster:
    try:
        return Cluster(text)
    except ConfigurationError as error:
        known = f"; nor is it a cluster of the Slurmfile{near(text, names)}" if names else ""
        message = f"{error}{known}"
        raise click.UsageError(message) from None


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
