"""Find the cluster that a command names, by its name in the Slurmfile or its URL."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import click

from slurm import slurmfile
from slurm.cli.output import show_prose
from slurm.clusters import named
from slurm.clusters.named import cluster_named
from slurm.clusters.opening import find_job_or_call
from slurm.errors import ConfigurationError, SlurmError, SlurmfileError
from slurm.protocol.shell import program
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.sources import search
from slurm.storage.job_store import JobStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job, JobArray
    from slurm.slurmfile.sources import Source


_SECONDS = 5.0
"""The longest time in seconds to look for the root, for a completion."""


def cluster_of(text: str | None, *, callbacks: bool = False) -> Cluster:
    """Return the cluster with a name or a URL. Raises UsageError if the text is neither, SlurmfileError for a bad file.

    With `callbacks`, imports the callbacks of the Slurmfile.
    """
    with _as_usage_error():
        return cluster_named(text, callbacks=callbacks)


def job_of(key: str, cluster: str | None) -> Job[Any] | JobArray[Any]:
    """Return the jobs that `key` names on a cluster. Without a cluster, the record of the key names the scheduler.

    The record is then searched for under the root of the default cluster. Raises the errors of `cluster_of`, and
    NoSuchJob.
    """
    return find_job_or_call(cluster_of(cluster).place, key, everywhere=cluster is None)


def nothing_on(cluster: str | None, message: str) -> None:
    """Print that nothing was found on a cluster. If its URL names a root that does not exist, say so.

    Raises ConfigurationError if this root is not a directory.
    """
    show_prose([message], err=True)
    if cluster is None or "://" not in cluster or (root := cluster_of(cluster).place.url.root) is None:
        return
    place = cluster_of(cluster).place
    script = 'if [ -d "$1" ]; then echo directory; elif [ -e "$1" ]; then echo other; fi'
    kind = place.transport.run(["sh", "-c", script, "sh", place.store.root]).stdout.strip()
    if kind == "other":
        raise ConfigurationError(f"the root {root} is not a directory")
    if not kind:
        show_prose([f"note: the root {root} does not exist. The first submission creates it"], err=True)


def slurmfile_of(text: str | None) -> Source | None:
    """Return the Slurmfile that defines this cluster, or None for a URL. Raises the errors of `cluster_of`."""
    with _as_usage_error():
        return named.slurmfile_of(text)


@contextlib.contextmanager
def _as_usage_error() -> Iterator[None]:
    try:
        yield
    except SlurmfileError:
        raise
    except ConfigurationError as error:
        raise click.UsageError(redacted(str(error))) from None


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

    For a cluster on another host, there are no keys, because a log-in may ask a question.
    """
    del param
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


def cluster_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument CLUSTER to a command, and the option --on, which has the same meaning."""

    @functools.wraps(command)
    def named_once(*, cluster: str | None, on: str | None, **others: Any) -> None:
        if cluster and on and cluster != on:
            raise click.UsageError(f"two clusters are named: {redacted(cluster)} and --on {redacted(on)}.")
        command(cluster=cluster or on, **others)

    argument = click.argument("cluster", required=False, shell_complete=complete_clusters)
    return argument(_on("on")(named_once))


def _on(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--on",
        name,
        metavar="CLUSTER",
        help="The cluster: a name in the Slurmfile, or a URL.",
        shell_complete=complete_clusters,
    )


key_argument = click.argument("key", shell_complete=complete_keys)
on_option = _on("cluster")
