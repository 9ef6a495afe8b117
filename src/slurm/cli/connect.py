"""`slurm connect`: run a shell or a command in the allocation of a running job."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.jobs.job import JobArray
from slurm.protocol.states import JobState
from slurm.sanitize.terminal import for_line
from slurm.views.status import error_of, statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job
    from slurm.submission.status import JobStatus

_MOST = 5
"""The largest number of running calls that a message names."""


@click.command(
    short_help="Open a shell, or run a command, beside a running job.",
    context_settings={"allow_interspersed_args": False},
)
@on_option
@json_option
@key_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def connect(key: str, command: tuple[str, ...], cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    r"""Open a shell in the allocation of the running job KEY, on its first node, or run COMMAND there.

    \b
        slurm connect train/20261121T094612Z-fa48cadf
        slurm connect "train/20261121T094612Z-fa48cadf[3]" -- nvidia-smi

    The exit status is the exit status of the shell or the command. The job continues. With --json, COMMAND has no
    input, and its whole output is read before it is printed.
    """
    words = list(command[1:] if command[:1] == ("--",) else command)
    if command and (option := command[0].partition("=")[0]) in ("--on", "--json"):
        raise click.UsageError(f"{option} stands before KEY: slurm connect [OPTIONS] KEY [-- COMMAND...]")
    if as_json and not words:
        raise click.UsageError("a shell has no JSON: name a command, as slurm connect --json KEY -- nvidia-smi")
    job = running_call(job_of(key, cluster), "connect")
    place, terminal = job.part.place, sys.stdin.isatty() and sys.stdout.isatty()
    if as_json:
        done = place.transport.run(place.queue.client.inside_command(str(job.job_id), words, terminal=False))
        show_json({"key": job.key, "status": done.status, "stdout": done.stdout, "stderr": done.stderr})
        sys.exit(done.status)
    inside = place.queue.client.inside_command(str(job.job_id), words or ["bash"], terminal=terminal)
    argv = place.transport.attached(inside, terminal=terminal)
    if not argv:
        raise click.ClickException(
            f"{place.url} has no terminal: use an SSH URL that runs `ssh`, such as slurm+ssh://HOST"
        )
    sys.stdout.flush()
    os.execvp(argv[0], list(argv))


def running_call(job: Job[Any] | JobArray[Any], verb: str) -> Job[Any]:
    """Return the call if it runs; for a map, the only call that runs. Otherwise raises UsageError or ClickException."""
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
    """Explain why a job does not run, by its state and the reason."""
    status = found[0]
    states = ", ".join(dict.fromkeys(status.state.value for status in found))
    why = for_line(error_of(status) or status.explanation or status.reason or "") if len(found) == 1 else ""
    return f": it is {states}{f' ({why})' if why else ''}"
