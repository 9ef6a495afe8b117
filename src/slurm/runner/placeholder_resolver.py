"""PlaceholderResolver: replace references to earlier jobs by their results, or fail with the name of the job."""

from __future__ import annotations

import os
import time
from _pickle import Unpickler
from itertools import count

from slurm.protocol import JOBS, OUTCOMES, RESULTS, freshness, outcome_name, shared_name
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import Outcome, SharedOutcome
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any

    from slurm.protocol.outcomes import ResultRecord

LAG = 15.0
"""Seconds to wait for an outcome from another node, because network file systems may show new files late."""


class UpstreamFailed(Exception):
    """A dependency of this call did not finish as required."""


class PlaceholderResolver:
    """Reads results of earlier submissions in the same root.

    A reference is ("job", key, index, chunk), or ("array", key, (start, stop, step), chunk) for a list of results in
    order. `chunk` is the number of calls of each element of the submission.
    """

    lag: float = LAG
    """Seconds to wait for an outcome. `InlineCluster` sets this, because its calls run in this process."""

    def __init__(self, root: str, *, lag: float | None = None) -> None:
        self._root = root
        self._lag = self.lag if lag is None else lag
        self._results: dict[tuple[str, int], Any] = {}
        self._outcomes: dict[tuple[str, int], Any] = {}

    def __call__(self, reference: tuple[Any, ...]) -> Any:
        """Return the result, or the list of results, of a reference. Raises UpstreamFailed."""
        kind, key, which, chunk = reference
        if kind == "put":
            from slurm.runner.put_loader import load_put  # noqa: PLC0415 - most calls have none

            return load_put(self._root, key, chunk, self)
        if kind == "job":
            return self._result(key, which, chunk)
        return [self._result(key, index, chunk) for index in range(*which)]

    def clear(self) -> None:
        """Clear the cache of results: calls of one element must not share an object that one of them may modify."""
        self._results.clear()

    def check(self, edges: Iterable[tuple[str, str, tuple[int, ...], int]]) -> None:
        """Check the dependencies of `.after(…)` against the outcomes. Raises UpstreamFailed.

        The scheduler checks these dependencies, too, but starts a job at once if it no longer knows the upstream job.
        """
        for key, on, indices, chunk in edges:
            if on == "end":
                for index in indices:
                    if self._outcome(key, index, chunk) is None:
                        raise UpstreamFailed(f"{key}[{index}] has not ended: it has another attempt")
            elif on == "success":
                for index in indices:
                    self._success(key, index, chunk)
            elif on == "failure" and all(self._succeeded(key, index, chunk) for index in indices):
                raise UpstreamFailed(f"{key} succeeded, but this call runs only if it fails")

    def _result(self, key: str, index: int, chunk: int) -> Any:
        if (key, index) not in self._results:
            load = self._loader(key, index, chunk)
            try:
                self._results[key, index] = load()
            except Exception as error:  # unpickling runs the user's own code
                raise UpstreamFailed(
                    f"the result of {key}[{index}] can't be loaded: {type(error).__name__}: {error}"
                ) from error
        return self._results[key, index]

    def _loader(self, key: str, index: int, chunk: int) -> Callable[[], Any]:
        """Return a function that loads a result. Raises UpstreamFailed."""
        outcome = self._success(key, index, chunk)
        return lambda: self._loaded(outcome, self._directory(key), index)

    def _loaded(self, outcome: Outcome, directory: str, index: int) -> Any:
        result = outcome.result
        if result is None:
            from slurm.runner.finished import Finished  # noqa: PLC0415 - few upstreams are commands

            if (finished := Finished.of(outcome, directory, index)) is None:
                raise ValueError("its outcome names no result")
            return finished
        with open_own(f"{directory}/{RESULTS}/{result.file}") as file:
            return unpickled_result(file, result)

    def _success(self, key: str, index: int, chunk: int) -> Any:
        outcome = self._outcome(key, index, chunk)
        if outcome is None:
            raise UpstreamFailed(f"{key}[{index}] left no outcome: it was killed, or its node failed")
        if not outcome.succeeded:
            raise UpstreamFailed(f"{key}[{index}] failed: {outcome.cause}")
        return outcome

    def _succeeded(self, key: str, index: int, chunk: int) -> bool:
        outcome = self._outcome(key, index, chunk, lag=0)
        return outcome is not None and bool(outcome.succeeded)

    def _outcome(self, key: str, index: int, chunk: int, *, lag: float | None = None) -> Any:
        element = index // chunk
        if (key, element) not in self._outcomes:
            self._outcomes[key, element] = self._read(key, element, self._lag if lag is None else lag)
        outcome = self._outcomes[key, element]
        return None if outcome is None else outcome.of_call(index % chunk)

    def _read(self, key: str, element: int, lag: float) -> Any:
        directory = f"{self._directory(key)}/{OUTCOMES}"
        path = f"{directory}/{outcome_name(element)}"
        pause, end = 0.05, time.monotonic() + lag
        while True:
            try:
                with freshness.retry_absent(open_own, path) as file:
                    return Outcome.loads(file.read(), where=path)
            except FileNotFoundError:
                outcome = _shared_outcome(directory, element)
                if outcome is not None or time.monotonic() >= end:
                    return outcome
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _directory(self, key: str) -> str:
        return f"{self._root}/{JOBS}/{key}"


def _shared_outcome(directory: str, element: int) -> Outcome | None:
    """Return the outcome that an element without its own outcome file shares with others, or None.

    Raises ProtocolError if no readable file has the element and one file is damaged, because this one may have it.
    """
    from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

    damaged = None
    for number in count():
        path = f"{directory}/{shared_name(number)}"
        try:
            with freshness.retry_absent(open_own, path) as file:
                record = SharedOutcome.loads(file.read(), where=path)
        except FileNotFoundError:
            break
        except ProtocolError as error:
            damaged = error
        else:
            if element in record:
                return record.outcome
    if damaged:
        raise damaged
    return None


def unpickled_result(file: IO[bytes], record: ResultRecord) -> Any:
    """Load a result from its file. Raises EOFError if the file does not have the recorded size."""
    size = os.fstat(file.fileno()).st_size
    if size != record.bytes:
        raise EOFError(f"{record.bytes} bytes were saved, but the file has {size}")
    file.seek(record.begin)
    return Unpickler(file).load()
