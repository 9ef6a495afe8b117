"""`slurm config`: what the Slurmfile says."""

from __future__ import annotations

import click

from slurm import slurmfile
from slurm.cli.places import show_json, show_table


@click.group()
def config() -> None:
    """What the Slurmfile says."""


@config.command()
@click.argument("name", required=False)
@click.option("--file", "path", type=click.Path(), help="The Slurmfile to read, rather than the one that counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str | None, path: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show every value of the cluster NAME as it counts, and where it comes from.

    All that is wrong in the file is shown instead, and the exit status is 1.
    """
    settings = slurmfile.load(name, path).settings
    if as_json:
        show_json([setting._asdict() for setting in settings])
    else:
        show_table(
            [
                (key, value, f"{origin}{f', of {cluster}' if cluster else ''}")
                for key, value, origin, cluster in settings
            ]
        )
