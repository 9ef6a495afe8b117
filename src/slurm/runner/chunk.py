"""run_chunk: run the calls of an element that makes several, one after another or in parallel.

`position` is a call's position in its element, from 0.
"""

from __future__ import annotations

import os
from contextlib import closing

from slurm.protocol import LOAD, RESOLVE, RUN, SAVE, STOPPED
from slurm.protocol.outcomes import CallFailure
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.job_context import (
    Stopped,
    drop_checkpoints,
    print_to_log,
    set_current,
    set_current_index,
    stop_signal,
)
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
    """Run up to `chunk` calls from the job's index on, and commit their results together. One call can fail alone.

    With `workers`, the calls run in parallel, in that many processes. An attempt continues where the previous one
    stopped. If the submission's `Retry` caused the attempt, failed calls run again. Calls that remain do not run if the
    element has an outcome when the journal is written.
    """
    if workers:
        job = job.replace(cpus=max(1, job.cpus // workers))
        os.environ.setdefault("OMP_NUM_THREADS", str(job.cpus))  # libraries read it when they are loaded
    resolver = PlaceholderResolver(job.root)
    journal = Journal(job, job.index // chunk)
    done = {position: result for position, result in journal.earlier().items() if position < chunk}
    if done and saver.continues:
        done = _without_calls_to_retry(done, job)
    if saver.metrics:
        saver.metrics.forget(job.index + position for position in range(chunk) if position not in done)
    set_current(job)
    loads = enumerate(ArgumentLoader(job.directory, resolver).load_many(job.index, chunk))
    remaining = ((position, load) for position, load in loads if position not in done)
    results = _run_parallel(remaining, resolver, job, workers) if workers else _run_serial(remaining, resolver, job)
    ended: Outcome | None = None
    try:
        with closing(results):
            for position, result in results:
                done[position] = result
                if journal.add(position, result) and (ended := saver.earlier()):
                    break  # the element was cancelled or fenced meanwhile: the other calls are not wanted
        outcome = ended or saver.several([done[position] for position in range(len(done))])
    except Stopped as stopped:
        outcome = _stopped(job, saver, chunk, done, str(stopped))
    except OSError as error:
        outcome = saver.failure(SAVE, error)
    if saver.continues and not outcome.succeeded and ended is None:
        journal.finish()
    else:
        journal.remove()
    return outcome


def _stopped(job: JobContext, saver: ResultSaver, chunk: int, done: Mapping[int, Done], signal: str) -> Outcome:
    """Save a stop for the next attempt, which reads the journal. If no attempt may follow, save the outcome now."""
    from slurm.options import Options  # noqa: PLC0415 - most elements are never stopped
    from slurm.options.retry import may_restart  # noqa: PLC0415

    submission = job.submission()
    if may_restart(Options.parse(submission.options).get, job.attempt):
        return saver.stopped(signal)
    positions = range(min(chunk, submission.count - job.index))
    missing = (CallFailure(call=position, phase=STOPPED, exit_code=STOPPED_STATUS) for position in positions)
    return saver.several([done.get(failure.call, failure) for failure in missing], stopped=signal)


def _without_calls_to_retry(done: Mapping[int, Done], job: JobContext) -> dict[int, Done]:
    from slurm.options import Options  # noqa: PLC0415 - most elements make one call, and are not retried
    from slurm.options.retry import failure_names, of_options  # noqa: PLC0415

    policy = of_options(Options.parse(job.submission().options).get)
    retried = policy.failures if policy else frozenset()
    return {
        position: result
        for position, result in done.items()
        if isinstance(result, bytes) or not retried & failure_names(result.phase, result.error)
    }


def _run_serial(calls: Iterable[tuple[int, Load]], resolver: PlaceholderResolver, job: JobContext) -> Results:
    for position, load in calls:
        if stop_signal():
            raise Stopped(stop_signal())
        yield position, run_call(load, resolver, job, position)


def _run_parallel(
    calls: Iterable[tuple[int, Load]], resolver: PlaceholderResolver, job: JobContext, workers: int
) -> Results:
    from slurm.runner.parallel_calls import run_parallel  # noqa: PLC0415 - most elements have no workers

    loads = dict(calls)
    return run_parallel(lambda position: run_call(loads[position], resolver, job, position), list(loads), workers)


def run_call(load: Load, resolver: PlaceholderResolver, job: JobContext, position: int) -> Done:
    """Load and make a call; return its pickled result, or its failure."""
    phase = LOAD
    set_current_index(job.index + position)
    resolver.clear()
    try:
        call = load()
        if call.edges:
            phase = RESOLVE
            resolver.check(call.edges)
        phase = RUN
        value = call.make(job.replace(index=job.index + position) if call.context else None)
        phase = SAVE
        result = pickled(value)
    except UpstreamFailed as error:
        return _failure(position, RESOLVE, error)
    except Stopped:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code: SystemExit and KeyboardInterrupt are outcomes too
        return _failure(position, phase, error)
    drop_checkpoints(job, job.index + position)
    return result


def _failure(position: int, phase: str, error: BaseException) -> CallFailure:
    record = describe(error)
    print_to_log(record.traceback)
    return CallFailure(call=position, phase=phase, exit_code=exit_code(error), error=record)
