"""`slurm wait`: wait for the end of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, on_option
from slurm.cli.jobs import counts_of, facts_of
from slurm.cli.output import json_option, show_json
from slurm.cli.parameters import timeout_option
from slurm.jobs.completion import as_they_end, when_all_finish
from slurm.jobs.job import JobArray
from slurm.protocol.states import JobState
from slurm.views.displays import duration
from slurm.views.overview import overviews
from slurm.views.status import error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.jobs.job import Job


class _Whole(NamedTuple):
    """A job, or all jobs of a map, as one thing that ends."""

    job: Job[Any] | JobArray[Any]

    def when_finished(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call back once all have ended; returns a function that undoes this."""
        return when_all_finish(self.job if isinstance(self.job, JobArray) else [self.job], callback)


@click.command(short_help="Wait for the end of jobs.")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@timeout_option
@on_option
@json_option
def wait(keys: tuple[str, ...], timeout: float | None, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Wait for the end of the jobs KEY..., and print one line for each KEY when it has ended. A map is one line.

    The exit status is 0 if all succeeded, and 1 if a call failed or was cancelled, or if the time is over. With --json,
    print a list at the end. Ctrl-C ends the command; the jobs go on.
    """
    place = cluster_of(cluster)
    waiting = list({job.key: _Whole(job) for job in map(place.job, keys)}.values())
    ended: dict[str, dict[str, Any]] = {}
    problem, status = "", 0
    try:
        for each in as_they_end(waiting, timeout):
            facts = ended[each.job.key] = _end_of(each.job)
            if not as_json:
                output.show(_line(facts))
    except TimeoutError:
        problem, status = f"not ended after {timeout:g} s", 1
    except KeyboardInterrupt:
        problem, status = "interrupted", output.INTERRUPTED
    if as_json:
        show_json(list(ended.values()))
    if problem:
        output.show(
            f"{problem}; the job goes on: {', '.join(w.job.key for w in waiting if w.job.key not in ended)}", err=True
        )
    elif any(state != JobState.COMPLETED.value for facts in ended.values() for state in facts["states"]):
        status = 1
    raise SystemExit(status)


def _end_of(job: Job[Any] | JobArray[Any]) -> dict[str, Any]:
    """The facts about a job that has ended, with the first failure."""
    (found,) = overviews([job.part])
    failures = found.failures()
    first = next((error_of(status) for status in failures.values()), "") or None
    return facts_of(job, found) | {"seconds": found.summary.seconds, "failed": list(failures), "error": first}


def _line(facts: dict[str, Any]) -> str:
    """The facts in one line: "greet/…: 3 COMPLETED, 1 FAILED after 2 s: [1] ValueError: too small"."""
    took = "" if facts["seconds"] is None else f" after {duration(facts['seconds'])}"
    which = f"[{facts['failed'][0]}] " if facts["failed"] and facts["count"] > 1 else ""
    error = " ".join(facts["error"].split()) if facts["error"] else ""
    return f"{facts['key']}: {counts_of(facts)}{took}{f': {which}{error}' if error else ''}"
