"""run_chunk: the calls of an element that makes several, in turn or side by side, each with an outcome of its own."""

from __future__ import annotations

import os
from contextlib import closing

from slurm.protocol import LOAD, RESOLVE, RUN, SAVE, STOPPED
from slurm.protocol.outcomes import CallFailure
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.job_context import Stopped, drop_checkpoints, enter, move_to, say, stopping
from slurm.runner.journal import Journal
from slurm.runner.pickling import pickled
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.runner.result_saver import STOPPED_STATUS, describe, exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from slurm.protocol.outcomes import Outcome
    from slurm.runner.argument_loader import Call
    from slurm.runner.job_context import JobContext
    from slurm.runner.journal import Done
    from slurm.runner.result_saver import ResultSaver

    Load = Callable[[], Call]
    Results = Generator[tuple[int, Done], None, None]


def run_chunk(job: JobContext, saver: ResultSaver, chunk: int, workers: int = 0) -> Outcome:
    """Run up to `chunk` calls from the job's index on, and commit them together. One that fails fails alone.

    With `workers` they run side by side, in so many processes. An attempt goes on where the one before it was stopped,
    and calls that failed run again if the submission's `Retry` is why there is one.
    """
    if workers:
        job = job.replace(cpus=max(1, job.cpus // workers))
        os.environ.setdefault("OMP_NUM_THREADS", str(job.cpus))  # libraries read it when they are loaded
    resolver = PlaceholderResolver(job.root)
    journal = Journal(job, job.index // chunk)
    done = {place: found for place, found in journal.earlier().items() if place < chunk}
    if done and saver.continues:
        done = _without_those_to_retry(done, job)
    enter(job)
    loads = enumerate(ArgumentLoader(job.directory, resolver).load_many(job.index, chunk))
    left = ((place, load) for place, load in loads if place not in done)
    results = _side_by_side(left, resolver, job, workers) if workers else _in_turn(left, resolver, job)
    try:
        with closing(results):
            for place, found in results:
                done[place] = found
                journal.note(place, found)
        outcome = saver.several([done[place] for place in range(len(done))])
    except Stopped as stopped:
        outcome = _stopped(job, saver, chunk, done, str(stopped))
    except OSError as error:
        outcome = saver.failure(SAVE, error)
    if saver.continues and not outcome.succeeded:
        journal.keep()
    else:
        journal.remove()
    return outcome


def _stopped(job: JobContext, saver: ResultSaver, chunk: int, done: Mapping[int, Done], signal: str) -> Outcome:
    """The next attempt finds in the journal what is done; if there is none, it is kept now."""
    from slurm.options import Options  # noqa: PLC0415 - most elements are never stopped
    from slurm.options.retry import may_restart  # noqa: PLC0415

    submission = job.submission()
    if may_restart(Options.parse(submission.options), job.attempt):
        return saver.stopped(signal)
    places = range(min(chunk, submission.count - job.index))
    never = (CallFailure(call=place, phase=STOPPED, exit_code=STOPPED_STATUS) for place in places)
    return saver.several([done.get(failure.call, failure) for failure in never], stopped=signal)


def _without_those_to_retry(done: Mapping[int, Done], job: JobContext) -> dict[int, Done]:
    from slurm.options import Options  # noqa: PLC0415 - most elements make one call, and are not retried
    from slurm.options.retry import failure_names, of_options  # noqa: PLC0415

    policy = of_options(Options.parse(job.submission().options))
    survived = policy.failures if policy else frozenset()
    return {
        place: found
        for place, found in done.items()
        if isinstance(found, bytes) or not survived & failure_names(found.phase, found.error)
    }


def _in_turn(calls: Iterable[tuple[int, Load]], resolver: PlaceholderResolver, job: JobContext) -> Results:
    for place, load in calls:
        if stopping():
            raise Stopped(stopping())
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
        value = call.make(job.replace(index=job.index + place) if call.context else None)
        phase = SAVE
        found = pickled(value)
    except UpstreamFailed as error:
        return _failure(place, RESOLVE, error)
    except Stopped:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code: SystemExit and KeyboardInterrupt are outcomes too
        return _failure(place, phase, error)
    drop_checkpoints(job, job.index + place)
    return found


def _failure(place: int, phase: str, error: BaseException) -> CallFailure:
    record = describe(error)
    say(record.traceback)
    return CallFailure(call=place, phase=phase, exit_code=exit_code(error), error=record)
