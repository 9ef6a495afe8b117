"""`slurm completion`: print the script that makes a shell complete commands, clusters and keys."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.protocol.shell import program

_ENDINGS = {"bash": "sh", "zsh": "zsh", "fish": "fish"}


@click.command()
@click.argument("shell", type=click.Choice([*_ENDINGS]))
def completion(shell: str) -> None:
    r"""Print the script that makes SHELL complete commands, options, keys of jobs and names of clusters.

    \b
    bash:  eval "$(slurm completion bash)"       in ~/.bashrc
    zsh:   eval "$(slurm completion zsh)"        in ~/.zshrc, after compinit
    fish:  slurm completion fish | source        in ~/.config/fish/config.fish
    """
    output.show(program(__name__, f"completion.{_ENDINGS[shell]}"), nl=False)
