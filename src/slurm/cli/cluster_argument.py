"""Find the cluster that a command names, by its name in the Slurmfile or its URL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from slurm import slurmfile
from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError, SlurmError
from slurm.protocol.shell import program
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.reader import near
from slurm.slurmfile.sources import search
from slurm.storage.job_store import JobStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.slurmfile.sources import Source


DEFAULT = "auto"
"""The URL of the cluster if none is named and no Slurmfile exists."""
_SECONDS = 5.0
"""The longest time to look for the root, for a completion."""


def cluster_of(text: str | None, *, callbacks: bool = False) -> Cluster:
    """Return the cluster of a name or a URL. Raises UsageError if it is neither, SlurmfileError for a bad file.

    With `callbacks`, imports those of the Slurmfile.
    """
    file = slurmfile_of(text)
    return Cluster.from_entry(slurmfile.read(file, text), callbacks=callbacks) if file else Cluster(text or DEFAULT)


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


def complete_clusters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the clusters in the Slurmfile."""
    del ctx, param
    try:
        file = search()
        return [name for name in slurmfile.names(file) if name.startswith(incomplete)] if file else []
    except SlurmError:
        return []


def complete_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The keys of the jobs on the cluster, newest first. Runs no command of a scheduler.

    None on another host, where a log-in may ask a question.
    """
    del param
    logging.disable()  # the user is typing
    try:
        place = cluster_of(ctx.params.get("cluster")).place
        if place.url.host is not None:
            return []
        script, show = program("slurm.places.probe", "run_with_root.sh"), 'printf %s "$SLURMTASKS_ROOT"'
        argv = ["sh", "-c", script, "sh", place.url.root or "~", "sh", "-c", show]
        store = JobStore(place.transport, place.transport.run(argv, timeout=_SECONDS).stdout)
        found = store.keys()
        return [key for key in found if key.startswith(incomplete)]
    except (SlurmError, click.ClickException):
        return []


key_argument = click.argument("key", shell_complete=complete_keys)
cluster_argument = click.argument("cluster", required=False, shell_complete=complete_clusters)
on_option = click.option(
    "--on",
    "cluster",
    metavar="CLUSTER",
    help="The cluster: a name in the Slurmfile, or a URL.",
    shell_complete=complete_clusters,
)
