"""ProgressModel: the data of a progress display, with one bar for each map, and one for all single calls of a task."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from slurm.protocol.pools import pool_key
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.callbacks.events import CompleteEvent, ProgressEvent, StateEvent, SubmissionEvent, SubmitEvent

_ORDER = tuple(sorted(JobState, key=lambda state: (not state.final, state is JobState.PENDING)))


class Bar:
    """The progress of one map, or of all single calls of one task: counts of calls by state, and reported progress."""

    def __init__(self, name: str, *, mapped: bool) -> None:
        self.name, self.mapped = name, mapped
        self.progress: dict[tuple[str, int], ProgressEvent] = {}
        """The last progress that running calls reported, by submission and index."""
        self.chunks = 0
        """The number of elements, if elements make several calls; otherwise 0."""
        self.started_at: float | None = None
        """The time of the first event of a running or finished element, by the monotonic clock."""
        self.finished_at: float | None = None
        self._unfinished: dict[str, Mapping[str, int]] = {}
        self._counts: Counter[str] = Counter()

    def update(self, key: str, states: Mapping[str, int], *, final: bool = False) -> None:
        """Set the states of a submission; `final` if all its elements have finished."""
        now = time.monotonic()
        counts = self._counts.copy()  # a display thread may be iterating over the old counter
        counts.subtract(self._unfinished.pop(key, {}))
        counts.update(states)
        self._counts = counts
        if self.started_at is None and any(state != JobState.PENDING for state in states):
            self.started_at = now
        if not final:
            self._unfinished[key] = states
        self.finished_at = None if self._unfinished else now

    @property
    def states(self) -> Mapping[JobState, int]:
        """The number of calls in each state, final states first, without zeros."""
        counts = self._counts
        return {state: counts[state] for state in _ORDER if counts[state]}

    @property
    def total(self) -> int:
        """The number of calls."""
        return sum(self.states.values())

    @property
    def done(self) -> int:
        """The number of finished calls."""
        return sum(count for state, count in self.states.items() if state.final)

    @property
    def failed(self) -> int:
        """The number of failed calls."""
        return self.done - self.states.get(JobState.COMPLETED, 0)

    @property
    def amount(self) -> float:
        """The finished part of `total`, including the fractions that running calls report."""
        return self.done + sum(map(_fraction, list(self.progress.values())))

    @property
    def single(self) -> ProgressEvent | None:
        """The reported progress of the only call, if there is only one."""
        return next(iter(list(self.progress.values())), None) if self.total == 1 else None

    def seconds(self) -> float:
        """Return the elapsed time in seconds."""
        return (self.finished_at or time.monotonic()) - self.started_at if self.started_at is not None else 0.0

    def rate(self) -> float | None:
        """Return the number of calls per second; None if it is not known yet."""
        seconds = self.seconds()
        return self.amount / seconds if self.amount and seconds > 0 else None

    def remaining(self) -> float | None:
        """Return the estimated remaining seconds at this rate."""
        rate = self.rate()
        return (self.total - self.amount) / rate if rate and self.finished_at is None else None

    # As text.

    def count(self) -> str:
        """Return the count of finished calls, "412/1000", and of chunks; for a single call, its reported progress."""
        single, chunks = self.single, f" in {self.chunks} chunks" if self.chunks else ""
        return count_text(single) if single else f"{self.done}/{self.total}{chunks}"

    def state_text(self, *, pending: bool = True) -> str:
        """Return the states, "2 failed, 50 running"; for a single element, its metrics."""
        single = self.single
        if single and single.metrics:
            return metrics_text(single)
        hidden = {JobState.COMPLETED, *(() if pending else (JobState.PENDING,))}
        counts = {state: count for state, count in self.states.items() if state not in hidden}
        return ", ".join(f"{count} {state.value.lower().replace('_', ' ')}" for state, count in counts.items())

    def time(self) -> str:
        """Return the remaining time, such as "0:00:19 left"; when all calls have finished, the total: "in 0:01:02"."""
        remaining = self.remaining()
        if self.finished_at is not None:
            return f"in {clock(self.seconds())}"
        return f"{clock(remaining)} left" if remaining is not None else clock(self.seconds()) if self.started_at else ""

    def pace(self) -> str:
        """Return the rate: "31.2/s", or "2.5 s each"."""
        rate = self.rate() if self.total > 1 else None
        return "" if rate is None else f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"

    def line(self) -> str:
        """Return the whole line: "412/1000, 2 failed, 50 running, 538 pending, 31.2/s, 0:00:19 left"."""
        return ", ".join(part for part in (self.count(), self.state_text(), self.pace(), self.time()) if part)


class ProgressModel:
    """The bars, in the order of their submissions."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self._by_key: dict[str, Bar] = {}

    @property
    def finished(self) -> bool:
        """Whether all submissions have finished."""
        return all(bar.finished_at is not None for bar in self.bars)

    def clear(self) -> None:
        """Remove all bars."""
        self.bars.clear()
        self._by_key.clear()

    def submitted(self, event: SubmitEvent) -> Bar:
        """Add a submission."""
        bar = self._bar(event)
        bar.update(event.key, {JobState.PENDING.value: event.count})
        bar.chunks = event.elements if event.elements < event.count else 0
        return bar

    def changed(self, event: StateEvent) -> Bar:
        """Set the new states of a submission."""
        bar = self._bar(event)
        bar.update(event.key, event.calls, final=event.final)
        elements = sum(event.states.values())
        bar.chunks = elements if elements < sum(event.calls.values()) else 0
        for element, state in event.changed.items():
            if JobState(state).final:
                bar.progress.pop((event.key, element), None)
        return bar

    def completed(self, event: CompleteEvent) -> None:
        """Remove the reported progress of all calls of a finished element."""
        if event.key in self._by_key:
            for index in range(event.index, event.index + event.calls):
                self._by_key[event.key].progress.pop((event.key, index), None)

    def progressed(self, event: ProgressEvent) -> Bar:
        """Set the reported progress of a call."""
        bar = self._bar(event)
        bar.progress[event.key, event.index] = event
        return bar

    def _bar(self, event: SubmissionEvent) -> Bar:
        bar = self._by_key.get(event.key)
        if bar is None and not event.mapped:
            shared = (b for b in self.bars if b.name == event.task and not b.mapped and b.finished_at is None)
            bar = next(shared, None)
        if bar is None:
            name = event.key.partition("/")[0] if pool_key(event.key) == event.key else event.task
            bar = Bar(name, mapped=event.mapped)
            self.bars.append(bar)
        self._by_key[event.key] = bar
        return bar


def _fraction(event: ProgressEvent) -> float:
    """Return the finished fraction of a call, from 0 to 1; 0 if the reported numbers are not usable."""
    if not event.total or not math.isfinite(event.total) or math.isnan(event.done):
        return 0.0
    return min(1.0, max(0.0, event.done / event.total))


def progress_text(event: ProgressEvent) -> str:
    """Format reported progress: "40/100 loss=0.31, lr=0.001"."""
    return f"{count_text(event)} {metrics_text(event)}".rstrip()


def count_text(event: ProgressEvent) -> str:
    """Format the count of reported progress: "40/100"."""
    return _number(event.done) if event.total is None else f"{_number(event.done)}/{_number(event.total)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def metrics_text(event: ProgressEvent) -> str:
    """Format the metrics of reported progress: "loss=0.31, lr=0.001"."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in event.metrics.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds: "0:01:02"."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
