"""SubmissionState: what this process knows about one submission. Several threads read and change it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slurm.errors import ProtocolError
from slurm.protocol import LOGS, call_name, log_name
from slurm.protocol.states import JobState
from slurm.schedulers import ids
from slurm.submission.origins import elsewhere
from slurm.submission.status import FinalStatus, JobStatus, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from slurm.errors import SlurmError, TransportError
    from slurm.protocol import Block, Functions, Refused, Submitted
    from slurm.protocol.outcomes import Outcome
    from slurm.protocol.summary import Summary
    from slurm.schedulers.base import Report
    from slurm.submission.origins import Here
    from slurm.submission.status import Listener, Server
    from slurm.submission.timings import Timings


class SubmissionState:
    """What is known about one submission: its jobs, which elements have outcomes, and the scheduler's last reports.

    `count` calls are made by `elements` array elements, `chunk` by each. Facts are kept by element; an `index` is the
    number of a call. `created` is in seconds since the epoch, by the client's clock. Any thread may call the methods.
    """

    elastic = may_grow = False  # whether it is an elastic pool, and whether elements may be added, as far as is known

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        key: str,
        count: int,
        submitted: Submitted | None,
        *,
        mapped: bool,
        chunk: int = 1,
        continues: bool = False,
        workflow: bool = False,
        upstreams: Iterable[SubmissionState] = (),
        created: float = 0.0,
        labels: Mapping[str, str] | None = None,
        functions: Functions | None = None,
    ) -> None:
        self.key, self.count, self.mapped, self.chunk, self.functions = key, count, mapped, chunk, functions
        self.continues, self.workflow, self.created, self.labels = continues, workflow, created, labels or {}
        self.upstreams = {state.key: state for state in upstreams}  # as far as known here; kept until it has ended
        self.elements = -(-count // chunk)
        self.trouble: TransportError | None = None
        """The error of the last listing of outcomes. Until a listing succeeds, a missing outcome means nothing."""
        self.summary: Summary | None = None
        """How its calls ended, if a client has counted them."""
        self.listener: Listener | None = None
        """Receives the changes, if there are callbacks on this client."""
        self.server: Server | None = None  # if a pool makes the calls
        self.opener: Callable[..., object] | None = None  # a pickled handle names it in place of `open_job`
        self.queued_here: tuple[str, ...] = ()
        """The commands that have queued it, if this process ran them."""
        self._submitted = submitted
        self._refused: Refused | None = None
        self._moved: dict[int, Block] = {}  # the elements that continue in another job
        self._done: set[int] = set()
        self._reports: dict[int, Report] = {}
        self._final: dict[int, FinalStatus] = {}  # of elements that left no outcome
        self._states: dict[int, JobState] = {}  # of elements of one call whose outcome this process has read
        self._missing_since, self._accounted_since = dict[int, float](), dict[int, float]()
        self._claimed_since: dict[str, float] = {}
        self._callbacks: dict[int, list[Callable[[], object]]] = {}
        self._waiters, self._paused_until, self._lock = 0, 0.0, threading.Lock()

    def after_fork(self) -> None:
        """In the child of a fork, no thread waits, and hooks are called in the parent."""
        self._lock = threading.Lock()
        self._waiters, self.listener = 0, None

    # The jobs of the submission.

    @property
    def submitted(self) -> Submitted | None:
        """The scheduler's ids; None if it was not queued, as far as is known here."""
        return self._submitted

    @property
    def refused(self) -> Refused | None:
        """The scheduler's refusal, if the submission was refused and therefore not queued."""
        return self._refused

    def learn_records(self, submitted: Submitted | None, refused: Refused | None = None) -> None:
        """Store the scheduler's ids, or its refusal, if none are known yet."""
        with self._lock:
            self._submitted = self._submitted or submitted
            self._refused = None if self._submitted else refused

    @property
    def may_run_again(self) -> bool:
        """Whether another attempt may follow after an element has ended."""
        return self.continues and self._refused is None

    @property
    def scheduler(self) -> str:
        """The name of the scheduler that queued it; "" if it was never queued."""
        return self._submitted.scheduler if self._submitted else ""

    def element(self, index: int) -> int:
        """The element that makes call `index`."""
        return index // self.chunk

    def name(self, index: int) -> str:
        """The name with which call `index` is opened again: the key, with [index] in a map."""
        return call_name(self.key, index, mapped=self.mapped)

    def job_id(self, index: int) -> str | None:
        """The scheduler's id of call `index`, such as "1234_0"; None if it never got one."""
        element = self.element(index)
        if (block := self.block(element)) is None:
            return None
        return ids.split_id(self.scheduler, ids.element_id(self.scheduler, block, element))[0]

    def array_id(self, index: int) -> str | None:
        """The scheduler's id of the whole block that holds call `index`; None if it never got one."""
        block = self.block(self.element(index))
        return ids.split_id(self.scheduler, block.id)[0] if block else None

    def log(self, index: int, rank: int = 0) -> str:
        """The log of the element of call `index`, or of one of its ranks: a path in the submission's directory."""
        element = self.element(index)
        first = block.first if (block := self.block(element)) else 0
        return f"{LOGS}/{log_name(first, f'{element - first}.{rank}' if rank else str(element - first))}"

    def block(self, element: int) -> Block | None:
        """The block that an element is in now; None if it was never queued, as far as is known here."""
        moved = self._moved.get(element)
        return moved if moved or self._submitted is None else self._submitted.block(element)

    @property
    def blocks(self) -> Iterable[Block]:
        """All blocks that any element is in now."""
        with self._lock:
            own = self._submitted.blocks if self._submitted else ()
            return (*own, *{block.id: block for block in self._moved.values()}.values())

    @property
    def has_moved(self) -> bool:
        """Whether any element continues in another job than it was submitted in."""
        return bool(self._moved)

    def in_block(self, block: Block, elements: Iterable[int]) -> Iterable[int]:
        """Return those of the elements of a block that have not moved to another job."""
        return [e for e in elements if self._moved.get(e, block) == block] if self._moved else elements

    def elsewhere(self, here: Here, block: Block | None = None) -> Report | None:
        """A report of a block (by default, of the first) that another scheduler queued; None if `here` has it."""
        if self._submitted is None or not self._submitted.blocks:
            return None
        return elsewhere(self._submitted.scheduler, block or self._submitted.blocks[0], here)

    @property
    def unqueued(self) -> range:
        """The elements that wait for room in the queue. They come after all others."""
        blocks = self._submitted.blocks if self._submitted else ()
        queued = max((block.first + block.count for block in blocks), default=0)
        return range(queued if self._submitted else self.elements, self.elements)

    def queued(self, blocks: Iterable[Block]) -> None:
        """Add blocks of elements that had waited for room."""
        with self._lock:
            if self._submitted is not None:
                known = {block.id for block in self._submitted.blocks}
                new = [block for block in blocks if block.id not in known and block.tasks is None]
                self._submitted = self._submitted.replace(blocks=(*self._submitted.blocks, *new))

    def move(self, element: int, block: Block) -> None:
        """Note that an element continues in another job; reports about the previous job no longer count."""
        with self._lock:
            self._moved[element] = block
            self._reports.pop(element, None)
            self._missing_since.pop(element, None)

    # The progress of the submission.

    def element_finished(self, element: int) -> bool:
        """Whether an element has ended, as far as is known here."""
        return element in self._done or element in self._final

    def finished(self, index: int) -> bool:
        """Whether call `index` has ended, as far as is known here, because its element has ended."""
        return self.element_finished(index // self.chunk)

    def has_outcome(self, index: int) -> bool:
        """Whether there is an outcome for call `index`."""
        return index // self.chunk in self._done

    def with_outcomes(self, elements: Iterable[int]) -> list[int]:
        """Return those of the elements that have outcomes."""
        return [element for element in elements if element in self._done]

    def final_status(self, index: int) -> FinalStatus | None:
        """How call `index` ended without an outcome; None if it has not ended in this way."""
        return self._final.get(index // self.chunk)

    def report(self, index: int) -> Report | None:
        """The scheduler's last report of the element of call `index`."""
        return self._reports.get(index // self.chunk)

    def status(self, index: int, outcome: Outcome | None, problem: SlurmError | None = None) -> JobStatus:
        """The status of call `index`: by its element's outcome, the `problem` with it, or what is known here."""
        if outcome is not None:
            try:
                outcome = outcome.of_call(index % self.chunk)
            except ProtocolError as error:
                problem = error
        report, final = self.report(index), self.final_status(index)
        if outcome is None and final is None and (report is None or report.state.final):
            problem = problem or self.trouble
        if problem is not None:
            return JobStatus(JobState.UNKNOWN, None, None, None, str(problem))
        if outcome is not None:
            return JobStatus(JobState.of(outcome), outcome.reason, outcome.host, outcome)
        reason, node, words = (report.reason, report.node, report.explanation) if report else ("", "", "")
        if report is None and self._submitted is None:
            reason = "it has not been queued yet, as far as is known"
        state = self._states.get(self.element(index), known.state if (known := final or report) else JobState.UNKNOWN)
        return JobStatus(state, reason or None, node or None, None, explanation=words or None)

    def learn_outcomes(self, outcomes: Mapping[int, Outcome]) -> None:
        """Keep the states of elements of one call. States of chunks are not kept: a million calls would fill memory."""
        if self.chunk == 1:
            with self._lock:
                self._states.update((index, JobState.of(outcome)) for index, outcome in outcomes.items())

    def state_name(self, index: int) -> str:
        """The name of the state of call `index`, as far as this process knows it."""
        if self.finished(index):
            state = self._states.get(self.element(index)) or ((final := self.final_status(index)) and final.state)
            common = list(self.summary.states) if self.summary else ()
            return state.value if state else common[0] if len(common) == 1 else "ended"
        if (report := self.report(index)) is not None:
            return report.state.value
        return JobState.REFUSED.value if self._refused else "submitted" if self.queued_here else "not asked"

    @property
    def open(self) -> Iterable[int]:
        """The elements that have not ended, as far as is known here."""
        return (element for element in range(self.elements) if not self.element_finished(element))

    @property
    def finished_elements(self) -> list[int]:
        """The elements that have ended, as far as is known here."""
        with self._lock:
            return [*self._done, *(self._final.keys() - self._done)]

    @property
    def unfinished(self) -> bool:
        """Whether any element has not ended."""
        with self._lock:
            return len(self._done) + len(self._final.keys() - self._done) < self.elements

    @property
    def lacks_outcomes(self) -> bool:
        """Whether any element has no outcome."""
        return len(self._done) < self.elements

    # Threads that wait for the submission.

    @property
    def wanted(self) -> bool:
        """Whether anything waits for changes of the submission."""
        return bool(self._waiters or self._callbacks or self.unqueued or self.listener)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the caller as waiting."""
        with self._lock:
            self._waiters += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiters -= 1

    def add_callback(self, index: int, callback: Callable[[], object]) -> bool:
        """Keep a callback until call `index` ends; False if it has ended already."""
        with self._lock:
            if self.finished(index):
                return False
            self._callbacks.setdefault(self.element(index), []).append(callback)
            return True

    def remove_callback(self, index: int, callback: Callable[[], object]) -> None:
        """Drop a callback, if it is still kept."""
        with self._lock:
            element = self.element(index)
            waiting = self._callbacks.get(element, [])
            if callback in waiting:
                waiting.remove(callback)
            if not waiting:
                self._callbacks.pop(element, None)

    # Changes.

    def add_outcomes(self, elements: Iterable[int]) -> Settled:
        """Note that elements have outcomes."""
        with self._lock:
            new = {element for element in elements if element < self.elements} - self._done
            self._done |= new
        return self._settle(new)

    def add_final(self, found: Mapping[int, FinalStatus]) -> Settled:
        """Note that elements have ended without an outcome."""
        with self._lock:
            self._final.update(found)
        return self._settle(found)

    def _settle(self, elements: Collection[int]) -> Settled:
        due: list[Callable[[], object]] = []
        if self.listener:
            self.listener.finished(elements)
        with self._lock:
            for element in elements:
                self._missing_since.pop(element, None)
                due += self._callbacks.pop(element, [])
        if not self.unfinished:
            self.upstreams = {}
        return Settled(len(elements), due)

    def add_reports(self, reports: Mapping[int, Report]) -> None:
        """Keep the scheduler's reports, by element."""
        with self._lock:
            self._reports.update(reports)

    def note_missing(self, reports: Mapping[int, Report], now: float) -> None:
        """Note which elements should have an outcome by now, according to the scheduler's reports."""
        with self._lock:
            for element in self.open:
                report = reports.get(element)
                if report is None or report.state.final:
                    self._missing_since.setdefault(element, now)
                else:
                    self._missing_since.pop(element, None)
        if self.listener:
            self.listener.reported(reports)

    @property
    def missing(self) -> frozenset[int]:
        """The elements that should have an outcome, according to the scheduler's reports, but have none."""
        with self._lock:
            return frozenset(self._missing_since)

    def restart_grace(self, now: float) -> None:
        """Give missing outcomes their whole grace period from now on, because they could not be listed until now."""
        with self._lock:
            self._missing_since = dict.fromkeys(self._missing_since, now)

    def overdue(self, now: float, timings: Timings) -> tuple[dict[int, FinalStatus], dict[int, FinalStatus]]:
        """How elements with missing outcomes ended: those whose grace period is over, and those still within it."""
        overdue: dict[int, FinalStatus] = {}
        within: dict[int, FinalStatus] = {}
        with self._lock:
            for element, since in list(self._missing_since.items()):
                if self.element_finished(element):  # since it was noted
                    del self._missing_since[element]
                    continue
                report = self._reports.get(element)
                state = report.state if report and report.state.final else JobState.LOST
                state = JobState.LOST if state is JobState.COMPLETED else state
                unexplained = state in (JobState.LOST, JobState.FAILED)
                grace = timings.unexplained_grace if unexplained else timings.explained_grace
                (overdue if now - since > grace else within)[element] = FinalStatus(state, report)
        return overdue, within

    def seconds_in_accounting(self, element: int, *, alone: bool) -> float:
        """For how many seconds only the accounting has reported an element as alive; 0 from now on if not `alone`."""
        with self._lock:
            if not alone:
                self._accounted_since.pop(element, None)
                return 0.0
            return time.monotonic() - self._accounted_since.setdefault(element, time.monotonic())

    def seconds_claimed(self, group: str) -> float:
        """For how many seconds this process has seen the claim of a group, which has no job yet."""
        with self._lock:
            return time.monotonic() - self._claimed_since.setdefault(group, time.monotonic())

    def pause_resubmission(self, seconds: float) -> None:
        """Do not try to resubmit elements for some seconds."""
        self._paused_until = time.monotonic() + seconds

    @property
    def resubmission_paused(self) -> bool:
        """Whether no elements are resubmitted now."""
        return time.monotonic() < self._paused_until
