"""Inquiry: what the scheduler says of submissions, and the accounting of those that it has forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.lifecycle.watched import Watched
    from slurm.protocol import Block

    Query = Callable[[Sequence[str]], Iterable[Report]]
    Complete = Callable[[Sequence[Watched]], None]

_NOT_QUEUED = Report("", None, JobState.PENDING, "PENDING", "", "no room in the queue for it yet")


class Inquiry:
    """Questions to one scheduler, each by one command for all submissions."""

    def __init__(self, *, query: Query, history: Query, complete: Complete) -> None:
        self._query, self._history, self._complete = query, history, complete

    def ask(self, several: Sequence[Watched]) -> Mapping[str, Mapping[int, Report]]:
        """What the scheduler says of each element of submissions that it knows. SchedulerError if it can't tell.

        Those whose client died before it learnt the ids are located first; what was never queued, nobody will run. Nor
        what was refused: of that nobody is asked. What waits for room in the queue is queued, if there is some.
        """
        if incomplete := [watched for watched in several if watched.submitted is None or watched.unqueued]:
            self._complete(incomplete)
        blocks = {block.id: (watched, block) for watched in several for block in watched.blocks}
        reports: dict[str, dict[int, Report]] = {watched.key: {} for watched in several}

        def note(told: Iterable[Report]) -> None:
            for report in told:
                if report.id in blocks:
                    watched, block = blocks[report.id]
                    reports[watched.key].update(dict.fromkeys(_told_of(report, watched, block), report))

        note(self._query(list(blocks)) if blocks else ())
        forgotten = [
            id_
            for id_, (watched, block) in blocks.items()
            if any(
                not watched.ended(element) and element not in reports[watched.key] and watched.block(element) == block
                for element in block.elements
            )
        ]
        told = self._history(forgotten) if forgotten else ()
        # What the scheduler has forgotten doesn't run, even if the accounting has missed its end.
        note(report for report in told if report.state.final)
        for watched in several:
            reports[watched.key].update(dict.fromkeys(watched.unqueued, _NOT_QUEUED))
            if watched.refused:
                refusal = Report("", None, JobState.REFUSED, "REFUSED", "", watched.refused.words)
                reports[watched.key].update(dict.fromkeys(range(watched.elements), refusal))
            watched.reports.update(reports[watched.key])
        return reports


def _told_of(report: Report, watched: Watched, block: Block) -> Iterable[int]:
    """The elements that a report is of, without those that have left that block for another."""
    elements = block.elements if report.tasks is None else [block.first + task for task in report.tasks]
    moved = watched.moved
    return (e for e in elements if moved.get(e, block) == block) if moved else elements
