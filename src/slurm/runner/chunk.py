"""run_chunk: the calls of an element that makes several, one after the other, each with an outcome of its own."""

from __future__ import annotations

import sys

from slurm.protocol import LOAD, RESOLVE, RUN, SAVE, CallFailure
from slurm.records import TYPE_CHECKING
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.job_context import enter, move_to
from slurm.runner.journal import Journal
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.runner.result_saver import describe, exit_code, pickled

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.protocol import Outcome
    from slurm.runner.argument_loader import Call
    from slurm.runner.job_context import JobContext
    from slurm.runner.result_saver import ResultSaver


def run_chunk(job: JobContext, saver: ResultSaver, chunk: int) -> Outcome:
    """Run up to `chunk` calls from the job's index on, and commit them together. One that fails fails alone.

    An attempt goes on where the one before it was stopped.
    """
    resolver = PlaceholderResolver(job.root)
    journal = Journal(job, job.index // chunk)
    done = journal.earlier()
    enter(job)
    for place, load in enumerate(ArgumentLoader(job.directory, resolver).load_many(job.index, chunk)):
        if place >= len(done):
            move_to(job.index + place)
            done.append(_one(load, resolver, job, place))
            journal.note(done[-1])
    try:
        outcome = saver.several(done)
    except OSError as error:
        outcome = saver.failure(SAVE, error)
    journal.remove()
    return outcome


def _one(load: Callable[[], Call], resolver: PlaceholderResolver, job: JobContext, place: int) -> bytes | CallFailure:
    phase = LOAD
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
