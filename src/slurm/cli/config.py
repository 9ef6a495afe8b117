"""`slurm config`: what the Slurmfile says."""

from __future__ import annotations

import click

from slurm import slurmfile
from slurm.cli.places import DEFAULT, show_json, show_table, slurmfile_of
from slurm.slurmfile import DEFAULTS, Setting
from slurm.url import ClusterURL


@click.group()
def config() -> None:
    """What the Slurmfile says."""


@config.command()
@click.argument("cluster", required=False)
@click.option("--file", "path", type=click.Path(), help="The Slurmfile to read, rather than the one that counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(cluster: str | None, path: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show every value of CLUSTER as it counts, and where it comes from.

    All that is wrong in the file is shown instead, and the exit status is 1.
    """
    file = path or slurmfile_of(cluster)
    settings = slurmfile.load(cluster, path).settings if file else _of_url(cluster)
    if as_json:
        show_json([setting._asdict() for setting in settings])
    else:
        show_table(
            [(key, value, f"{origin}{f', of {other}' if other else ''}") for key, value, origin, other in settings]
        )


def _of_url(said: str | None) -> list[Setting]:
    """The same of a cluster that no Slurmfile has."""
    url = ClusterURL.parse(said or DEFAULT)
    every = {key: (value, "default") for key, value in DEFAULTS.items()}
    every["url"] = (str(url), "argument" if said else "default")
    if url.root:
        every["root"] = (url.root, "argument")
    return [Setting(key, *every[key]) for key in sorted(every, key=lambda key: key != "url")]
