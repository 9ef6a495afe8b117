"""`slurm envs`: the environments that were made for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slurm.cli.output import Finite, show_json, show_table
from slurm.cli.places import cluster_of
from slurm.clusters import environment_cleanup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.clusters.environment_cleanup import StoredEnvironment

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="The environments that were made for jobs.")
def envs() -> None:
    """The environments that were made for jobs, under the root of a cluster."""


@envs.command("list", short_help="List them: their size, how long unused, what uses them.")
@click.argument("cluster", required=False)
@_json
def list_(cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the environments of CLUSTER: how large each is, how long nobody has asked for it, and what uses it."""
    _show(environment_cleanup.kept(cluster_of(cluster)), as_json=as_json)


@envs.command(short_help="Remove some of them, if no job needs one.")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--on", "cluster", metavar="CLUSTER", help="Where: a name in the Slurmfile, or a URL.")
def rm(keys: tuple[str, ...], cluster: str | None) -> None:
    """Remove environments; none, if a job that has not ended uses one of them."""
    environment_cleanup.remove(cluster_of(cluster), keys)


@envs.command(short_help="Remove those that nobody has asked for in a while.")
@click.argument("cluster", required=False)
@click.option(
    "--days",
    default=30.0,
    show_default=True,
    type=Finite(min=0, max=environment_cleanup.MOST_DAYS),
    help="How long nobody asked.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@_json
def gc(cluster: str | None, days: float, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove the environments of CLUSTER that nobody has asked for in so many days, but for those in use."""
    _show(environment_cleanup.collect(cluster_of(cluster), days=days, dry_run=dry_run), as_json=as_json)


def _show(environments: Sequence[StoredEnvironment], *, as_json: bool) -> None:
    if as_json:
        show_json([environment._asdict() for environment in environments])
    elif environments:
        rows = [(e.key, e.state, _size(e.bytes), _age(e.unused), e.users() or "-") for e in environments]
        show_table([("KEY", "STATE", "SIZE", "UNUSED", "USED BY"), *rows])


def _size(number: float) -> str:
    for length, unit in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number:.0f} B"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
