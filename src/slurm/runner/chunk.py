"""run_chunk: the calls of an element that makes several, in turn or side by side, each with an outcome of its own."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from slurm.protocol import LOAD, RESOLVE, RUN, SAVE, CallFailure
from slurm.records import TYPE_CHECKING
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.job_context import enter, move_to
from slurm.runner.journal import Journal
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.runner.result_saver import describe, exit_code, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from slurm.protocol import Outcome
    from slurm.runner.argument_loader import Call
    from slurm.runner.job_context import JobContext
    from slurm.runner.journal import Done
    from slurm.runner.result_saver import ResultSaver

    Load = Callable[[], Call]
    Results = Generator[tuple[int, Done], None, None]


def run_chunk(job: JobContext, saver: ResultSaver, chunk: int, workers: int = 0) -> Outcome:
    """Run up to `chunk` calls from the job's index on, and commit them together. One that fails fails alone.

    With `workers` they run side by side, in so many processes. An attempt goes on where the one before it was stopped.
    """
    if workers:
        job = job.replace(cpus=max(1, job.cpus // workers))
        os.environ.setdefault("OMP_NUM_THREADS", str(job.cpus))  # libraries read it when they are loaded
    resolver = PlaceholderResolver(job.root)
    journal = Journal(job, job.index // chunk)
    done = journal.earlier()
    enter(job)
    loads = enumerate(ArgumentLoader(job.directory, resolver).load_many(job.index, chunk))
    left = ((place, load) for place, load in loads if place not in done)
    results = _side_by_side(left, resolver, job, workers) if workers else _in_turn(left, resolver, job)
    with closing(results):
        for place, found in results:
            done[place] = found
            journal.note(place, found)
    try:
        outcome = saver.several([done[place] for place in range(len(done))])
    except OSError as error:
        outcome = saver.failure(SAVE, error)
    journal.remove()
    return outcome


def _in_turn(calls: Iterable[tuple[int, Load]], resolver: PlaceholderResolver, job: JobContext) -> Results:
    for place, load in calls:
        yield place, _one(load, resolver, job, place)


def _side_by_side(
    calls: Iterable[tuple[int, Load]], resolver: PlaceholderResolver, job: JobContext, workers: int
) -> Results:
    from slurm.runner.pool import run_side_by_side  # noqa: PLC0415 - most elements have no workers

    loads = dict(calls)
    return run_side_by_side(lambda place: _one(loads[place], resolver, job, place), list(loads), workers)


def _one(load: Load, resolver: PlaceholderResolver, job: JobContext, place: int) -> Done:
    phase = LOAD
    move_to(job.index + place)
    resolver.forget()
    try:
        call = load()
        if call.edges:
            phase = RESOLVE
            resolver.check(call.edges)
        phase = RUN
        kwargs = {**call.kwargs, call.context: job.replace(index=job.index + place)} if call.context else call.kwargs
        value = call.function(*call.args, **kwargs)
        phase = SAVE
        return pickled(value)
    except UpstreamFailed as error:
        return _failure(place, RESOLVE, error)
    except BaseException as error:  # noqa: BLE001 - the user's code: SystemExit and KeyboardInterrupt are outcomes too
        return _failure(place, phase, error)


def _failure(place: int, phase: str, error: BaseException) -> CallFailure:
    record = describe(error)
    print(record.traceback, file=sys.stderr, end="")
    return CallFailure(call=place, phase=phase, exit_code=exit_code(error), error=record)
