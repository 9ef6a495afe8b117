"""InlineQueue: the queue of this process's inline clusters, which runs jobs and plays failures."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from slurm.errors import SlurmError
from slurm.protocol.states import JobState
from slurm.testing.inline import execution
from slurm.testing.inline.faults import REQUEUE, Answer, Fault
from slurm.testing.inline.jobs import InlineJob, readiness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.testing.inline.jobs import Element

_SLOTS = 4
"""The number of elements that run at once, besides workflows."""
_PATIENCE = 5.0
MAX_ARRAY_SIZE = 1001
KEPT_JOBS = 1000
"""The number of newest jobs that the queue remembers at least, also after their end."""

_log = logging.getLogger(__name__)


class InlineQueue:
    """The jobs in the order of their submission, with the state of each element. Threads run the elements.

    `max_array_size` and `most_queued` (None: no limit) are the limits that the queue reports; clients ask for them once
    for each new root. `accounting_lag` is the delay in seconds after which the accounting shows the end of a job; None
    is a site without accounting.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._jobs: dict[str, InlineJob] = {}
        self._ids = itertools.count(1)
        self._threads: set[threading.Thread] = set()
        self.reset()

    def reset(self) -> None:
        """Cancel and forget all jobs and faults, and lift all limits. Waits some seconds for calls that still run."""
        with self._lock:
            for job in self._jobs.values():
                for element in job.elements.values():
                    self._cancel(element)
            self._jobs.clear()
            self._most_jobs = 2 * KEPT_JOBS
            running = list(self._threads)
        for thread in running:
            thread.join(_PATIENCE)
        with self._lock:
            self._faults: list[Fault] = []
            self._answers: list[Answer] = []
            self._held = False
            self.max_array_size = MAX_ARRAY_SIZE
            self.most_queued: int | None = None
            self.accounting_lag: float | None = 0.0
            self.silent = False
            """Whether status commands fail, as if the controller were down."""

    # Failures on request.

    def play(
        self,
        state: str,
        *,
        task: str | None = None,
        element: int | None = None,
        attempt: int | None = None,
        after_run: bool = False,
        reason: str = "",
        times: int = 1,
    ) -> None:
        """Make the next `times` attempts that match end in a state such as "TIMEOUT", or `REQUEUE` them.

        Raises ValueError if the state is not final.
        """
        fault = Fault(state, task=task, element=element, attempt=attempt, after_run=after_run, reason=reason)
        with self._lock:
            self._faults += [fault] * times

    def unmet(self) -> list[Fault]:
        """Return the failures that have not been applied to an attempt yet."""
        with self._lock:
            return list(self._faults)

    def answer(self, answer: Answer | str, *, times: int = 1) -> None:
        """Make the next `times` submit commands answer in this way."""
        with self._lock:
            self._answers += [Answer(answer)] * times

    def forget(self, id_: str) -> None:
        """Omit a job from the status from now on; the accounting still has it."""
        with self._lock:
            for element in self._jobs[id_.partition("_")[0]].elements.values():
                element.forgotten = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Start no elements within the block."""
        with self._lock:
            self._held = True
        try:
            yield
        finally:
            with self._lock:
                self._held = False
                self._start()

    @property
    def ids(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        with self._lock:
            return list(self._jobs)

    # Commands.

    def submit(self, words: Sequence[str]) -> tuple[Answer | None, str]:
        """Queue a job; returns the answer to give instead of the id, or None, and the id."""
        with self._lock:
            answer = self._answers.pop(0) if self._answers else None
            if answer in (None, Answer.SILENT):
                id_ = str(next(self._ids))
                self._forget_old()
                self._jobs[id_] = InlineJob.parse(id_, words)
                self._start()
                return answer, id_
            return answer, ""

    def _forget_old(self) -> None:
        """Forget ended jobs, oldest first, as slurmctld does after MinJobAge. The caller holds the lock."""
        if len(self._jobs) < self._most_jobs:
            return
        old = list(self._jobs.values())[:-KEPT_JOBS]
        for job in old:
            if all(element.state.final for element in job.elements.values()):
                del self._jobs[job.id]
        self._most_jobs = len(self._jobs) + KEPT_JOBS

    def room(self) -> int | None:
        """Return how many more elements may be queued; None without a limit."""
        with self._lock:
            return None if self.most_queued is None else self.most_queued - len(self.live())

    def live(self) -> list[str]:
        """Return the ids of the elements that have not ended."""
        with self._lock:
            some = [(job, element) for job in self._jobs.values() for element in job.elements.values()]
            return [f"{job.id}_{element.task}" for job, element in some if not element.state.final]

    def elements(self, ids: Sequence[str], *, accounting: bool = False) -> list[tuple[InlineJob, Element]]:
        """Return the elements of jobs, or of all jobs without `ids`, that the status or the accounting shows."""
        lag, now = self.accounting_lag or 0.0, time.monotonic()
        with self._lock:
            jobs = [self._jobs[id_] for id_ in (ids or self._jobs) if id_ in self._jobs]
            found = [(job, element) for job in jobs for element in job.elements.values()]
        if accounting:
            return [item for item in found if item[1].ended is not None and now - item[1].ended >= lag]
        return [item for item in found if not item[1].forgotten]

    def cancel(self, id_: str, tasks: Sequence[int] | None, key: str) -> None:
        """Cancel array tasks of a job if the job belongs to the submission `key`, or if `key` is empty."""
        with self._lock:
            job = self._jobs.get(id_)
            if job is not None and job.comment.startswith(key):
                for task, element in job.elements.items():
                    if tasks is None or task in tasks:
                        self._cancel(element)
                self._start()

    def hold(self, id_: str, tasks: Sequence[int] | None, key: str, *, release: bool = False) -> None:
        """Hold pending array tasks, or release them, under the same conditions as `cancel`."""
        with self._lock:
            job = self._jobs.get(id_)
            if job is not None and job.comment.startswith(key):
                for task, element in job.elements.items():
                    if (tasks is None or task in tasks) and element.state is JobState.PENDING:
                        element.held, element.reason = not release, "" if release else "JobHeldUser"
                self._start()

    def requeue(self, id_: str) -> bool:
        """Make a running element run again from its start; returns False if it is not running."""
        number, _, task = id_.partition("_")
        with self._lock:
            job = self._jobs.get(number)
            element = job.elements.get(int(task or 0)) if job else None
            if element is None or element.state is not JobState.RUNNING:
                return False
            element.requeue = True
            _end_process(element)
            return True

    # Elements.

    def _cancel(self, element: Element) -> None:
        """Cancel an element, and kill its process. A thread cannot be killed: it runs to its end, and nobody waits."""
        _end_process(element)
        element.end(JobState.CANCELLED, time.monotonic())

    def _start(self) -> None:
        """Start the elements that may run. The caller holds the lock."""
        if self._held:
            return
        changed = True
        while changed:
            changed = False
            for job in self._jobs.values():
                for element in job.elements.values():
                    if element.state is JobState.PENDING and not element.held:
                        changed |= self._start_one(job, element)

    def _start_one(self, job: InlineJob, element: Element) -> bool:
        """Start one element, or end it if it can never run; returns False if it must wait."""
        ready = readiness(job, element, self._jobs.get)
        if ready is None:
            element.end(JobState.CANCELLED, time.monotonic(), reason="DependencyNeverSatisfied")
            element.dependency_failed = True
            return True
        if not ready or not self._has_slot(job):
            element.reason = "Resources" if ready else "Dependency"
            return False
        if job.is_retry_job:  # nothing to do: this process is the client, and resubmits itself
            element.end(JobState.COMPLETED, time.monotonic(), exit_code=0)
            return True
        element.began = True
        which = {"task": job.task_name, "element": job.first + element.task, "attempt": job.attempt(element)}
        fault = next((fault for fault in self._faults if fault.meets(**which)), None)  # type: ignore[arg-type]
        if fault is not None:
            self._faults.remove(fault)
        if fault is not None and fault.state == REQUEUE:
            element.restarts += 1
            return True
        if fault is not None and not fault.after_run:
            element.end(JobState.parse(fault.state), time.monotonic(), reason=fault.reason)
            return True
        element.state, element.reason = JobState.RUNNING, ""
        thread = threading.Thread(target=self._run, args=(job, element, fault), name="slurm-inline", daemon=True)
        self._threads.add(thread)
        thread.start()
        return True

    def _has_slot(self, job: InlineJob) -> bool:
        def running(some: InlineJob) -> int:
            return sum(element.state is JobState.RUNNING for element in some.elements.values())

        if job.most and running(job) >= job.most:
            return False
        return job.waits or sum(running(other) for other in self._jobs.values() if not other.waits) < _SLOTS

    def _run(self, job: InlineJob, element: Element, fault: Fault | None) -> None:
        status = 1
        try:
            status = execution.run(job, element)
        except (OSError, SlurmError) as error:
            _log.warning("%s_%s could not run: %s", job.id, element.task, error)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._ended(element, status, fault)
                self._start()

    @staticmethod
    def _ended(element: Element, status: int, fault: Fault | None) -> None:
        element.process = None
        if element.requeue and not element.state.final:
            element.requeue, element.state, element.restarts = False, JobState.PENDING, element.restarts + 1
            return
        state = JobState.FAILED if status else JobState.COMPLETED
        if fault is not None:
            state = JobState.parse(fault.state)
        element.end(state, time.monotonic(), exit_code=status, reason=fault.reason if fault else "")


def _end_process(element: Element) -> None:
    if element.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(element.process.pid, signal.SIGKILL)


queue = InlineQueue()
"""The queue of this process. All inline clusters share it, like clusters of one site."""
