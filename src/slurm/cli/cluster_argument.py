"""Find the cluster that a command names, by its name in the Slurmfile or its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slurm import slurmfile
from slurm.cli import completion
from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.reader import near
from slurm.slurmfile.sources import search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.slurmfile.sources import Source


DEFAULT = "auto"
"""The URL of the cluster if none is named and no Slurmfile exists."""

key_argument = click.argument("key", shell_complete=completion.keys)
cluster_argument = click.argument("cluster", required=False, shell_complete=completion.clusters)
on_option = click.option(
    "--on",
    "cluster",
    metavar="CLUSTER",
    help="The cluster: a name in the Slurmfile, or a URL.",
    shell_complete=completion.clusters,
)


def cluster_of(text: str | None) -> Cluster:
    """Return the cluster of a name or a URL. Raises UsageError if it is neither, SlurmfileError for a bad file."""
    file = slurmfile_of(text)
    return Cluster.from_entry(slurmfile.read(file, text), callbacks=False) if file else Cluster(text or DEFAULT)


def slurmfile_of(text: str | None) -> Source | None:
    """Return the Slurmfile that defines this cluster, or None for a URL. Raises as `cluster_of` does."""
    file = search() if text is None or "://" not in text else None
    names: Sequence[str] = slurmfile.names(file) if file else ()
    if file and (text is None or text in names):
        return file
    try:
        Cluster(text or DEFAULT)
    except ConfigurationError as error:
        known = f"; the Slurmfile has no cluster of that name{near(text or DEFAULT, names)}" if names else ""
        raise click.UsageError(redacted(f"{error}{known}")) from None
    return None
