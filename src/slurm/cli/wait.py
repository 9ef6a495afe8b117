"""`slurm wait`: wait for the end of jobs."""

from __future__ import annotations

from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from slurm.cli import output
from slurm.cli.cluster_argument import complete_keys, job_of, on_option
from slurm.cli.one_job import counts_of
from slurm.cli.output import json_option, show_json
from slurm.cli.parameters import timeout_option
from slurm.jobs.completion import as_they_end, when_all_finish
from slurm.jobs.facts import facts_of
from slurm.jobs.find import with_added
from slurm.protocol.states import JobState
from slurm.submission.growing_state import GrowingState
from slurm.views.displays import duration
from slurm.views.overview import overviews
from slurm.views.status import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from slurm.jobs.job import Job, JobArray
    from slurm.serialization.pickling import Reference


class NotEnded(click.ClickException):
    """Some jobs have not ended, and the time is over."""

    def __init__(self, problem: str, keys: Iterable[str], unqueued: Collection[str] = ()) -> None:
        queued = ", ".join(key for key in keys if key not in unqueued)
        words = (problem, queued and f"the job goes on: {queued}", *(f"{key} is not queued yet" for key in unqueued))
        super().__init__("; ".join(filter(None, words)))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        del file
        output.show_prose([self.message], err=True)


class Interrupted(NotEnded):
    """Some jobs have not ended, and the user has pressed Ctrl-C."""

    exit_code = output.INTERRUPTED


class _Whole(NamedTuple):
    """A job, or all jobs of a map, whose end is one event."""

    job: Job[Any] | JobArray[Any]

    @property
    def key(self) -> str:
        """The key of the job or map."""
        return self.job.key

    @property
    def reference(self) -> Reference:
        """The submission and the cluster of the job or map."""
        return self.job.reference

    @property
    def known_to_have_ended(self) -> bool:
        """Whether this process knows that all jobs have ended."""
        part = with_added(self.job).part
        return all(map(part.state.finished, part.indices)) and not (part.state.may_grow and self.job.is_array)

    def when_finished(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when all jobs have ended; returns a function that undoes this."""
        place, state, _ = self.job.part
        if isinstance(state, GrowingState) and self.job.is_array:
            place.tracker.when_pool_ended(state, callback)
            return partial(state.remove_end_callback, callback)
        return when_all_finish(self.job if self.job.is_array else [self.job], callback)


def each_at_its_end(
    jobs: Iterable[Job[Any] | JobArray[Any]], timeout: float | None
) -> Iterator[Job[Any] | JobArray[Any]]:
    """Yield each job or map when all its calls have ended. Raises NotEnded after `timeout` seconds, and for Ctrl-C."""
    waiting = {job.key: _Whole(job) for job in jobs}
    try:
        for whole in as_they_end(list(waiting.values()), timeout):
            del waiting[whole.job.key]
            yield with_added(whole.job)
    except TimeoutError:
        unqueued = [key for key, whole in waiting.items() if whole.job.part.state.submitted is None]
        raise NotEnded(f"not ended after {timeout:g} s", waiting, unqueued) from None
    except KeyboardInterrupt:
        raise Interrupted("interrupted", waiting) from None


@click.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_keys)
@timeout_option
@on_option
@json_option
def wait(keys: tuple[str, ...], timeout: float | None, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Wait for the end of the jobs KEY..., and print one line for each KEY when it has ended. A map has one line.
    An elastic pool ends when all programs have closed it.

    The exit status is 0 if all succeeded, and 1 if a call failed or was cancelled, or if the timeout has
    passed. With --json, print a list at the end. Ctrl-C ends the command; the jobs continue.
    """
    ended: list[dict[str, Any]] = []
    try:
        for job in each_at_its_end((job_of(key, cluster) for key in dict.fromkeys(keys)), timeout):
            ended.append(_end_of(job))
            if not as_json:
                output.show_prose([_line(ended[-1])], indent=2)
    finally:
        if as_json:
            show_json(ended)
    if any(state != JobState.COMPLETED.value for facts in ended for state in facts["states"]):
        raise SystemExit(1)


def _end_of(job: Job[Any] | JobArray[Any]) -> dict[str, Any]:
    """The facts about a job that has ended, with the first failure."""
    (found,) = overviews([job.part])
    failures = found.failures()
    first = next((error_of(status) for status in failures.values()), "") or None
    if first and (functions := found.part.state.functions):
        first = f"{functions.of(next(iter(failures)))}: {first}"
    return facts_of(job, found) | {"seconds": found.summary.seconds, "failed": list(failures), "error": first}


def _line(facts: dict[str, Any]) -> str:
    """The facts in one line: "greet/…: 3 COMPLETED, 1 FAILED after 2 s: [1] ValueError: too small"."""
    took = "" if facts["seconds"] is None else f" after {duration(facts['seconds'])}"
    which = f"[{facts['failed'][0]}] " if facts["failed"] and facts["count"] > 1 else ""
    error = " ".join(facts["error"].split()) if facts["error"] else ""
    return f"{facts['key']}: {counts_of(facts)}{took}{f': {which}{error}' if error else ''}"
