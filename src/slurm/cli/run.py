"""`slurm run`: call a function of a module or a file on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, on_option
from slurm.cli.output import json_option, show_json
from slurm.cli.parameters import job_options, options_of, timeout_option
from slurm.cli.result import show_results
from slurm.cli.signature import command_of
from slurm.cli.target import complete_targets, load
from slurm.tasks.decorators import task
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job


@click.command(
    short_help="Call a function on a cluster, and print its result.",
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.argument("target", metavar="MODULE:FUNCTION", shell_complete=complete_targets)
@click.argument("arguments", metavar="[--PARAMETER VALUE]...", nargs=-1, type=click.UNPROCESSED)
@job_options
@click.option("--detach", "-d", is_flag=True, help="Print the key of the job, and do not wait.")
@timeout_option
@on_option
@json_option
@click.pass_context
def run(  # noqa: PLR0913, PLR0917 - click's way
    ctx: click.Context,
    target: str,
    arguments: tuple[str, ...],
    mem: str | None,
    time: str | None,
    given: tuple[str, ...],
    detach: bool,  # noqa: FBT001 - as above
    timeout: float | None,
    cluster: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    r"""Call a function or a task on a cluster, wait for its end, and print the repr of its result.

    The function is MODULE:FUNCTION, or FILE.py:FUNCTION. Write its parameters as options after the function, and the
    options of this command before the function:

    \b
        slurm run --on gpu --mem 4G train.py:train --rate 0.1 --epochs 3
        slurm run train.py:train --help

    For a bool, write --NAME or --no-NAME. For a list, repeat the option. For a dict, write JSON. Ctrl-C ends the
    command; the job continues. With --json, print the result as JSON.
    """
    with output.kept_for_json(as_json):
        function = load(target)
    try:
        of: Task[..., Any] = function if isinstance(function, Task) else task(function)
    except TypeError as error:
        raise click.UsageError(str(error)) from None
    wanted = of.with_options(**options_of(mem, time, given))

    def submit(*args: Any, **kwargs: Any) -> None:
        with cluster_of(cluster, callbacks=True):
            job: Job[Any] = wanted(*args, **kwargs)
            if detach:
                if as_json:
                    show_json({"key": job.key})
                else:
                    output.show(job.key)
                return
            output.show_prose([f"submitted {job.key}"], err=True)
            show_results(job, timeout, as_json=as_json)

    _invoke(ctx, command_of(target, of.unwrapped, of.signature, submit), arguments)


def _invoke(ctx: click.Context, command: click.Command, arguments: Sequence[str]) -> None:
    """Run the command of the function with these words. Raises UsageError, also for an option of `slurm run`."""
    parent = click.Context(click.Command("run"), info_name="slurm run", help_option_names=ctx.help_option_names)
    try:
        made = command.make_context(command.name, list(arguments), parent=parent)
    except click.NoSuchOption as error:
        if all(error.option_name not in each.opts for each in ctx.command.params):
            raise
        hint = f"an option of `slurm run` stands before {command.name}."
        raise click.UsageError(f"{command.name} has no parameter {error.option_name}; {hint}") from None
    with made:
        command.invoke(made)
