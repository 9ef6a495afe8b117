"""Which cluster a command is about: a name in the Slurmfile, or a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slurm import slurmfile
from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.places import near
from slurm.slurmfile.sources import search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.slurmfile.sources import Source


DEFAULT = "local"
"""The URL of the cluster where none is named, and no Slurmfile is there."""


def cluster_of(text: str | None) -> Cluster:
    """The cluster of a name or a URL. Raises UsageError if it is neither, SlurmfileError if the file is wrong."""
    file = slurmfile_of(text)
    return Cluster.from_entry(slurmfile.read(file, text), callbacks=False) if file else Cluster(text or DEFAULT)


def slurmfile_of(text: str | None) -> Source | None:
    """The Slurmfile that has a cluster of this name; None for a URL, for which none is searched. As `cluster_of`."""
    file = search() if text is None or "://" not in text else None
    names: Sequence[str] = slurmfile.names_in(file) if file else ()
    if file and (text is None or text in names):
        return file
    try:
        Cluster(text or DEFAULT)
    except ConfigurationError as error:
        known = f"; nor is it a cluster of the Slurmfile{near(text or DEFAULT, names)}" if names else ""
        message = redacted(f"{error}{known}")
        raise click.UsageError(message) from None
    return None
