"""`slurm config`: show the settings of a cluster, and trust a Slurmfile of another user."""

from __future__ import annotations

from pathlib import Path

import click

from slurm import slurmfile
from slurm.cli import output
from slurm.cli.cluster_argument import DEFAULT, cluster_argument, slurmfile_of
from slurm.cli.output import json_option, show_json, show_table
from slurm.errors import ConfigurationError
from slurm.slurmfile import DEFAULTS, Setting, trust
from slurm.slurmfile.sources import named
from slurm.url import ClusterURL


@click.group()
def config() -> None:
    """Show and trust Slurmfiles."""


@config.command()
@cluster_argument
@click.option("--file", "path", type=click.Path(), help="Read this Slurmfile instead of the one found by the search.")
@json_option
def show(cluster: str | None, path: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show every setting of CLUSTER, and where each comes from.

    If the file has errors, show all of them; the exit status is 1.
    """
    file = named(path) if path else slurmfile_of(cluster)
    settings = slurmfile.read(file, cluster).settings if file else _of_url(cluster)
    if as_json:
        show_json([setting._asdict() for setting in settings])
    else:
        show_table(
            [(key, value, f"{origin}{f', of {other}' if other else ''}") for key, value, origin, other in settings]
        )


@config.command("trust", short_help="Trust the present content of another user's Slurmfile.")
@click.argument("path", type=click.Path(), metavar="PATH")
@click.option("--forget", is_flag=True, help="Stop trusting the file.")
def trust_(path: str, forget: bool) -> None:  # noqa: FBT001 - click's way
    """Trust the present content of the Slurmfile PATH, although another user owns it or may change it.

    A changed file is refused until you trust it again.
    Prints the content of the file, or the changes since you last trusted it.
    """
    file = Path(path).parent.resolve() / Path(path).name
    if forget:
        output.show(f"{file} {'is no longer trusted' if trust.forget(file) else 'was not trusted'}")
        return
    data = named(file).data
    before = trust.trusted_text(file)
    output.show(data.decode(errors="replace") if before is None else trust.difference(before, data))
    try:
        trust.add(file, data)
    except OSError as error:
        raise ConfigurationError(f"cannot write {trust.configuration()}: {error.strerror}") from error
    output.show(f"{file} is now trusted", err=True)


def _of_url(given: str | None) -> list[Setting]:
    """The settings of a cluster that is given by its URL, or of the default cluster."""
    url = ClusterURL.parse(given or DEFAULT)
    every = {key: (value, "default") for key, value in DEFAULTS.items()}
    every["url"] = (str(url), "argument" if given else "default")
    if url.root:
        every["root"] = (url.root, "argument")
    return [Setting(key, *every[key]) for key in sorted(every, key=lambda key: key != "url")]
