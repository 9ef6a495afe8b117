"""`slurm completion`, and what shells complete: keys of jobs and names of clusters. Runs no command of a scheduler."""

from __future__ import annotations

import logging

import click
from click.shell_completion import get_completion_class

from slurm import slurmfile
from slurm.cli import output
from slurm.errors import SlurmError
from slurm.protocol.shell import program
from slurm.slurmfile.sources import search
from slurm.storage.job_store import JobStore

_SECONDS = 5.0
"""The longest time to look for the root."""


@click.command(short_help="Print a script that completes commands, keys and clusters.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the script that makes SHELL complete commands, options, keys of jobs and names of clusters.

    \b
    bash:  eval "$(slurm completion bash)"       in ~/.bashrc
    zsh:   eval "$(slurm completion zsh)"        in ~/.zshrc, after compinit
    fish:  slurm completion fish | source        in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"click has no completion for {shell}")
    output.show(found(ctx.find_root().command, {}, "slurm", "_SLURM_COMPLETE").source(), nl=False)


def clusters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the clusters in the Slurmfile."""
    del ctx, param
    try:
        file = search()
        return [name for name in slurmfile.names(file) if name.startswith(incomplete)] if file else []
    except SlurmError:
        return []


def keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The keys of the jobs on the cluster, newest first. None on another host, where a log-in may ask a question."""
    from slurm.cli.cluster_argument import cluster_of  # noqa: PLC0415 - it uses this module

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
