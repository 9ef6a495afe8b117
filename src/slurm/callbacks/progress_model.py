"""ProgressModel: what a progress display shows: one bar for each map, and one for the single calls of a task."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.callbacks.events import CompleteEvent, ProgressEvent, StateEvent, SubmissionEvent, SubmitEvent

_ORDER = tuple(sorted(JobState, key=lambda state: (not state.final, state is JobState.PENDING)))


class Bar:
    """How far one map is, or the single calls of one task: counts of elements by state, and what they tell."""

    def __init__(self, name: str, *, mapped: bool) -> None:
        self.name, self.mapped = name, mapped
        self.told: dict[tuple[str, int], ProgressEvent] = {}
        """What calls that run have told last, by submission and index."""
        self.begun: float | None = None
        """When the first of them was seen to run or to have ended, by the monotonic clock."""
        self.ended: float | None = None
        self._open: dict[str, Mapping[str, int]] = {}
        self._counts: Counter[str] = Counter()

    def note(self, key: str, states: Mapping[str, int], *, final: bool = False) -> None:
        """The states of a submission, and whether all of it has ended."""
        now = time.monotonic()
        counts = self._counts.copy()  # those who draw may be going through the other
        counts.subtract(self._open.pop(key, {}))
        counts.update(states)
        self._counts = counts
        if self.begun is None and any(state != JobState.PENDING for state in states):
            self.begun = now
        if not final:
            self._open[key] = states
        self.ended = None if self._open else now

    @property
    def states(self) -> Mapping[JobState, int]:
        """How many elements are in each state: ended ones first, none that nobody is in."""
        counts = self._counts
        return {state: counts[state] for state in _ORDER if counts[state]}

    @property
    def total(self) -> int:
        """How many elements there are."""
        return sum(self.states.values())

    @property
    def done(self) -> int:
        """How many have ended."""
        return sum(count for state, count in self.states.items() if state.final)

    @property
    def failed(self) -> int:
        """How many of these have failed."""
        return self.done - self.states.get(JobState.COMPLETED, 0)

    @property
    def amount(self) -> float:
        """How much is done, of `total`: what has ended, and the parts that the others tell of."""
        return self.done + sum(map(_part, list(self.told.values())))

    @property
    def alone(self) -> ProgressEvent | None:
        """What the one element tells that is all there is."""
        return next(iter(list(self.told.values())), None) if self.total == 1 else None

    def seconds(self) -> float:
        """How long it has been going on, or has taken."""
        return (self.ended or time.monotonic()) - self.begun if self.begun is not None else 0.0

    def rate(self) -> float | None:
        """How many elements are done in a second; None if that can't be told yet."""
        seconds = self.seconds()
        return self.amount / seconds if self.amount and seconds > 0 else None

    def left(self) -> float | None:
        """How many seconds the rest will take, at this rate."""
        rate = self.rate()
        return (self.total - self.amount) / rate if rate and self.ended is None else None

    # As text.

    def count(self) -> str:
        """How many have ended, "412/1000"; of one element that tells how far it is, that."""
        alone = self.alone
        return counted(alone) if alone else f"{self.done}/{self.total}"

    def words(self, *, pending: bool = True) -> str:
        """The states, "2 failed, 50 running", of one element what it tells; the pending can be left out."""
        alone = self.alone
        if alone and alone.metrics:
            return measured(alone)
        hidden = {JobState.COMPLETED, *(() if pending else (JobState.PENDING,))}
        counts = {state: count for state, count in self.states.items() if state not in hidden}
        return ", ".join(f"{count} {state.value.lower().replace('_', ' ')}" for state, count in counts.items())

    def time(self) -> str:
        """What is left, such as "0:00:19 left"; when all is over how long it took, "in 0:01:02"."""
        left = self.left()
        if self.ended is not None:
            return f"in {clock(self.seconds())}"
        return f"{clock(left)} left" if left is not None else clock(self.seconds()) if self.begun else ""

    def pace(self) -> str:
        """How quickly it goes: "31.2/s", or "2.5 s each"."""
        rate = self.rate() if self.total > 1 else None
        return "" if rate is None else f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"

    def line(self) -> str:
        """All of it: "412/1000, 2 failed, 50 running, 538 pending, 31.2/s, 0:00:19 left"."""
        return ", ".join(part for part in (self.count(), self.words(), self.pace(), self.time()) if part)


class ProgressModel:
    """The bars, in the order in which they came."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self._by_key: dict[str, Bar] = {}

    @property
    def over(self) -> bool:
        """Whether all has ended."""
        return all(bar.ended is not None for bar in self.bars)

    def clear(self) -> None:
        """Forget what has ended."""
        self.bars.clear()
        self._by_key.clear()

    def submitted(self, event: SubmitEvent) -> Bar:
        """A submission has been queued."""
        bar = self._bar(event)
        bar.note(event.key, {JobState.PENDING.value: event.elements})
        return bar

    def changed(self, event: StateEvent) -> Bar:
        """Elements have changed their states."""
        bar = self._bar(event)
        bar.note(event.key, event.states, final=event.final)
        for element, state in event.changed.items():
            if JobState(state).final:
                bar.told.pop((event.key, element), None)
        return bar

    def completed(self, event: CompleteEvent) -> None:
        """An element has ended: what its calls have told, of which there may be several, is over."""
        if event.key in self._by_key:
            for index in range(event.index, event.index + event.calls):
                self._by_key[event.key].told.pop((event.key, index), None)

    def told(self, event: ProgressEvent) -> Bar:
        """A task has told how far it is."""
        bar = self._bar(event)
        bar.told[event.key, event.index] = event
        return bar

    def _bar(self, event: SubmissionEvent) -> Bar:
        found = self._by_key.get(event.key)
        if found is None and not event.mapped:
            alike = (bar for bar in self.bars if bar.name == event.task and not bar.mapped and bar.ended is None)
            found = next(alike, None)
        if found is None:
            found = Bar(event.task, mapped=event.mapped)
            self.bars.append(found)
        self._by_key[event.key] = found
        return found


def _part(event: ProgressEvent) -> float:
    """How much of a call is done, from 0 to 1, as far as it tells numbers that can be meant."""
    if not event.total or not math.isfinite(event.total) or math.isnan(event.done):
        return 0.0
    return min(1.0, max(0.0, event.done / event.total))


def in_words(event: ProgressEvent) -> str:
    """What a task tells: "40/100 loss=0.31, lr=0.001"."""
    return f"{counted(event)} {measured(event)}".rstrip()


def counted(event: ProgressEvent) -> str:
    """How far a task is: "40/100"."""
    return _number(event.done) if event.total is None else f"{_number(event.done)}/{_number(event.total)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def measured(event: ProgressEvent) -> str:
    """What a task tells besides: "loss=0.31, lr=0.001"."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in event.metrics.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: "0:01:02"."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
