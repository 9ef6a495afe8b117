"""Counting: how the calls of a submission have ended. This process reads each outcome once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from slurm.errors import TransportError
from slurm.jobs.facts import facts_of
from slurm.jobs.find import with_added
from slurm.protocol.summary import Summary
from slurm.sanitize.redaction import redacted
from slurm.views.overview import Overview
from slurm.views.status import error_of, failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.jobs.job import Job, JobArray
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.base import Report
    from slurm.storage.job_store import Outcomes
    from slurm.submission.status import JobStatus

_SHOWN = 3
"""The number of errors, and of reasons to wait, in the facts."""


class Counting:
    """Counts how the calls of a submission have ended. One thread at a time uses it.

    `failed` has the calls that failed, in the order in which they were read.
    """

    def __init__(self, job: Job[Any] | JobArray[Any]) -> None:
        self.job = job
        self.failed: list[int] = []
        self._read: set[int] = set()
        self._states: Counter[str] = Counter()
        self._errors: dict[int, str] = {}
        self._began, self._ended, self._peak = float("inf"), 0.0, 0
        self._node: str | None = None
        if (summary := job.part.state.summary) is not None:
            self._take_summary(summary)

    def _take_summary(self, summary: Summary) -> None:
        """Use the summary of a large map, in which a client has counted how all its calls have ended."""
        self._read.update(range(self.job.part.state.elements))
        self._states.update(summary.states)
        self.failed = list(summary.failed)
        self._ended, self._began = summary.seconds or 0.0, 0.0
        self._peak = summary.peak_memory or 0

    @property
    def complete(self) -> bool:
        """Whether all calls have ended and are counted, and no elements may be added."""
        return not self.job.part.state.may_grow and len(self._read) == self.job.part.state.elements

    def unread(self) -> list[int]:
        """The elements that have ended and are not counted."""
        state = self.job.part.state
        if self.complete:
            return []
        ended = state.finished_elements
        return [element for element in ended if element not in self._read] if len(ended) > len(self._read) else []

    def add(self, elements: Iterable[int], outcomes: Outcomes) -> None:
        """Count elements that have ended. An element whose outcome could not be read now is counted the next time."""
        state = self.job.part.state
        for element in elements:
            outcome, problem = outcomes.read.get(element), outcomes.unreadable.get(element)
            calls = range(element * state.chunk, min((element + 1) * state.chunk, state.count))
            if isinstance(problem, TransportError) or not (outcome or problem or state.final_status(calls[0])):
                continue
            self._read.add(element)
            if outcome is not None:
                self._add_use(outcome)
            for index in calls:
                self._add_call(index, state.status(index, outcome, problem))

    def _add_use(self, outcome: Outcome) -> None:
        self._began = min(self._began, outcome.started or self._began)
        self._ended = max(self._ended, outcome.ended or 0.0)
        self._peak = max(self._peak, outcome.peak_memory or 0)

    def _add_call(self, index: int, status: JobStatus) -> None:
        self._states[status.state.value] += 1
        self._node = status.node
        if failed(status):
            self.failed.append(index)
            if len(self._errors) < _SHOWN:
                self._errors[index] = redacted(error_of(status)) or status.state.value

    def facts(self) -> dict[str, Any]:
        """What is known now. Reads no file."""
        self.job = with_added(self.job)
        state, part = self.job.part.state, self.job.part
        waiting, reasons, node = self._open()
        states = self._states + waiting
        order = sorted(states, key=lambda name: (name not in self._states, name))
        overview = Overview(part, Summary.of({name: states[name] for name in order}, ()), ())
        known = sum(self._states.values())
        ended = min(state.count, len(state.finished_elements) * state.chunk)
        seconds = self._ended - self._began
        return facts_of(self.job, overview) | {
            "created": state.created,
            "map": state.mapped,
            "workflow": state.workflow,
            "ended": self.complete,
            "uncounted": max(0, ended - known),
            "failed": len(self.failed),
            "errors": [{"call": index, "error": error} for index, error in self._errors.items()],
            "waiting": [{"reason": r, "words": words, "calls": n} for (r, words), n in reasons.most_common(_SHOWN)],
            "node": (node or self._node) if state.count == 1 else None,
            "seconds": seconds if self.complete and 0 <= seconds < float("inf") else None,
            "memory": self._peak or None,
        }

    def _open(self) -> tuple[Counter[str], Counter[tuple[str, str]], str | None]:
        """The states of the calls that have not ended, the reasons of those that wait, and the node of the last one.

        The scheduler reports blocks of elements, so calls with the same report are counted together.
        """
        state = self.job.part.state
        states: Counter[str] = Counter()
        reasons: Counter[tuple[str, str]] = Counter()
        groups: dict[int, tuple[int, int]] = {}
        for element in state.open if not self.complete else ():
            first = element * state.chunk
            report: Report | None = state.report(first)
            of, count = groups.get(id(report), (first, 0))
            groups[id(report)] = (of, count + min(state.chunk, state.count - first))
        node = None
        for index, count in groups.values():
            status = state.status(index, None)
            states[status.state.value] += count
            node = status.node or node
            if status.reason or status.explanation or status.problem:
                reasons[status.reason or "", status.explanation or status.problem or ""] += count
        return states, reasons, node
