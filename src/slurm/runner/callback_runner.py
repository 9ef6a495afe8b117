"""CallbackRunner: calls node-side hooks so that they can change nothing."""

from __future__ import annotations

import time

from slurm.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable


class HookRun(Record):
    """One call of one hook: which, how long it took in seconds, and what it raised, if anything."""

    hook: str
    owner: str
    seconds: float
    error: str | None = None


class CallbackRunner:
    """Calls, at each point of an element's life, the method of that name of every callback that has one.

    A hook that raises is recorded and changes nothing: the next ones run, and so does the task.
    """

    def __init__(self, callbacks: Iterable[object] = ()) -> None:
        self._callbacks = tuple(callbacks)
        self.runs: list[HookRun] = []

    def fire(self, hook: str, event: object) -> None:
        """Call `hook` with `event` on every callback that has it, in order."""
        for callback in self._callbacks:
            method = getattr(callback, hook, None)
            if method is not None:
                begin = time.perf_counter()
                error = _error_of(method, event)
                seconds = time.perf_counter() - begin
                self.runs.append(HookRun(hook=hook, owner=type(callback).__name__, seconds=seconds, error=error))


def _error_of(method: object, event: object) -> str | None:
    try:
        method(event)  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - a hook is foreign code
        return f"{type(error).__name__}: {error}"
    return None
