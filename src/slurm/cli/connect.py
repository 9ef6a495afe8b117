"""`slurm connect`: a shell, or a command, beside a running job."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.jobs.job import JobArray
from slurm.protocol.states import JobState
from slurm.sanitize.terminal import for_line
from slurm.views.status import error_of, statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job
    from slurm.submission.status import JobStatus

_MOST = 5
"""The number of running calls that a message names."""


@click.command(
    short_help="Open a shell, or run a command, beside a running job.",
    context_settings={"allow_interspersed_args": False},
)
@on_option
@key_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def connect(key: str, command: tuple[str, ...], cluster: str | None) -> None:
    r"""Open a shell in the allocation of the running job KEY, or run COMMAND there: on its first node.

    \b
        slurm connect train/20261121T094612Z-fa48cadf
        slurm connect "train/20261121T094612Z-fa48cadf[3]" -- nvidia-smi

    The exit status is that of the shell or the command. The job goes on.
    """
    words = list(command[1:] if command[:1] == ("--",) else command)
    if command and command[0].partition("=")[0] == "--on":
        raise click.UsageError("--on stands before KEY: slurm connect --on CLUSTER KEY [-- COMMAND...]")
    job = running_call(job_of(key, cluster), "connect")
    place, terminal = job.part.place, sys.stdin.isatty() and sys.stdout.isatty()
    inside = place.queue.client.inside_command(str(job.job_id), words or ["bash"], terminal=terminal)
    argv = place.transport.attached(inside, terminal=terminal)
    if not argv:
        message = f"{place.url} has no terminal: use an SSH URL that runs `ssh`, such as slurm+ssh://HOST"
        raise click.ClickException(message)
    sys.stdout.flush()
    os.execvp(argv[0], list(argv))


def running_call(job: Job[Any] | JobArray[Any], verb: str) -> Job[Any]:
    """The call, if it runs; of a map, the only one that runs. Raises UsageError or ClickException otherwise."""
    (found,) = statuses([job.part])
    jobs = list(job) if isinstance(job, JobArray) else [job]
    running = [each for each, status in zip(jobs, found, strict=True) if status.state is JobState.RUNNING]
    if len(running) > 1:
        some = ", ".join(str(each.index) for each in running[:_MOST])
        more = f" and {len(running) - _MOST} more" if len(running) > _MOST else ""
        raise click.UsageError(f"calls {some}{more} of {job.key} run: name one, as slurm {verb} '{running[0].key}'")
    if not running:
        raise click.ClickException(f"{job.key} does not run{_why(found)}")
    return running[0]


def _why(found: Sequence[JobStatus]) -> str:
    """Why a job does not run: its state, and the reason."""
    status = found[0]
    states = ", ".join(dict.fromkeys(status.state.value for status in found))
    why = for_line(error_of(status) or status.explanation or status.reason or "") if len(found) == 1 else ""
    return f": it is {states}{f' ({why})' if why else ''}"
