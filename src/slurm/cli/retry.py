"""`slurm retry`: submit calls again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.cli.parameters import job_options, options_of
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.protocol.states import JobState
from slurm.views.status import statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job, JobArray


@click.command()
@key_argument
@click.option("--failed", is_flag=True, help="Submit only the calls that have failed by now, or were cancelled.")
@job_options
@on_option
@json_option
def retry(  # noqa: PLR0917 - click's way
    key: str,
    failed: bool,  # noqa: FBT001 - click's way
    mem: str | None,
    time: str | None,
    given: tuple[str, ...],
    cluster: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Submit the job KEY, or all calls of a map, again, with the same options. Print the new key.

    With --failed, submit only the calls that have failed by now, or were cancelled; if there is none, submit and print
    nothing. The first job does not change. The VALUE of an option is its text. The words true, false and null
    (which removes the option), and text that begins with { or [, are JSON.
    """
    wanted = Options.parse(options_of(mem, time, given))
    job = job_of(key, cluster)
    place, state, _ = job.part
    indices = failed_calls(job) if failed else job.part.indices
    submitted = resubmit(place, state.key, indices, wanted) if indices else None
    if as_json:
        show_json({"key": submitted and submitted.key, "calls": list(indices)})
    elif submitted:
        output.show(submitted.key if job.is_array else submitted.name(0))


def failed_calls(job: Job[Any] | JobArray[Any]) -> Sequence[int]:
    """The calls that have ended without a result. Prints how many calls are left out because they have not ended."""
    (found,) = statuses([job.part])
    some = [
        index
        for index, status in zip(job.part.indices, found, strict=True)
        if status.problem or (status.state.final and status.state is not JobState.COMPLETED)
    ]
    unfinished = sum(not status.state.final and not status.problem for status in found)
    if unfinished:
        output.show_prose(
            [f"not retried, because not ended: {unfinished} of {len(found)} calls of {job.key}"], err=True
        )
    if not some:
        output.show(f"no call of {job.key} has failed", err=True)
    return some
