"""Looking: ask a source for records, outcomes and states of shards, with a limit to the time for the answer."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, SlurmError, TransportError
from slurm.tracking.status_poller import StatusPoller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.job_control import Answers
    from slurm.submission.submission_state import SubmissionState

    Wanted = Mapping[str, Sequence[int]]

PATIENCE = 30.0
"""How many seconds a source may take to answer. A transport tries for ten minutes to connect again."""
_LATE = 0.1
"""How many seconds to wait for a look that has already missed this limit."""


class Answer(NamedTuple):
    """The answer of a source about submissions, by key."""

    states: Mapping[str, SubmissionState]
    """The states of the submissions that have a directory at the source."""
    outcomes: Mapping[str, Mapping[int, Outcome]]
    """The outcomes, by key and element."""


class Looks:
    """Looks at several places at the same time, each in its own thread."""

    def __init__(self) -> None:
        self._running: dict[str, _Look] = {}

    def ask(
        self, wanted: Mapping[str, tuple[Place, Wanted]], *, patience: float | None = None
    ) -> Mapping[str, Answer | SlurmError]:
        """Look at elements of submissions; return the answers by the URL of the place, or an error if a place does not
        answer.

        Takes one command at each place for records and outcomes. If some elements have no outcome, takes two more: one
        for shared outcomes, and one query to the scheduler. Waits for `patience` seconds in all, by default `PATIENCE`.
        A look that takes longer continues, and a later call returns its answer. For such a look, the later call waits
        only `_LATE` seconds.
        """
        for url, (place, some) in wanted.items():
            if url not in self._running:
                self._running[url] = _Look(place, some)
                self._running[url].start()
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        found: dict[str, Answer | SlurmError] = {}
        for url in wanted:
            look = self._running[url]
            look.join(_LATE if look.late else max(_LATE, end - time.monotonic()))
            look.late = look.is_alive()
            if look.late:
                found[url] = TransportError(f"it has not answered for {time.monotonic() - look.begun:.0f} s")
            else:
                del self._running[url]
                found[url] = look.answer()
        return found


class _Look(threading.Thread):
    """One look at one place."""

    def __init__(self, place: Place, wanted: Wanted) -> None:
        super().__init__(name="slurm-look", daemon=True)
        self._place, self._wanted = place, wanted
        self.begun, self.late = time.monotonic(), False
        self._found: Answer | SlurmError | None = None

    def run(self) -> None:
        """Look, and keep the answer or the error."""
        try:
            self._found = _look(self._place, self._wanted)
        except SlurmError as error:
            self._found = error

    def answer(self) -> Answer | SlurmError:
        """Return the answer or the error."""
        return self._found or SlurmError("the look has ended with an error that its thread has reported")


def _look(place: Place, wanted: Wanted) -> Answer:
    records, outcomes = place.store.records_and_outcomes(wanted)
    problems = [error for found in outcomes.values() for error in found.unreadable.values()]
    for problem in (*(found for found in records.values() if isinstance(found, SlurmError)), *problems):
        raise problem
    states = {key: place.registry.add(*found) for key, found in records.items() if not isinstance(found, SlurmError)}
    read = {key: dict(found.read) for key, found in outcomes.items()}
    left = {key: [element for element in some if element not in read[key]] for key, some in wanted.items()}
    for key, shared in place.store.shared_outcomes(left).items() if any(left.values()) else ():
        read[key].update(shared)
    for key, state in states.items():
        place.tracker.learn(state, read[key])
    waiting = [key for key, some in wanted.items() if any(element not in read[key] for element in some)]
    submitted = [states[key] for key in waiting if key in states and states[key].submitted]
    if submitted:
        _query(place, submitted)
    return Answer(states, read)


def scheduler_answers(place: Place, seconds: float) -> bool:
    """Whether the scheduler of a place answers a query within `seconds`."""
    found: list[int] = []

    def ask() -> None:
        with contextlib.suppress(SlurmError):
            found.append(place.queue.client.max_array_size())

    thread = threading.Thread(target=ask, name="slurm-look", daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(found)


def poller(place: Place, query: Callable[[Sequence[str]], Answers]) -> StatusPoller:
    """Return a poller that asks the scheduler of a place with `query`.

    Unlike the poller of the tracker, it queues no deferred elements.
    """
    return StatusPoller(
        query=query,
        history=lambda ids: place.queue.client.history(ids),  # noqa: PLW0108 - made when there is something to ask
        complete=lambda _: None,
        here=lambda: place.queue.here,
        runaway=place.timings.runaway,
    )


def _query(place: Place, states: Sequence[SubmissionState]) -> None:
    """Ask the scheduler about submissions. Raises SchedulerError if it does not answer."""
    found = poller(place, lambda ids: place.queue.client.query(ids)).query(states)  # noqa: PLW0108 - as above
    if found.trouble and not found.partly:
        raise SchedulerError(found.trouble)
