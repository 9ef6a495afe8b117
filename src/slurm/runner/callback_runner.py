"""CallbackRunner: call a submission's hooks on the node, isolated from the task."""

from __future__ import annotations

import os
import sys
from _pickle import Unpickler, UnpicklingError, loads

from slurm.protocol import CALLBACKS, METRICS, task_of
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log, write_event

if TYPE_CHECKING:
    from typing import Any

    from slurm.protocol.outcomes import Outcome
    from slurm.runner.job_context import JobContext

HERE = "{}.{}".format(*sys.version_info[:2])
"""The minor version of this Python. Pickles of other versions are not opened."""


def pop_callbacks_flag(arguments: list[str]) -> bool:
    """Remove the last of a runner's arguments if it is the flag for callbacks. Returns whether it was removed."""
    return arguments[-1:] == [CALLBACKS] and bool(arguments.pop())


def pop_metrics_flag(arguments: list[str]) -> bool:
    """Remove the last of a runner's arguments if it is the flag for metrics. Returns whether it was removed.

    Call it after `pop_callbacks_flag`, because the flag for callbacks comes last.
    """
    return arguments[-1:] == [METRICS] and bool(arguments.pop())


class HookTimedOut(BaseException):
    """Interrupts a hook that exceeds its time limit; a BaseException, so that `except Exception` does not catch it."""


class CallbackRunner:
    """Calls a hook of all callbacks of the submission, in order.

    A hook that raises, exits or exceeds its time limit is reported in the job's log and in `events/<index>.jsonl`. The
    other hooks and the task still run.
    """

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._callbacks: list[Any] = []
        self.of_cluster: list[Any] = []
        """The callbacks of the cluster. They are also called for the tasks of a workflow."""

    @classmethod
    def of(cls, job: JobContext, tag: str) -> CallbackRunner:
        """Load the submission's callbacks; none if another version of Python has pickled them."""
        runner = cls(job)
        if tag == HERE:
            runner._load()
        return runner

    def _load(self) -> None:
        """Load the submission's callbacks; a callback that fails to load is reported and skipped."""
        try:
            with open_own(f"{self._job.directory}/{CALLBACKS}") as file:
                pickled = Unpickler(file).load()
        except (OSError, EOFError, UnpicklingError) as error:
            self._failed("load", CALLBACKS, error)
            return
        for name, data, of_cluster in pickled:
            try:
                callback = loads(data)
            except BaseException as error:  # noqa: BLE001 - unpickling runs the user's own code
                self._failed("load", name, error)
                continue
            self._callbacks.append(callback)
            self.of_cluster += [callback] if of_cluster else []

    def fire(self, hook: str, **facts: Any) -> None:
        """Call `hook` on every callback; `facts` are the fields of its event that don't identify the job."""
        if not self._callbacks:
            return
        import time  # noqa: PLC0415 - most submissions have no callbacks

        from slurm.callbacks.events import NODE_EVENTS  # noqa: PLC0415 - as above

        job = self._job
        event = NODE_EVENTS[hook](
            key=job.key,
            task=task_of(job.key, job.index, job.submission().functions if "+" in job.key else None),
            time=time.time(),
            index=job.index,
            attempt=job.attempt,
            job_id=job.job_id,
            host=job.host,
            directory=job.directory,
            **facts,
        )
        for callback in self._callbacks:
            error = _call_hook(callback, hook, event)
            if error is not None:
                self._failed(hook, type(callback).__qualname__, error)

    def fire_end(self, outcome: Outcome, *, final: bool) -> None:
        """Call the hooks for the end of an attempt and, if it is `final`, for the end of the element."""
        self.fire("on_run_end", outcome=outcome)
        if final:
            self.fire("on_completed", outcome=outcome)

    def _failed(self, hook: str, owner: str, error: BaseException) -> None:
        import traceback  # noqa: PLC0415 - only when something failed

        message = f"{type(error).__name__}: {error}"
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        print_to_log("".join([f"{owner}.{hook} failed; the job continues:\n", *lines]))
        try:
            write_event(self._job, {"event": "hook", "hook": hook, "callback": owner, "error": message})
        except OSError:
            pass  # the disk is full; the log has the error


def _call_hook(callback: Any, hook: str, event: object) -> BaseException | None:
    """Call a hook and return the exception that it raises. A signal interrupts it after the callback's time limit."""
    signals = __import__("_signal")  # `signal` imports `enum`
    calling, me = True, os.getpid()

    def interrupt(*_: object) -> None:
        if calling:
            raise HookTimedOut(f"it took longer than {callback.seconds} s")

    handler = signals.signal(signals.SIGALRM, interrupt)
    timer = signals.getitimer(signals.ITIMER_REAL)
    try:
        signals.setitimer(signals.ITIMER_REAL, callback.seconds)
        getattr(callback, hook)(event)
    except BaseException as error:  # noqa: BLE001 - a hook is the user's code; its exception must not end the task
        return error
    finally:
        calling = False
        signals.setitimer(signals.ITIMER_REAL, *timer)
        signals.signal(signals.SIGALRM, handler)
        if os.getpid() != me:
            os._exit(0)  # a child process that the hook forked and that returned
    return None
