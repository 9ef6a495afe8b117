"""`slurm envs`: list and remove the environments that were built for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slurm.cli.cluster_argument import cluster_argument, cluster_of, nothing_on, on_option
from slurm.cli.help_text import Group
from slurm.cli.output import Finite, json_option, show_json, show_table
from slurm.clusters import environment_cleanup
from slurm.views.displays import duration, memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.environment_cleanup import StoredEnvironment


@click.group(cls=Group)
def envs() -> None:
    """List and remove the environments that were built for jobs under the root of a cluster."""


@envs.command("list", short_help="List environments: size, time since last use, users.")
@cluster_argument
@json_option
def list_(cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the environments of CLUSTER: size, time since the last request, and the jobs that use each."""
    found = cluster_of(cluster)
    environments = environment_cleanup.list_environments(found)
    _show(environments, cluster, f"there are no environments in {found.place.store.root}", as_json=as_json)


@envs.command(short_help="Remove environments that no job needs.")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@on_option
@json_option
def rm(keys: tuple[str, ...], cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove the environments KEY... If an unfinished job uses one of them, remove none."""
    environment_cleanup.remove(cluster_of(cluster), keys)
    if as_json:
        show_json(list(keys))


@envs.command(short_help="Remove environments that no job has requested for some days.")
@cluster_argument
@click.option(
    "--days",
    default=30.0,
    show_default=True,
    type=Finite(min=0, max=environment_cleanup.MOST_DAYS),
    help="Minimum number of days since the last request.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@json_option
def gc(cluster: str | None, days: float, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove the environments of CLUSTER that no job has requested for some days. Environments in use stay."""
    found = environment_cleanup.collect(cluster_of(cluster), days=days, dry_run=dry_run)
    _show(found, cluster, f"no environment has been unused for {days:g} days", as_json=as_json)


def _show(environments: Sequence[StoredEnvironment], cluster: str | None, nothing: str, *, as_json: bool) -> None:
    if as_json:
        show_json([environment._asdict() for environment in environments])
    elif environments:
        rows = [(e.key, e.state, memory(e.bytes), duration(e.unused), e.users() or "-") for e in environments]
        show_table([("KEY", "STATE", "SIZE", "UNUSED", "USED BY"), *rows])
    else:
        nothing_on(cluster, nothing)
