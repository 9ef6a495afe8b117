"""SubmissionState: what a process knows about one submission that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import ProtocolError
from slurm.protocol import LOGS, log_name
from slurm.protocol.states import JobState
from slurm.schedulers import ids
from slurm.submission.origins import elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from slurm.errors import SlurmError, TransportError
    from slurm.notifications.subscriptions import Subscription
    from slurm.protocol import Block, Refused, Submitted
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.base import Report
    from slurm.submission.origins import Here


class FinalStatus(NamedTuple):
    """How an element ended that left no outcome: the state, and what the scheduler last said of it."""

    state: JobState
    report: Report | None


class JobStatus(NamedTuple):
    """How far a job is: the state, the scheduler's reason for it, the node, and the outcome once there is one.

    A job whose outcome can't be read has ended, its state is UNKNOWN, and `problem` says why.
    """

    state: JobState
    reason: str | None
    node: str | None
    outcome: Outcome | None
    problem: str | None = None


class SubmissionState:
    """What is known of one submission: which elements have outcomes, and what the scheduler last said of the others.

    `count` calls are made by `elements` of the array, `chunk` by each. What is kept is kept by element.
    """

    def __init__(
        self,
        key: str,
        count: int,
        submitted: Submitted | None,
        *,
        mapped: bool,
        chunk: int = 1,
        continues: bool = False,
        workflow: bool = False,
        upstreams: Iterable[str] = (),
    ) -> None:
        self.key, self.count, self.submitted, self.mapped, self.chunk = key, count, submitted, mapped, chunk
        self.continues, self.workflow = continues, workflow
        self.created = 0.0
        """When it was submitted, by its client's clock."""
        self.refused: Refused | None = None
        self.upstreams = frozenset(upstreams)
        self.elements = -(-count // chunk)
        self.moved: dict[int, Block] = {}
        """The elements that go on in another job than they were submitted in."""
        self.done: set[int] = set()
        self.reports: dict[int, Report] = {}
        self.endings: dict[int, FinalStatus] = {}
        self.states: dict[int, JobState] = {}
        """How elements of one call have ended whose outcome this process has read."""
        self.missed_since: dict[int, float] = {}
        self.accounted_since: dict[int, float] = {}
        """Since when only the accounting knows an element, as one that has not ended."""
        self.trouble: TransportError | None = None
        """Why the last look couldn't list its outcomes; until one can, nothing is concluded from their absence."""
        self.claimed_since: dict[str, float] = {}
        """Since when this process has seen a claim, by the name of its job."""
        self.rests_until = 0.0
        """Until when nothing is tried to have elements go on."""
        self.callbacks: dict[int, list[Callable[[], object]]] = {}
        self.waiters = 0
        self.feed: Subscription | None = None
        """What callbacks on this client are told, if there are any."""

    @property
    def may_go_on(self) -> bool:
        """Whether an element of it that has ended may have another attempt."""
        return self.continues and self.refused is None

    @property
    def scheduler(self) -> str:
        """The name of the scheduler that queued it; "" if it was never queued."""
        return self.submitted.scheduler if self.submitted else ""

    def element(self, index: int) -> int:
        """The element that makes call `index`."""
        return index // self.chunk

    def name(self, index: int) -> str:
        """What call `index` is found again by: the key, with [index] in a map."""
        return f"{self.key}[{index}]" if self.mapped else self.key

    def job_id(self, index: int) -> str | None:
        """The scheduler's id for call `index`, such as "1234_0"; None if it never got one."""
        element = self.element(index)
        block = self.block(element)
        if block is None:
            return None
        return ids.split_id(self.scheduler, ids.element_id(self.scheduler, block, element))[0]

    def array_id(self, index: int) -> str | None:
        """The scheduler's id for the whole block that call `index` is in; None if it never got one."""
        block = self.block(self.element(index))
        return ids.split_id(self.scheduler, block.id)[0] if block else None

    def log(self, index: int, rank: int = 0) -> str:
        """The log of the element of call `index`, or of one of its ranks: its path in the submission's directory."""
        element = self.element(index)
        block = self.block(element)
        first = block.first if block else 0
        return f"{LOGS}/{log_name(first, f'{element - first}.{rank}' if rank else str(element - first))}"

    def block(self, element: int) -> Block | None:
        """The block that an element is in now; None if it was never queued, as far as is known here."""
        moved = self.moved.get(element)
        return moved if moved or self.submitted is None else self.submitted.block(element)

    @property
    def blocks(self) -> Iterable[Block]:
        """All blocks that any element is in now."""
        own = self.submitted.blocks if self.submitted else ()
        moved = list(self.moved.values())  # which the tracker's thread may add to meanwhile
        return (*own, *{block.id: block for block in moved}.values())

    def elsewhere(self, here: Here, block: Block | None = None) -> Report | None:
        """What to report of a block (by default, of the first) without asking, where its id means nothing here."""
        if self.submitted is None or not self.submitted.blocks:
            return None
        return elsewhere(self.submitted.scheduler, block or self.submitted.blocks[0], here)

    @property
    def unqueued(self) -> range:
        """The elements that wait for room in the queue; all of them come after those that don't."""
        blocks = self.submitted.blocks if self.submitted else ()
        queued = max((block.first + block.count for block in blocks), default=0)
        return range(queued if self.submitted else self.elements, self.elements)

    def queued(self, blocks: Iterable[Block]) -> None:
        """There are blocks of elements that had waited for room."""
        if self.submitted is not None:
            known = {block.id for block in self.submitted.blocks}
            new = [block for block in blocks if block.id not in known and block.tasks is None]
            self.submitted = self.submitted.replace(blocks=(*self.submitted.blocks, *new))

    def move(self, element: int, block: Block) -> None:
        """An element goes on in another job: what is known of it from the last one doesn't count."""
        self.moved[element] = block
        self.reports.pop(element, None)
        self.missed_since.pop(element, None)

    def ended(self, element: int) -> bool:
        """Whether an element has ended, as far as is known here."""
        return element in self.done or element in self.endings

    def finished(self, index: int) -> bool:
        """Whether call `index` has ended, as far as is known here: its element has."""
        return self.ended(index // self.chunk)

    def has_outcome(self, index: int) -> bool:
        """Whether there is an outcome for call `index`."""
        return index // self.chunk in self.done

    def ending(self, index: int) -> FinalStatus | None:
        """How call `index` ended without an outcome, if it has."""
        return self.endings.get(index // self.chunk)

    def report(self, index: int) -> Report | None:
        """What the scheduler last said of the element of call `index`."""
        return self.reports.get(index // self.chunk)

    def status(self, index: int, outcome: Outcome | None, problem: SlurmError | None = None) -> JobStatus:
        """How far call `index` is: by its element's outcome, or the `problem` with that, or else what is known here."""
        if outcome is not None:
            try:
                outcome = outcome.of_call(index % self.chunk)
            except ProtocolError as error:
                problem = error
        report, ending = self.report(index), self.ending(index)
        if outcome is None and ending is None and (report is None or report.state.final):
            problem = problem or self.trouble
        if problem is not None:
            return JobStatus(JobState.UNKNOWN, None, None, None, str(problem))
        if outcome is not None:
            return JobStatus(JobState.of(outcome), outcome.reason, outcome.host, outcome)
        reason, node = (report.reason or None, report.node or None) if report else (None, None)
        if report is None and self.submitted is None:
            reason = "it has not been queued yet, as far as is known"
        state = ending.state if ending else report.state if report else JobState.UNKNOWN
        return JobStatus(self.states.get(self.element(index), state), reason, node, None)

    def learn(self, outcomes: Mapping[int, Outcome]) -> None:
        """Keep how elements of one call have ended; a million calls in chunks would fill the memory."""
        if self.chunk == 1:
            self.states.update((index, JobState.of(outcome)) for index, outcome in outcomes.items())

    def word(self, index: int) -> str:
        """The state of call `index` in a word, as far as this process has learnt it."""
        if self.finished(index):
            state = self.states.get(self.element(index)) or ((ending := self.ending(index)) and ending.state)
            return state.value if state else "ended"
        report = self.report(index)
        return report.state.value if report else "submitted"

    @property
    def open(self) -> Iterable[int]:
        """The elements that have not ended, as far as is known here."""
        return (element for element in range(self.elements) if not self.ended(element))

    @property
    def unfinished(self) -> bool:
        """Whether any element has not ended."""
        return len(self.done) + len(self.endings.keys() - self.done) < self.elements

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know how it goes on."""
        return bool(self.waiters or self.callbacks or self.unqueued or self.feed)

    def judge(self, reports: Mapping[int, Report], now: float) -> None:
        """Note which elements should have left an outcome by now, by what the scheduler says."""
        for index in list(self.open):
            report = reports.get(index)
            if report is None or report.state.final:
                self.missed_since.setdefault(index, now)
            else:
                self.missed_since.pop(index, None)
        if self.feed:
            self.feed.reported(reports)
