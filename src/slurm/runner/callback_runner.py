"""CallbackRunner: calls a submission's hooks on the node, so that they can change nothing."""

from __future__ import annotations

import os
import sys
from _pickle import Unpickler, UnpicklingError, loads

from slurm.protocol import CALLBACKS
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import say, tell

if TYPE_CHECKING:
    from typing import Any

    from slurm.protocol.outcomes import Outcome
    from slurm.runner.job_context import JobContext

HERE = "{}.{}".format(*sys.version_info[:2])
"""The minor version of this Python, without which no pickle is opened."""


def are_named(words: list[str]) -> bool:
    """Whether the last of a runner's arguments says that there are callbacks; it is taken off."""
    return words[-1:] == [CALLBACKS] and bool(words.pop())


class HookTimedOut(BaseException):
    """Breaks off a hook that takes too long; no `except Exception` of its own holds it up."""


class CallbackRunner:
    """Calls, at each point of an attempt, that hook of every callback of the submission, in order.

    A hook that raises, exits or takes too long is told of in the job's log and in `events/<index>.jsonl`, and changes
    nothing: the next ones are called, and so is the task.
    """

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._callbacks: list[Any] = []
        self.of_cluster: list[Any] = []
        """Those that were given to the cluster: a workflow's own tasks have them, too."""

    @classmethod
    def of(cls, job: JobContext, tag: str) -> CallbackRunner:
        """That of a submission with callbacks, loaded; none under another Python than `tag`, which pickled them."""
        found = cls(job)
        if tag == HERE:
            found._load()
        return found

    def _load(self) -> None:
        """Load the submission's callbacks, before anything else of it; one that can't be is told of, and left out."""
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
        """Call `hook` on every callback; `facts` are what its event tells besides which job it is."""
        if not self._callbacks:
            return
        import time  # noqa: PLC0415 - most submissions have no callbacks

        from slurm.callbacks.events import NODE_EVENTS  # noqa: PLC0415 - as above

        job = self._job
        event = NODE_EVENTS[hook](
            key=job.key,
            task=job.key.partition("/")[0],
            time=time.time(),
            index=job.index,
            attempt=job.attempt,
            job_id=job.job_id,
            host=job.host,
            directory=job.directory,
            **facts,
        )
        for callback in self._callbacks:
            error = _error_of(callback, hook, event)
            if error is not None:
                self._failed(hook, type(callback).__qualname__, error)

    def fire_end(self, outcome: Outcome, *, final: bool) -> None:
        """Call the hooks of an attempt's end, and, if that is `final`, of the element's."""
        self.fire("on_run_end", outcome=outcome)
        if final:
            self.fire("on_completed", outcome=outcome)

    def _failed(self, hook: str, owner: str, error: BaseException) -> None:
        import traceback  # noqa: PLC0415 - only when something failed

        words = f"{type(error).__name__}: {error}"
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        say("".join([f"{owner}.{hook} failed, which changes nothing else:\n", *lines]))
        try:
            tell(self._job, {"event": "hook", "hook": hook, "callback": owner, "error": words})
        except OSError:
            pass  # no room there: the log has it


def _error_of(callback: Any, hook: str, event: object) -> BaseException | None:
    """What a hook raises; a signal breaks it off after as many seconds as the callback gives it."""
    signals = __import__("_signal")  # `signal` costs an import of `enum`
    calling, me = True, os.getpid()

    def break_off(*_: object) -> None:
        if calling:
            raise HookTimedOut(f"it took longer than {callback.seconds} s")

    handler = signals.signal(signals.SIGALRM, break_off)
    timer = signals.getitimer(signals.ITIMER_REAL)
    try:
        signals.setitimer(signals.ITIMER_REAL, callback.seconds)
        getattr(callback, hook)(event)
    except BaseException as error:  # noqa: BLE001 - a hook is foreign code; what it raises must not end the task
        return error
    finally:
        calling = False
        signals.setitimer(signals.ITIMER_REAL, *timer)
        signals.signal(signals.SIGALRM, handler)
        if os.getpid() != me:
            os._exit(0)  # a child that the hook has forked and let return
    return None
