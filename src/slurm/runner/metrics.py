"""Metrics: numbers by names that a task returns or writes to `metrics.json`, for the outcome of its element.

Clients read metrics with the outcome, so tables need no pickle. Only submissions that ask for metrics load this module.
"""

from __future__ import annotations

import contextlib
import json
import os
from _pickle import loads
from collections.abc import Mapping
from math import isfinite
from operator import index

from slurm.protocol import METRICS, WORK
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.finished import Finished
from slurm.runner.job_context import print_to_log, pruned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from slurm.protocol.outcomes import CallFailure
    from slurm.runner.job_context import JobContext

    Numbers = dict[str, int | float | str]

MOST = 64
_LONGEST_NAME = 128
_MOST_BYTES = 1 << 16
"""The largest size in bytes of a pickle or a file that is read for metrics: 64 numbers need less."""
_MOST_IN_OUTCOME = 1 << 20
"""The largest size in bytes of the metrics of all calls of an element: clients read many outcomes at once."""
_LARGEST = 1 << 63
"""Larger whole numbers are stored as floats, because readers of records accept only smaller integers."""


class Metrics:
    """The metrics of the calls of one element: from a result that maps names to numbers, otherwise from the file.

    The file is `metrics.json` in the call's output directory, or in the directory of its program.
    """

    def __init__(self, job: JobContext) -> None:
        self._job = job

    def forget(self, indices: Iterable[int]) -> None:
        """Remove the metrics of earlier attempts of calls that are about to run: they do not belong to this attempt."""
        for call in indices if self._job.attempt > 1 else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._work(call)}/{METRICS}")

    def of_result(self, value: Any) -> Numbers | None:
        """Return the metrics of the element's only call, which returned this value."""
        return self._of(value, self._job.index)

    def of_failure(self) -> Numbers | None:
        """Return the metrics that the element's only call wrote before it failed."""
        return _of_file(self._path(self._job.index, None))

    def of_calls(self, done: Sequence[bytes | CallFailure]) -> tuple[Numbers | None, ...] | None:
        """Return the metrics of each call of an element, from its pickled result or its file; None if all have none."""
        found: list[Numbers | None] = []
        size = 0
        for position, each in enumerate(done):
            small = isinstance(each, bytes) and len(each) <= _MOST_BYTES
            metrics = self._of(_loaded(each) if small else None, self._job.index + position)
            size += len(str(metrics))
            found.append(metrics if size <= _MOST_IN_OUTCOME else None)
        if size > _MOST_IN_OUTCOME:
            print_to_log("metrics: the calls of this element have too many, so those of the last are not recorded\n")
        return tuple(found) if any(found) else None

    def _of(self, value: Any, call: int) -> Numbers | None:
        metrics = self._written(value, call)
        at = pruned.get((self._job.key, call))
        return metrics if at is None else {**(metrics or {}), "pruned": at}

    def _written(self, value: Any, call: int) -> Numbers | None:
        if isinstance(value, Mapping):
            metrics, problem = _checked(value)
            if metrics is not None:
                return metrics
            print_to_log(f"metrics: the result is not used, because {problem}\n")
        return _of_file(self._path(call, value))

    def _path(self, call: int, value: Any) -> str:
        """Return the path of the file with metrics. A program writes it in the directory of its attempt."""
        work = self._work(call)
        home = value.home if isinstance(value, Finished) else ""
        own = home if os.path.dirname(home) == work else f"{work}/attempt-{self._job.attempt}"
        return f"{own if os.access(f'{own}/{METRICS}', os.F_OK) else work}/{METRICS}"

    def _work(self, call: int) -> str:
        return f"{self._job.directory}/{WORK}/{call}"


def _of_file(path: str) -> Numbers | None:
    """Return the metrics in a file of the task; None if there is no file, or if it has no valid metrics."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        metrics, problem = (None, "it is too large") if len(data) > _MOST_BYTES else _checked(json.loads(data))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        metrics, problem = None, str(error)
    if metrics is None:
        print_to_log(f"metrics: {path} is not used, because {problem}\n")
    return metrics


def _loaded(data: bytes | CallFailure) -> Any:
    """Unpickle a result of this element; None if this fails: the client that reads the result gets the error."""
    try:
        return loads(data)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the user's own __setstate__
        return None


def _checked(value: Any) -> tuple[Numbers | None, str]:
    """Return a mapping of names to numbers in its stored form; if the value is no such mapping, None and the reason."""
    try:
        items = list(value.items())
        if len(items) > MOST:
            return None, f"it has {len(items)} names, and metrics have at most {MOST}"
        metrics: Numbers = {}
        for name, number in items:
            if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
                return None, f"{name!r:.80} is not a name: one line of text of at most {_LONGEST_NAME} characters"
            stored = _number(number)
            if stored is None:
                return None, f"the value of {name!r} is not a number but of type {type(number).__name__}"
            metrics[name] = stored
    except Exception as error:  # noqa: BLE001 - the user's own mapping and numbers
        return None, f"{type(error).__name__}: {error}"
    return metrics, ""


def _number(value: Any) -> int | float | str | None:
    """Return a number for JSON, with "nan" and "inf" as text; None for other values. Accepts NumPy's scalars."""
    if isinstance(value, (str, bytes, bytearray)) or getattr(value, "ndim", None) or value is None:
        return None
    try:
        whole = index(value)
    except TypeError:  # also for an array without dimensions that contains a float
        if not hasattr(type(value), "__float__"):
            return None
        number = float(value)
        return number if isfinite(number) else str(number)
    return whole if -_LARGEST < whole < _LARGEST else _number(_as_float(whole))


def _as_float(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return float("inf") if whole > 0 else float("-inf")
