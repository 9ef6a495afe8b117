"""JobStatus and FinalStatus: the state of a job, and of an element that ended without an outcome; and Listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from slurm.protocol.outcomes import Outcome
    from slurm.protocol.states import JobState
    from slurm.schedulers.base import Report


class FinalStatus(NamedTuple):
    """How an element ended without an outcome: the state, and the scheduler's last report."""

    state: JobState
    report: Report | None


class JobStatus(NamedTuple):
    """The state of a job, the scheduler's reason for it, the node, and the outcome once there is one.

    If a job has ended and its outcome cannot be read, its state is UNKNOWN, and `problem` says why.
    """

    state: JobState
    reason: str | None
    node: str | None
    outcome: Outcome | None
    problem: str | None = None
    explanation: str | None = None
    """The scheduler's reason in words, while the job waits; None for a reason that this library does not know."""


class Settled(NamedTuple):
    """How many elements have just ended, and the callbacks to call for this."""

    elements: int
    callbacks: Sequence[Callable[[], object]]


class Server(Protocol):
    """Follows a submission whose calls are made by a pool, in place of the tracker and the scheduler."""

    def follow(self) -> None:
        """Announce the ends of calls, as long as any call is unfinished."""

    def query(self) -> None:
        """Report the states of unfinished calls to the submission."""

    def cancel(self, indices: Collection[int]) -> None:
        """End unfinished calls, now or soon. Raises PoolError."""

    def output(self, index: int, begin: int = 0) -> bytes:
        """Read what a call has printed so far, from byte `begin` on. Raises TransportError."""


class Listener(Protocol):
    """Receives the changes of a submission."""

    def reported(self, reports: Mapping[int, Report]) -> None:
        """The scheduler has reported states of elements."""

    def finished(self, elements: Iterable[int]) -> None:
        """Elements have finished."""

    def grown(self, elements: range) -> None:
        """Elements were added to an elastic pool; none if it was closed."""
