"""`slurm retry`: submit calls once more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.jobs.job import JobArray
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.protocol.states import JobState
from slurm.views.status import statuses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.jobs.job import Job

_WORDS = ("true", "false", "null")


@click.command()
@key_argument
@click.option("--failed", is_flag=True, help="Only the calls that have failed by now, or were cancelled.")
@click.option("--mem", metavar="SIZE", help="The memory of the new job, such as 8G.")
@click.option("--time", metavar="LIMIT", help="The time limit of the new job, such as 2:00:00.")
@click.option(
    "--option", "given", multiple=True, metavar="NAME=VALUE", help="Another option of the new job. Repeatable."
)
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
    """Submit the job KEY once more, or all calls of a map, with the options that they had. Print the new key.

    With --failed, submit only the calls that have failed by now, or were cancelled; if there is none, submit and print
    nothing. The first job stays as it is. The VALUE of an option is its text; true, false, null (no such option) and
    what begins with { or [ are JSON.
    """
    options = {name: value for name, value in (("mem", mem), ("time", time)) if value is not None}
    wanted = Options.parse(options_of(given) | options)
    job = job_of(key, cluster)
    place, state, _ = job.part
    indices = failed_calls(job) if failed else job.part.indices
    submitted = resubmit(place, state.key, indices, wanted) if indices else None
    if as_json:
        show_json({"key": submitted and submitted.key, "calls": list(indices)})
    elif submitted:
        output.show(submitted.key if isinstance(job, JobArray) else submitted.name(0))


def options_of(given: Iterable[str]) -> dict[str, Any]:
    """The options that were given as NAME=VALUE. Raises UsageError for another form."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option {text}: write NAME=VALUE, such as partition=long or exclusive=true.")
        try:
            read = json.loads(value) if value in _WORDS or value.startswith(("{", "[")) else value
        except ValueError:
            read = value
        found[name.replace("-", "_")] = read
    return found


def failed_calls(job: Job[Any] | JobArray[Any]) -> Sequence[int]:
    """The calls that have ended without a result. Tells how many are left out because they have not ended."""
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
