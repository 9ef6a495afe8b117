"""Submissions with random failures, retries and dependencies end as a small model says."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from slurm import JobArray, Retry, Task, task
from slurm.errors import DependencyFailed, JobTimedOut, NodeFailed
from slurm.testing import InlineCluster

if TYPE_CHECKING:
    from collections.abc import Sequence

FAULTS = {"TIMEOUT": JobTimedOut, "NODE_FAIL": NodeFailed}
WAIT = 60.0
"""The bound of a hang, in seconds."""

Ends = list[object]
"""The value of each call, or the class of its error."""


class Life(RuleBasedStateMachine):
    """Submits while the queue is held, then lets it run and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.cluster = self.stack.enter_context(InlineCluster())
        self.hold = self.stack.enter_context(ExitStack())
        self.hold.enter_context(self.cluster.queue.held())
        self.found: list[tuple[JobArray[int], Ends]] = []
        self.retried: set[str] = set()
        """The keys of submissions that may have another attempt, and of those that depend on one of them."""

    def named(self) -> Task[[int], int, int]:
        """A task with a name that faults can be aimed at."""

        def add_one(x: int) -> int:
            return x + 1

        add_one.__name__ = f"add{len(self.found)}"
        return task(add_one)

    def submit(self, of: Task[[int], int, int], values: Any, ends: Ends, fault: str | None, retry: bool) -> None:
        """Submit, and have the first element that would run fail."""
        runs = [at for at, end in enumerate(ends) if isinstance(end, int)]
        of = of.with_options(retry=Retry(times=1)) if retry else of
        if fault and runs:
            self.cluster.queue.play(fault, task=of.name, element=runs[0])
            ends[runs[0]] = ends[runs[0]] if retry and fault == "NODE_FAIL" else FAULTS[fault]
        self.found.append((of.map(values), ends))
        if retry or (isinstance(values, JobArray) and values.key in self.retried):
            self.retried.add(self.found[-1][0].key)

    @rule(count=st.integers(1, 3), fault=st.sampled_from([None, *FAULTS]), retry=st.booleans())
    def submit_values(self, count: int, fault: str | None, retry: bool) -> None:
        self.submit(self.named(), range(count), [x + 1 for x in range(count)], fault, retry)

    @precondition(lambda self: self.found)
    @rule(data=st.data(), fault=st.sampled_from([None, *FAULTS]), retry=st.booleans())
    def submit_over_results(self, data: st.DataObject, fault: str | None, retry: bool) -> None:
        jobs, ends = data.draw(st.sampled_from(self.found))
        expected: Ends = [end + 1 if isinstance(end, int) else DependencyFailed for end in ends]
        self.submit(self.named(), jobs, expected, fault, retry)

    @precondition(lambda self: self.found)
    @rule(data=st.data(), on=st.sampled_from(["success", "failure", "any"]))
    def submit_after(self, data: st.DataObject, on: Any) -> None:
        jobs, ends = data.draw(st.sampled_from(self.found))
        if on == "failure" and jobs.key in self.retried:
            return  # it may run after a first attempt that failed, though a later one succeeds
        failed = not all(isinstance(end, int) for end in ends)
        runs = {"success": not failed, "failure": failed, "any": True}[on]
        self.submit(self.named().after(jobs, on=on), [1], [2 if runs else DependencyFailed], None, retry=False)
        if jobs.key in self.retried:
            self.retried.add(self.found[-1][0].key)

    @precondition(lambda self: self.found)
    @rule()
    def run(self) -> None:
        self.hold.close()
        self.compare()
        self.hold.enter_context(self.cluster.queue.held())

    def compare(self) -> None:
        for jobs, ends in self.found:
            assert _ends(list(jobs)) == ends

    def teardown(self) -> None:
        try:
            self.hold.close()
            self.compare()
        finally:
            self.stack.close()


def _ends(jobs: Sequence[Any]) -> Ends:
    return [type(error) if (error := job.exception(WAIT)) else job.result(WAIT) for job in jobs]


TestLife = Life.TestCase
TestLife.settings = settings(settings.get_profile("unit"), max_examples=4, stateful_step_count=6, derandomize=True)
