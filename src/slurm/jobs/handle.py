"""Handle: what a job and an array of jobs share: some calls of a submission, at a place."""

from __future__ import annotations

import logging
import operator
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from slurm.errors import JobEnded
from slurm.jobs import completion
from slurm.jobs.operators import NoOperators
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.sanitize.numbers import end_of_wait, seconds_until
from slurm.serialization.pickling import Placeholder
from slurm.storage.inbox import message_record, send
from slurm.tracking.result_reader import ResultReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slurm.options.types import TaskOptions
    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import SubmissionState
    from slurm.views.status import Part


_log = logging.getLogger(__name__)

by_reference: ContextVar[bool] = ContextVar("by_reference", default=False)
"""Whether calls of a pool are pickled as references, because a call of a pool can read their results."""
_SOON = 5.0
_MOST_READ = 64
"""The most calls whose results are read in one go when they are wanted one by one, unless an element makes more."""


class Handle(NoOperators, Placeholder):
    """Some calls of a submission at a place."""

    __slots__ = ("_place", "_watched")

    def __init__(self, place: Place, watched: SubmissionState) -> None:
        self._place, self._watched = place, watched

    @property
    def directory(self) -> str:
        """The path of the submission's directory on the cluster."""
        return self._place.store.directory(self._watched.key)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the submission."""
        return dict(self._watched.labels)

    @property
    def part(self) -> Part:
        """The calls as a part of their submission."""
        raise NotImplementedError

    @property
    def by_value(self) -> bool:
        """Whether a call receives the results themselves: results of a pool, if the call is not in a pool."""
        return self._watched.server is not None and not by_reference.get()

    def reduced(self) -> tuple[Any, ...]:
        """How it is pickled without a reference: as its result. Waits for the result, and raises its exception."""
        if not self.by_value:
            return super().reduced()
        try:
            self._wait(self.part.indices, _SOON)
        except completion.TimeoutError:
            keys = self._watched.key
            _log.warning("waiting for calls of the pool %s: their results are arguments of another call", keys)
        result: Any = self.results() if self.is_array else self.result()  # type: ignore[attr-defined] # of subclasses
        return operator.getitem, ((result,), 0)

    @property
    def parts(self) -> list[Part]:
        """The calls as parts of their submissions, in order."""
        return [self.part]

    @property
    def own_parts(self) -> list[Part]:
        """The parts that were submitted, and not found among earlier submissions: `cancel` ends these."""
        return self.parts

    def done(self) -> bool:
        """Whether all calls have ended."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Send a message to each call, which reads it by `JobContext.messages`; a pending call reads it once it runs.

        `message` is a JSON value of at most 1 MiB; tuples arrive as lists. Messages arrive in the order in which they
        were sent. A task that never reads messages gets none. Takes two commands for each submission.

        Raises JobEnded if all calls have ended, ConfigurationError for a value that JSON cannot represent, and
        TransportError if the message could not be stored.
        """
        records = [(part, message_record(message, part.indices)) for part in self.parts]
        if self.done():
            keys = ", ".join(part.state.key for part in self.parts)
            raise JobEnded(f"no message was sent to {keys}, which has ended")
        for part, record in records:
            send(part.place.transport, part.place.store.directory(part.state.key), record)

    @property
    def _condition(self) -> NoReturn:
        """Raise an error with advice: `concurrent.futures.wait` and `as_completed` read this attribute of futures."""
        raise AttributeError(
            "concurrent.futures cannot wait for jobs: use slurm.wait or slurm.as_completed, which take the same "
            "arguments, `await job`, or the futures of cluster.executor()"
        )

    @property
    def _asyncio_future_blocking(self) -> None:
        """None, so that asyncio treats this as an awaitable, and not as one of its own futures.

        `asyncio.wrap_future` reads this attribute, too. Without the TypeError, its error would give no advice.
        """
        if sys._getframe(2).f_code.co_name == "wrap_future":  # noqa: SLF001 - below is asyncio.isfuture
            raise TypeError("a job is no future of concurrent.futures, and needs no wrapping: write `await job`")

    @property
    def _url(self) -> str:
        return str(self._place.url)

    def _read(self, indices: Sequence[int], *, logs: bool = False) -> ResultReader:
        return ResultReader(
            self._place.store, self._place.tracker, self._watched, indices, source=self._place.outcomes, logs=logs
        )

    def _read_all(
        self, indices: Sequence[int], *, return_exceptions: bool = False
    ) -> tuple[list[Any], BaseException | None]:
        """Read the results of calls that have ended, up to the first exception."""
        read = self._read(indices, logs=return_exceptions)
        return until_error(map(read.of, indices), return_exceptions=return_exceptions)

    def _outcomes(self, indices: Iterable[int]) -> Mapping[int, Outcome]:
        return self._place.outcomes.outcomes(self._watched.key, indices, chunk=self._watched.chunk)

    def _metrics(self, indices: Sequence[int], timeout: float | None) -> list[dict[str, float]]:
        """Wait for calls, and return the metrics of each, from the outcomes."""
        self._wait(indices, timeout)
        outcomes = self._outcomes(indices)
        found = (outcome.metrics if (outcome := outcomes.get(index)) else None for index in indices)
        return [
            {name: float(number) if isinstance(number, str) else number for name, number in (each or {}).items()}
            for each in found
        ]

    def _resubmit(self, indices: Sequence[int], options: TaskOptions) -> SubmissionState:
        return resubmit(self._place, self._watched.key, indices, Options.parse(options))

    def _look(self, indices: Sequence[int]) -> bool:
        """Whether all these calls have ended. Lists outcomes at the place unless this process knows already."""
        if not all(map(self._watched.finished, indices)):
            self._place.tracker.list_outcomes([self._watched])
        return all(map(self._watched.finished, indices))

    def _wait(self, indices: Sequence[int], timeout: float | None, *, asked: float | None = None) -> None:
        """Wait until calls have ended. Raises TimeoutError, or KeyboardInterrupt that says how to open the jobs again.

        `asked` is the timeout that the user gave, if `timeout` is only the rest of it.
        """
        try:
            if not indices or self._place.tracker.wait(self._watched, indices, timeout):
                return
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._come_back(indices)) from None
        left, key = len(indices) - sum(map(self._watched.finished, indices)), self._watched.key
        one = f"job {self._watched.name(indices[0])} has"
        which = one if len(indices) == 1 else f"{left} of {len(indices)} jobs of {key} have"
        report = self._watched.report(next(index for index in indices if not self._watched.finished(index)))
        why = f", {'' if len(indices) == 1 else 'the first is '}{report.why}" if report else ""
        raise completion.TimeoutError(
            f"{which} not ended after {timeout if asked is None else asked} s{why}. {self._come_back(indices)}"
        )

    def _in_order(self, indices: range, timeout: float | None) -> Iterator[tuple[Any, BaseException | None]]:
        """Yield the result or exception of each call, as soon as the call and all calls before it have ended.

        Reads several calls at once if they have ended. The number grows, so that the first results arrive soon. Keeps
        no results.
        """
        end = end_of_wait(timeout)
        finished, element = self._watched.finished, self._watched.element
        most = 1
        while indices:
            self._wait(indices[:1], seconds_until(end), asked=timeout)
            count = 1
            while count < len(indices) and finished(indices[count]):
                if count >= most and element(indices[count]) != element(indices[count - 1]):
                    break  # the calls of an element stay together: their results are in one file
                count += 1
            some, indices = indices[:count], indices[count:]
            most = min(2 * most, _MOST_READ)
            read = self._read(some)
            for index in some:
                yield read.take(index)

    def _come_back(self, indices: Sequence[int]) -> str:
        if len(indices) == 1:
            name, words = self._watched.name(indices[0]), "job goes on; come back to it"
        else:
            name, words = self._watched.key, "jobs go on; come back to them"
        return f"The {words} with Cluster({self._url!r}).job({name!r})"


def until_error(
    ends: Iterable[tuple[Any, BaseException | None]], *, return_exceptions: bool
) -> tuple[list[Any], BaseException | None]:
    """The results of calls up to the first exception, and that exception; or all results and exceptions, and None."""
    found: list[Any] = []
    for result, error in ends:
        if error is not None and not return_exceptions:
            return found, error
        found.append(result if error is None else error)
    return found, None


def value_of(end: tuple[Any, BaseException | None]) -> Any:
    """The result of a call. Raises its error."""
    result, error = end
    if error is not None:
        raise error
    return result
