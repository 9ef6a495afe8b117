"""The runner of one element: load, resolve, run, save, and return the exit status."""

from __future__ import annotations

import os
import sys

from slurm.protocol import DEBUG_SIGNAL, DUMP_SIGNAL, LOAD, RESOLVE, RUN, SAVE
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.callback_runner import HERE, CallbackRunner, pop_callbacks_flag, pop_metrics_flag
from slurm.runner.job_context import Ended, JobContext, Stopped, request_stop, set_current
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.runner.result_saver import ResultSaver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from slurm.protocol.outcomes import Outcome
    from slurm.runner.argument_loader import Call


def main(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run one element: `root key element tag [chunk workers attempt [signal]] [metrics.json] [callbacks.pkl]`.

    The tag is the minor version of the Python that pickled the calls. The chunk is the number of calls of an element.
    They run in `workers` parallel processes; if this is 0, one after another. The signal, "-" for none, is given if
    another attempt may follow in another job: failures are then saved in `attempts/`, and the signal makes
    `should_stop` true. The argument `metrics.json` is given if the submission asks for metrics, and `callbacks.pkl` if
    it has node hooks. `environ` has the scheduler's variables. Returns the exit status: 0 for a success, n if the task
    calls sys.exit(n), else 1.
    """
    root, key, element, tag, *rest = argv
    hooked, measured = pop_callbacks_flag(rest), pop_metrics_flag(rest)
    chunk, workers, attempt = map(int, rest[:3] or (1, 0, 0))
    dump_on_signal()
    job = JobContext.from_environment(root, key, int(element) * chunk, environ, attempt)
    saver = ResultSaver(job, int(element), continues=len(rest) > 3, measured=measured)
    if len(rest) > 3:
        handle_stop_signals(rest[3])
        saver.begin()
    outcome = saver.earlier()
    if outcome is None:
        callbacks = CallbackRunner.of(job, tag) if hooked else CallbackRunner(job)
        callbacks.fire("on_run_begin")
        outcome = run(job, saver, tag, callbacks) if chunk == 1 else _run_several(job, saver, tag, chunk, workers)
        callbacks.fire_end(outcome, final=saver.is_final(outcome))
    return outcome.exit_code


def handle_stop_signals(name: str) -> None:
    """Treat the stop signal and SIGTERM as a request to save a checkpoint and end."""
    if name != "-":
        from slurm.runner import own_signals  # noqa: PLC0415 - most tasks handle no stop signal

        _signal = __import__("_signal")  # `signal` imports `enum`
        own_signals.handle(
            {getattr(_signal, f"SIG{known}"): lambda *_, known=known: request_stop(known) for known in (name, "TERM")}
        )


def dump_on_signal() -> None:
    """Print the stacks of all threads to the log when DUMP_SIGNAL arrives, whatever the task does.

    When DEBUG_SIGNAL arrives, debugpy starts to listen as soon as the main thread runs Python code.
    """
    faulthandler = __import__("faulthandler")
    try:
        faulthandler.register(DUMP_SIGNAL, file=2)
        __import__("_signal").signal(DEBUG_SIGNAL, _attach)  # `signal` imports `enum`
    except (ValueError, OSError):  # not on Linux
        return


def _attach(*_: object) -> None:
    from slurm.runner.debugger import listen  # noqa: PLC0415 - few calls are debugged

    listen()


def run(job: JobContext, saver: ResultSaver, tag: str, callbacks: CallbackRunner) -> Outcome:
    """Make one call, and save its result or failure."""
    phase = LOAD
    try:
        _check_python(tag)
        if saver.metrics:
            saver.metrics.forget([job.index])
        resolver = PlaceholderResolver(job.root)
        call = ArgumentLoader(job.directory, resolver).load(job.index)
        phase = RESOLVE
        resolver.check(call.edges)
        phase = RUN
        value = _run_workflow(call, job, callbacks) if call.workflow else _call(call, job)
        phase = SAVE
        return saver.success(value)
    except UpstreamFailed as error:
        return saver.failure(RESOLVE, error)
    except Stopped as error:
        return saver.stopped(str(error))
    except Ended as error:
        return saver.cancelled(str(error))
    except BaseException as error:  # noqa: BLE001 - the user's code: SystemExit and KeyboardInterrupt are outcomes too
        return saver.failure(phase, error)


def _run_several(job: JobContext, saver: ResultSaver, tag: str, chunk: int, workers: int) -> Outcome:
    from slurm.runner.chunk import run_chunk  # noqa: PLC0415 - most elements make one call

    try:
        _check_python(tag)
        return run_chunk(job, saver, chunk, workers)
    except BaseException as error:  # noqa: BLE001 - the user's function may fail to load
        return saver.failure(LOAD, error)


def _call(call: Call, job: JobContext) -> Any:
    set_current(job)
    return call.make(job)


def _run_workflow(call: Call, job: JobContext, callbacks: CallbackRunner) -> Any:
    from slurm.runner.workflow_context_builder import run  # noqa: PLC0415 - most elements are no workflows

    callbacks.fire("on_workflow_begin")
    try:
        return run(call, job, callbacks.of_cluster)
    finally:
        error = sys.exc_info()[1]
        callbacks.fire("on_workflow_end", error=error and f"{type(error).__name__}: {error}")


def _check_python(tag: str) -> None:
    if tag != HERE:
        raise RuntimeError(
            f"the call was pickled by Python {tag}, but this node runs Python {HERE} ({sys.executable}): "
            f"pickles don't load under another minor version. Use Python {tag} on the cluster: Cluster(…, python=…)"
        )
