"""HeldCalls: calls of a pool that wait for other jobs. The client writes such a call when these jobs have ended."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol import FAILED, RESOLVE
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.tracking.interruptible import in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from slurm.options.retry import Retry
    from slurm.places.place import Place
    from slurm.serialization.pickling import Reference
    from slurm.submission.submission_state import SubmissionState


class Held(NamedTuple):
    """A call that waits, and everything that is needed to write it."""

    number: int
    digest: bytes
    data: bytes
    retry: Retry | None
    needs: frozenset[Reference]
    """The jobs whose results are arguments of the call."""
    after: tuple[tuple[Reference, str], ...]
    """The jobs of `.after(…)`, and how each must end."""

    @property
    def references(self) -> frozenset[Reference]:
        """All jobs that the call waits for."""
        return self.needs | {reference for reference, _ in self.after}


class HeldCalls:
    """The calls that wait. `state_of` returns the state of a submission; `wake` is called when a call can be sent."""

    def __init__(self, place: Place, state_of: Callable[[str], SubmissionState], wake: Callable[[], object]) -> None:
        self._place, self._state_of, self._wake = place, state_of, wake
        self._held: dict[int, Held] = {}
        self._left: dict[int, int] = {}
        self._states: dict[int, Mapping[str, SubmissionState]] = {}
        self._ready: list[int] = []
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def numbers(self) -> list[int]:
        """The calls that wait."""
        with self._changed:
            return list(self._held)

    @property
    def any_ready(self) -> bool:
        """Whether a call may be written."""
        return bool(self._ready)

    def add(self, held: Held) -> None:
        """Keep a call until the jobs that it waits for have ended. Raises NoSuchJob."""
        states = {each.key: self._state_of(each.key) for each in held.references}
        needed = [(states[each.key], index) for each in held.references for index in each.indices]
        with self._changed:
            self._held[held.number], self._left[held.number] = held, len(needed)
            self._states[held.number] = states
        for state, index in needed:
            self._place.tracker.when_finished(state, index, partial(self._ended, held.number))
        if not needed:
            self._wake_with(held.number)

    def _ended(self, number: int) -> None:
        with self._changed:
            if number not in self._left:
                return
            self._left[number] -= 1
            if self._left[number]:
                return
        self._wake_with(number)

    def _wake_with(self, number: int) -> None:
        with self._changed:
            self._ready.append(number)
        self._wake()

    def take(self, numbers: Collection[int] | None = None) -> list[int]:
        """Drop those of these calls that wait, or all that wait if `numbers` is None; return their numbers."""
        with self._changed:
            found = [number for number in self._held if numbers is None or number in numbers]
            for number in found:
                del self._held[number], self._left[number], self._states[number]
            self._changed.notify_all()
        return found

    def ready(self) -> Iterator[tuple[Held, Outcome | None]]:
        """Yield each call whose jobs have ended; with an outcome for the call if a job did not end as required.

        The caller drops the calls. Raises SlurmError if outcomes cannot be read; the call is then yielded later.
        """
        while self._ready:
            held = self._held.get(self._ready[0])
            if held is not None:
                yield held, self._failure(held)
            with self._changed:
                self._ready.pop(0)

    @contextmanager
    def writing(self, number: int) -> Iterator[bool]:
        """Yield whether a call still waits, and drop the call on exit. No other thread drops it in between."""
        with self._changed:
            yield number in self._held
            self.take([number])

    def wait(self) -> None:
        """Return when no call waits any more."""
        with self._changed:
            in_pieces(partial(self._changed.wait_for, lambda: not self._held))

    def _failure(self, held: Held) -> Outcome | None:
        for reference in held.needs:
            if failures := self._failures(held, reference):
                return _dependency_failed(next(iter(failures.values())))
        for reference, on in held.after:
            failures = self._failures(held, reference) if on != "any" else {}
            if on == "success" and failures:
                return _dependency_failed(next(iter(failures.values())))
            if on == "failure" and not failures:
                return _dependency_failed(f"{reference.key} succeeded, but this call runs only if it fails")
        return None

    def _failures(self, held: Held, reference: Reference) -> Mapping[int, str]:
        """The reasons why calls have no result, by index."""
        state = self._states.get(held.number, {}).get(reference.key)
        if state is None:  # the call was cancelled at this moment
            return {}
        outcomes = self._place.outcomes.outcomes(reference.key, reference.indices, chunk=state.chunk)
        found = {}
        for index in reference.indices:
            outcome, final = outcomes.get(index), state.final_status(index)
            if outcome is None:
                found[index] = f"{state.name(index)} has no result: {final.state if final else JobState.LOST}"
            elif not outcome.succeeded:
                found[index] = f"{state.name(index)} failed: {outcome.cause}"
        return found


def jobs_among(references: frozenset[Reference]) -> frozenset[Reference]:
    """The references to jobs. References to values of `cluster.put(…)` are left out."""
    return frozenset(each for each in references if each.kind != "put")


def places(needs: Collection[Reference], place_of: Callable[[str, int], tuple[str, int] | None]) -> bytes:
    """Encode, for a block, where the results that a call needs are; empty if it needs no result of a call of a pool."""
    found: dict[str, dict[str, Sequence[object]]] = {}
    for reference in needs:
        for index in reference.indices:
            if place := place_of(reference.key, index):
                found.setdefault(reference.key, {})[f"{index}"] = place
    return json.dumps(found).encode() if found else b""


def _dependency_failed(message: str) -> Outcome:
    error = ErrorRecord(type="DependencyFailed", message=message, bases=("DependencyFailed",))
    return Outcome(status=FAILED, phase=RESOLVE, exit_code=1, error=error)
