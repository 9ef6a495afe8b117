"""`slurm completion`: print the script that makes a shell complete commands, clusters and keys."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from slurm.cli import output
from slurm.protocol.shell import program


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the script that makes SHELL complete commands, options, keys of jobs and names of clusters.

    \b
    bash:  eval "$(slurm completion bash)"       in ~/.bashrc
    zsh:   eval "$(slurm completion zsh)"        in ~/.zshrc, after compinit
    fish:  slurm completion fish | source        in ~/.config/fish/config.fish
    """
    if shell == "bash":
        output.show(program(__name__, "completion.sh"), nl=False)
        return
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"click has no completion for {shell}")
    output.show(found(ctx.find_root().command, {}, "slurm", "_SLURM_COMPLETE").source(), nl=False)
