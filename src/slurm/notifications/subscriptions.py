"""Subscriptions: report the events of submissions to the callbacks on the client.

The tracker only reports changes. The thread of hooks reads outcomes and progress and calls the hooks, so that no hook
delays a result.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet, WeakValueDictionary

from slurm.callbacks.base import SUBMISSION_HOOKS, merge, overrides
from slurm.callbacks.events import (
    CompleteEvent,
    ProgressEvent,
    StateEvent,
    SubmitEvent,
)
from slurm.errors import SlurmError
from slurm.notifications import progress_reader
from slurm.notifications.client_hooks import notify, register
from slurm.notifications.dispatcher import hooks
from slurm.protocol import EVENTS, task_of
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.callbacks.base import Callback
    from slurm.callbacks.events import SubmissionEvent
    from slurm.protocol import Submission
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.base import Report
    from slurm.storage.job_store import JobStore, Outcomes
    from slurm.submission.submission_state import SubmissionState
    from slurm.submission.timings import Timings
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)


class ProgressTarget(Protocol):
    """An object that receives the progress of calls."""

    @property
    def wants_progress(self) -> bool:
        """Whether there are callbacks for progress now."""

    def progress_query(self) -> progress_reader.ProgressQuery:
        """The query for new progress."""

    def progressed(self, reported: Iterable[progress_reader.ReportedProgress]) -> None:
        """Report the progress that the query has found."""


class Subscriptions:
    """The subscriptions to submissions under one root. One command reads the progress of all submissions.

    `url` is the cluster's URL for events. `follow` makes the tracker follow a submission.
    """

    def __init__(
        self,
        url: str,
        store: JobStore,
        transport: Transport,
        follow: Callable[[SubmissionState], None],
        *,
        timings: Timings,
    ) -> None:
        self.url, self.store = url, store
        self._transport, self._follow, self._timings = transport, follow, timings
        self._by_key: WeakValueDictionary[str, Subscription] = WeakValueDictionary()  # their states keep them alive
        self.pools: WeakSet[ProgressTarget] = WeakSet()
        """The subscriptions to calls of pools. The states of these calls keep them alive."""
        self._next_read = 0.0
        self._reading = False

    def attach(
        self, state: SubmissionState, callbacks: Iterable[Callback], *, submitted: Submission | None = None
    ) -> None:
        """Report the events of a submission to callbacks from now on, and the elements that have finished already.

        `submitted` is the record of a new submission, whose callbacks get a SubmitEvent.
        """
        wanted = [callback for callback in callbacks if overrides(callback, SUBMISSION_HOOKS)]
        if not wanted or state.server is not None:  # calls of a pool report to the process that has submitted them
            return
        subscription = self._by_key.get(state.key)
        if subscription is not None:
            subscription.add(wanted)
            return
        subscription = Subscription(self, state, JobState.PENDING if submitted else JobState.UNKNOWN)
        subscription.add(wanted)
        if submitted:
            subscription.submitted(submitted.options, self.store.directory(state.key))
        self._by_key[state.key] = state.listener = subscription
        if any(subscription.wants(hook) for hook in ("on_state", "on_complete", "on_progress")):
            subscription.finished(state.finished_elements)
            self._follow(state)

    def callbacks(self, key: str) -> Sequence[Callback]:
        """The callbacks of a submission."""
        subscription = self._by_key.get(key)
        return subscription.callbacks if subscription else ()

    def poll_progress(self) -> None:
        """Queue a read of progress, if it is due."""
        if not self._reading and time.monotonic() >= self._next_read and self._with_progress():
            self._reading = True
            hooks.put(self._read_and_schedule)

    def _with_progress(self) -> list[ProgressTarget]:
        return [each for each in (*self._by_key.values(), *self.pools) if each.wants_progress]

    def _read_and_schedule(self) -> None:
        begin = time.monotonic()
        try:
            self.read_progress()
        finally:
            now = time.monotonic()
            pause = min(self._timings.progress_rest, 3 * (now - begin))
            self._next_read = now + max(self._timings.progress_look, pause)
            self._reading = False

    def read_progress(self) -> None:
        """Read and report new progress. Called in the thread of hooks."""
        subscriptions = self._with_progress()
        if not subscriptions:
            return
        try:
            reported = progress_reader.read_progress(self._transport, [s.progress_query() for s in subscriptions])
        except SlurmError as error:
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            return
        for subscription, calls in zip(subscriptions, reported, strict=True):
            subscription.progressed(calls)


class Subscription:
    """The callbacks of one submission, and the events that were reported to them. Each element's end is reported once.

    `outcomes` reads the outcomes of elements, by default from the store. `task` is the name in events, by default the
    name in the key. Only the thread of hooks uses the data of this object.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        submission: SubmissionState,
        state: JobState,
        *,
        outcomes: Callable[[Sequence[int]], Outcomes] | None = None,
        task: str = "",
    ) -> None:
        self.callbacks: tuple[Callback, ...] = ()
        self._by_hook: Mapping[str, Sequence[Callback]] = {}
        self._subscriptions, self._submission, self._first = subscriptions, submission, state.value
        self._read_outcomes, self._task = outcomes or self._stored, task
        self._states: dict[int, str] = {}
        self._counts = Counter({self._first: submission.elements})
        self._calls = Counter({self._first: submission.count})
        self._finished: set[int] = set()
        self._offsets: dict[int, int] = {}
        """The offset in bytes up to which the progress of each call was read."""

    def add(self, callbacks: Sequence[Callback]) -> None:
        """Report events to these callbacks from now on."""
        register(callbacks)
        self.callbacks = merge(self.callbacks, callbacks)
        self._by_hook = {hook: [c for c in self.callbacks if overrides(c, [hook])] for hook in SUBMISSION_HOOKS}

    def wants(self, hook: str) -> bool:
        """Whether any callback has this hook."""
        return bool(self._by_hook[hook])

    @property
    def wants_progress(self) -> bool:
        """Whether any callback receives progress, and any element is unfinished."""
        return self.wants("on_progress") and len(self._finished) < self._submission.elements

    def submitted(self, options: Mapping[str, Any], directory: str) -> None:
        """Report that the submission was queued, with these options in effect."""
        fields = {
            "count": self._submission.count,
            "elements": self._submission.elements,
            "job_ids": tuple(block.id for block in self._submission.blocks),
            "directory": directory,
            "options": options,
        }
        hooks.put(partial(self._notify, SubmitEvent, **fields))

    def reported(self, reports: Mapping[int, Report]) -> None:
        """Report the scheduler's states of elements."""
        if self.wants("on_state"):
            hooks.put(partial(self._report, reports))

    def finished(self, elements: Iterable[int]) -> None:
        """Report that elements are finished."""
        if found := tuple(elements):
            hooks.put(partial(self._finish, found), settles=True)

    def grown(self, elements: range) -> None:
        """Report that elements were added to an elastic pool. An empty range means that the pool was closed."""
        hooks.put(partial(self._grow, elements))

    def progress_query(self) -> progress_reader.ProgressQuery:
        """The query for new progress of this submission."""
        directory = f"{self._subscriptions.store.directory(self._submission.key)}/{EVENTS}"
        return progress_reader.ProgressQuery(directory, self._submission.chunk, self._offsets)

    def progressed(self, reported: Iterable[progress_reader.ReportedProgress]) -> None:
        """Report new progress of calls."""
        for progress in reported:
            self._offsets[progress.call] = progress.end
            events = [fields for fields in map(progress_reader.fields, progress.lines) if fields]
            element = self._submission.element(progress.call)
            if events and element not in self._finished and self._state(element) != JobState.RUNNING.value:
                self._change({element: JobState.RUNNING.value})  # it runs, although the scheduler was not queried yet
            for event in events:
                self._notify(ProgressEvent, index=progress.call, **event)

    def _grow(self, elements: range) -> None:
        self._counts[self._first] += len(elements)
        self._calls[self._first] += len(elements)
        self._change(dict.fromkeys(elements, JobState.PENDING.value))
        if not elements and self._all_finished:
            self._notify_states({})

    @property
    def _all_finished(self) -> bool:
        return len(self._finished) == self._submission.elements and not self._submission.may_grow

    def _report(self, reports: Mapping[int, Report]) -> None:
        self._change(
            {
                element: report.state.value
                for element, report in reports.items()
                if element not in self._finished
                and not report.state.final
                and self._state(element) != report.state.value
            }
        )

    def _finish(self, elements: Iterable[int]) -> None:
        new = sorted(set(elements) - self._finished)
        if not {self._submission.element(index) for index in self._offsets}.isdisjoint(new):
            self._subscriptions.read_progress()  # the last reports of these elements
        outcomes = self._outcomes(new)
        self._finished.update(new)
        states = {element: self._final(element, outcomes.get(element)) for element in new}
        self._change(states, outcomes)
        for element, state in states.items():
            first, calls = element * self._submission.chunk, self._size(element)
            self._notify(CompleteEvent, index=first, calls=calls, state=state, outcome=outcomes.get(element))
        for index in [index for index in self._offsets if self._submission.element(index) in self._finished]:
            del self._offsets[index]

    def _outcomes(self, elements: Sequence[int]) -> Mapping[int, Outcome]:
        if not (self.wants("on_state") or self.wants("on_complete")):
            return {}
        try:
            found = self._read_outcomes(elements)
        except SlurmError as error:
            _log.warning("cannot read the outcomes of %s: %s", self._submission.key, error)
            return {}
        for problem in found.unreadable.values():
            _log.warning("%s", problem)
        return found.read

    def _stored(self, elements: Sequence[int]) -> Outcomes:
        return self._subscriptions.store.several_outcomes({self._submission.key: elements})[self._submission.key]

    def _final(self, element: int, outcome: Outcome | None) -> str:
        if outcome is not None:
            return JobState.of(outcome).value
        final = self._submission.final_status(element * self._submission.chunk)
        return (final.state if final else JobState.UNKNOWN).value

    def _state(self, element: int) -> str:
        return self._states.get(element, self._first)

    def _size(self, element: int) -> int:
        """The number of calls that an element makes."""
        return min(self._submission.chunk, self._submission.count - element * self._submission.chunk)

    def _change(self, states: Mapping[int, str], outcomes: Mapping[int, Outcome] = MappingProxyType({})) -> None:
        if not states:
            return
        for element, state in states.items():
            size, outcome = self._size(element), outcomes.get(element)
            good = size - len(outcome.failures) if outcome and outcome.ends is not None else 0
            self._calls[self._state(element)] -= size
            self._calls[state] += size - good
            self._calls[JobState.COMPLETED.value] += good
        self._counts.subtract(map(self._state, states))
        self._counts.update(states.values())
        self._states.update(states)
        self._notify_states(states)

    def _notify_states(self, states: Mapping[int, str]) -> None:
        counts, calls = (
            {state.value: counter[state.value] for state in JobState if counter[state.value]}
            for counter in (self._counts, self._calls)
        )
        self._notify(StateEvent, states=counts, calls=calls, changed=states, final=self._all_finished)

    def _notify(self, kind: type[SubmissionEvent], **fields: Any) -> None:
        if callbacks := self._by_hook[kind.hook]:
            key, mapped = self._submission.key, self._submission.mapped
            task = self._task or task_of(key, fields.get("index"), self._submission.functions)
            common = {"key": key, "task": task, "mapped": mapped, "url": self._subscriptions.url}
            notify(callbacks, kind(**{"time": time.time(), **common, **fields}))
