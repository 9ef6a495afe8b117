"""`slurm config`: what the Slurmfile says."""

from __future__ import annotations

from pathlib import Path

import click

from slurm import slurmfile
from slurm.cli import output
from slurm.cli.output import show_json, show_table
from slurm.cli.places import DEFAULT, slurmfile_of
from slurm.errors import ConfigurationError
from slurm.slurmfile import DEFAULTS, Setting, trust
from slurm.slurmfile.sources import named
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
    file = named(path) if path else slurmfile_of(cluster)
    settings = slurmfile.read(file, cluster).settings if file else _of_url(cluster)
    if as_json:
        show_json([setting._asdict() for setting in settings])
    else:
        show_table(
            [(key, value, f"{origin}{f', of {other}' if other else ''}") for key, value, origin, other in settings]
        )


@config.command("trust", short_help="Use a Slurmfile of another user's as it is now.")
@click.argument("path", type=click.Path(), metavar="PATH")
@click.option("--forget", is_flag=True, help="Use it no more.")
def trust_(path: str, forget: bool) -> None:  # noqa: FBT001 - click's way
    """Use the Slurmfile PATH as it is now, though another user owns it or may change it.

    Once it has changed, it is refused until it is trusted again.
    Prints what it holds, or what has changed since it was trusted before.
    """
    file = Path(path).parent.resolve() / Path(path).name
    if forget:
        output.show(f"{file} {'is not trusted any more' if trust.forget(file) else 'was not trusted'}")
        return
    data = named(file).data
    before = trust.trusted_text(file)
    output.show(data.decode(errors="replace") if before is None else trust.difference(before, data))
    try:
        trust.add(file, data)
    except OSError as error:
        message = f"{trust.configuration()} can't be written: {error.strerror}"
        raise ConfigurationError(message) from error
    output.show(f"{file} is trusted as it is now", err=True)


def _of_url(said: str | None) -> list[Setting]:
    """The same of a cluster that no Slurmfile has."""
    url = ClusterURL.parse(said or DEFAULT)
    every = {key: (value, "default") for key, value in DEFAULTS.items()}
    every["url"] = (str(url), "argument" if said else "default")
    if url.root:
        every["root"] = (url.root, "argument")
    return [Setting(key, *every[key]) for key in sorted(every, key=lambda key: key != "url")]
