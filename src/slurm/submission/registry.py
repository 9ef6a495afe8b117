"""SubmissionRegistry: the one SubmissionState of each submission that this process uses."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from slurm.protocol.pools import is_elastic
from slurm.submission.growing_state import GrowingState
from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Refused, Submission, Submitted
    from slurm.protocol.summary import Summary
    from slurm.storage.job_store import JobStore


class SubmissionRegistry:
    """The states of the submissions under one root. A state that is new to this process is read from its records.

    A state lives as long as a handle or the tracker uses it, so that a long-running program does not grow.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._states: WeakValueDictionary[str, SubmissionState] = WeakValueDictionary()
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Replace the lock, and forget waiting threads and hooks, which belong to the parent."""
        self._lock = threading.Lock()
        for state in self._states.values():
            state.after_fork()

    def get(self, key: str) -> SubmissionState:
        """The state of a submission. Raises NoSuchJob."""
        return self._states.get(key) or self.add(*self._store.records(key))

    def get_several(self, keys: Sequence[str]) -> list[SubmissionState]:
        """The states of the submissions that have records. All records are read together."""
        return [self.add(*records) for records in self._store.several_records(keys)]

    def upstream(self, of: SubmissionState, key: str) -> SubmissionState:
        """The state of an upstream submission, which the waiting submission keeps alive. Raises NoSuchJob."""
        state = of.upstreams.get(key) or self.get(key)
        of.upstreams[key] = state
        return state

    def all(self) -> list[SubmissionState]:
        """The states of all submissions that this process uses."""
        with self._lock:
            return list(self._states.values())

    def add(
        self,
        submission: Submission,
        submitted: Submitted | None,
        refused: Refused | None = None,
        summary: Summary | None = None,
    ) -> SubmissionState:
        """The state of a submission with these records; an existing state learns from them."""
        with self._lock:
            state = self._states.get(submission.key)
            if state is None:
                state = (GrowingState if is_elastic(submission.pool) else SubmissionState)(
                    submission.key,
                    submission.count,
                    submitted,
                    mapped=submission.mapped,
                    chunk=submission.chunk,
                    continues=submission.continues,
                    workflow=submission.workflow is not None,
                    upstreams=[known for edge in submission.dependencies if (known := self._states.get(edge.key))],
                    created=submission.created,
                    labels=submission.labels,
                    functions=submission.functions,
                )
                if summary is not None:
                    state.summary = summary
                    state.add_outcomes(range(state.elements))
                self._states[submission.key] = state
        state.learn_records(submitted, refused)
        return state
