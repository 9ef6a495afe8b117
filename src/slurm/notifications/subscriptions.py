"""Subscriptions: deliver events of submissions to the callbacks on the client, as the tracker learns of them.

The tracker only says what is new; what has to be read for that, and the hooks themselves, is done in a thread of their
own, so no hook keeps a result waiting.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.callbacks.base import SUBMISSION_HOOKS, has, together
from slurm.callbacks.events import (
    CompleteEvent,
    ProgressEvent,
    StateEvent,
    SubmitEvent,
)
from slurm.errors import SlurmError
from slurm.notifications import progress_reader
from slurm.notifications.client_hooks import tell, use
from slurm.notifications.dispatcher import hooks
from slurm.protocol import EVENTS
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.callbacks.base import Callback
    from slurm.callbacks.events import SubmissionEvent
    from slurm.protocol import Submission
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.base import Report
    from slurm.storage.job_store import JobStore
    from slurm.submission.submission_state import SubmissionState
    from slurm.submission.timings import Timings
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)


class Subscriptions:
    """The subscriptions to the submissions under one root. One command reads the progress of all.

    `url` is the cluster's, for events. `follow` starts the tracker's thread if it does not run.
    """

    def __init__(
        self, url: str, store: JobStore, transport: Transport, follow: Callable[[], None], *, timings: Timings
    ) -> None:
        self.url, self.store = url, store
        self._transport, self._follow, self._timings = transport, follow, timings
        self._feeds: list[Subscription] = []
        self._look_at = 0.0
        self._looking = False

    def attach(
        self, watched: SubmissionState, callbacks: Iterable[Callback], *, submitted: Submission | None = None
    ) -> None:
        """Have callbacks be told of a submission from here on; of what has ended before, too.

        Those of a new submission are given its record, and are told that it was submitted.
        """
        wanted = [callback for callback in callbacks if has(callback, SUBMISSION_HOOKS)]
        if not wanted:
            return
        feed = watched.feed
        if feed is not None:
            feed.add(wanted)
            return
        feed = Subscription(self, watched, JobState.PENDING if submitted else JobState.UNKNOWN)
        feed.add(wanted)
        if submitted:
            feed.submitted(submitted)
        if feed.wants("on_progress"):
            self._feeds.append(feed)
        watched.feed = feed
        if any(feed.wants(hook) for hook in ("on_state", "on_complete", "on_progress")):
            feed.ended(watched.finished_elements)
            self._follow()

    def look(self) -> None:
        """Look at progress, if it is time to."""
        if self._feeds and not self._looking and time.monotonic() >= self._look_at:
            self._looking = True
            hooks.put(self._look)

    def _look(self) -> None:
        begin = time.monotonic()
        try:
            self.look_now()
        finally:
            now = time.monotonic()
            pause = min(self._timings.progress_rest, 3 * (now - begin))
            self._look_at = now + max(self._timings.progress_look, pause)
            self._looking = False

    def look_now(self) -> None:
        """Tell what tasks have told since the last look; in the thread of hooks."""
        feeds = list(self._feeds)
        if not feeds:
            return
        try:
            told = progress_reader.look(self._transport, [feed.question() for feed in feeds])
        except SlurmError as error:
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            return
        for feed, news in zip(feeds, told, strict=True):
            feed.progressed(news)

    def leave(self, feed: Subscription) -> None:
        """No progress of that one any more."""
        if feed in self._feeds:
            self._feeds.remove(feed)


class Subscription:
    """What the callbacks of one submission are told: each transition as it is seen, and each element's end once.

    Its state is that of the thread of hooks.
    """

    def __init__(self, feeds: Subscriptions, watched: SubmissionState, state: JobState) -> None:
        self.callbacks: tuple[Callback, ...] = ()
        self._by_hook: Mapping[str, Sequence[Callback]] = {}
        self._feeds, self._watched, self._first = feeds, watched, state.value
        self._states: dict[int, str] = {}
        self._counts = Counter({self._first: watched.elements})
        self._ended: set[int] = set()
        self._read: dict[int, int] = {}

    def add(self, callbacks: Sequence[Callback]) -> None:
        """Have callbacks be told from here on."""
        use(callbacks)
        self.callbacks = together(self.callbacks, callbacks)
        self._by_hook = {hook: [c for c in self.callbacks if has(c, [hook])] for hook in SUBMISSION_HOOKS}

    def wants(self, hook: str) -> bool:
        """Whether any callback has a hook."""
        return bool(self._by_hook[hook])

    def submitted(self, submission: Submission) -> None:
        """It was queued just now."""
        watched = self._watched
        facts = {
            "count": watched.count,
            "elements": watched.elements,
            "job_ids": tuple(block.id for block in watched.blocks),
            "directory": self._feeds.store.directory(watched.key),
            "options": submission.options,
        }
        hooks.put(partial(self._tell, SubmitEvent, **facts))

    def reported(self, reports: Mapping[int, Report]) -> None:
        """What the scheduler says of elements now."""
        if self.wants("on_state"):
            hooks.put(partial(self._report, reports))

    def ended(self, elements: Iterable[int]) -> None:
        """Elements have ended."""
        if found := tuple(elements):
            hooks.put(partial(self._end, found))

    def look(self) -> None:
        """Look at progress, if it is time to."""
        self._feeds.look()

    def question(self) -> progress_reader.Question:
        """What to look at."""
        directory = f"{self._feeds.store.directory(self._watched.key)}/{EVENTS}"
        return progress_reader.Question(directory, self._watched.chunk, self._read)

    def progressed(self, news: Iterable[progress_reader.ReportedProgress]) -> None:
        """What calls have told."""
        for told in news:
            self._read[told.call] = told.end
            events = [fields for fields in map(progress_reader.fields, told.lines) if fields]
            element = self._watched.element(told.call)
            if events and element not in self._ended and self._state(element) != JobState.RUNNING.value:
                self._change({element: JobState.RUNNING.value})  # it says so itself, sooner than the scheduler is asked
            for event in events:
                self._tell(ProgressEvent, index=told.call, **event)

    def _report(self, reports: Mapping[int, Report]) -> None:
        self._change(
            {
                element: report.state.value
                for element, report in reports.items()
                if element not in self._ended and not report.state.final and self._state(element) != report.state.value
            }
        )

    def _end(self, elements: Iterable[int]) -> None:
        new = sorted(set(elements) - self._ended)
        if not {self._watched.element(index) for index in self._read}.isdisjoint(new):
            self._feeds.look_now()  # at what they have told last
        outcomes = self._outcomes(new)
        self._ended.update(new)
        states = {element: self._final(element, outcomes.get(element)) for element in new}
        self._change(states)
        if self.wants("on_complete"):
            for element, state in states.items():
                self._complete(element, state, outcomes.get(element))
        for index in [index for index in self._read if self._watched.element(index) in self._ended]:
            del self._read[index]
        if len(self._ended) == self._watched.elements:
            self._feeds.leave(self)

    def _outcomes(self, elements: Sequence[int]) -> Mapping[int, Outcome]:
        if not (self.wants("on_state") or self.wants("on_complete")):
            return {}
        try:
            found = self._feeds.store.several_outcomes({self._watched.key: elements})[self._watched.key]
        except SlurmError as error:
            _log.warning("how jobs of %s ended can't be read: %s", self._watched.key, error)
            return {}
        for problem in found.unreadable.values():
            _log.warning("%s", problem)
        return found.read

    def _final(self, element: int, outcome: Outcome | None) -> str:
        if outcome is not None:
            return JobState.of(outcome).value
        final = self._watched.final_status(element * self._watched.chunk)
        return (final.state if final else JobState.UNKNOWN).value

    def _complete(self, element: int, state: str, outcome: Outcome | None) -> None:
        watched = self._watched
        first = element * watched.chunk
        self._tell(
            CompleteEvent,
            index=first,
            calls=min(watched.chunk, watched.count - first),
            state=state,
            outcome=outcome,
        )

    def _state(self, element: int) -> str:
        return self._states.get(element, self._first)

    def _change(self, states: Mapping[int, str]) -> None:
        if not states:
            return
        self._counts.subtract(map(self._state, states))
        self._counts.update(states.values())
        self._states.update(states)
        counts = {state.value: self._counts[state.value] for state in JobState if self._counts[state.value]}
        self._tell(StateEvent, states=counts, changed=states, final=len(self._ended) == self._watched.elements)

    def _tell(self, kind: type[SubmissionEvent], **facts: Any) -> None:
        if callbacks := self._by_hook[kind.hook]:
            key, mapped = self._watched.key, self._watched.mapped
            common = {"key": key, "task": key.partition("/")[0], "mapped": mapped, "url": self._feeds.url}
            tell(callbacks, kind(**{"time": time.time(), **common, **facts}))
