"""StatusPoller: ask the scheduler about submissions, and the accounting about those that it has forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report, tag
from slurm.schedulers.marks import belongs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.protocol import Block
    from slurm.schedulers.job_control import Answers
    from slurm.submission.origins import Here
    from slurm.submission.submission_state import SubmissionState

    Query = Callable[[Sequence[str]], Answers]
    History = Callable[[Sequence[str]], Iterable[Report]]
    Complete = Callable[[Sequence[SubmissionState]], None]
    Reports = dict[str, dict[int, Report]]
    Asked = dict[str, list[tuple[SubmissionState, Block]]]

_NOT_QUEUED = Report("", None, JobState.PENDING, "PENDING", "", "no room in the queue for it yet")
_RUNAWAY = Report("", None, JobState.LOST, "LOST", "", "it is a runaway job of the accounting")


class Said(NamedTuple):
    """What is said of elements, by submission; and why nothing is of some, where a scheduler doesn't answer."""

    reports: Mapping[str, Mapping[int, Report]]
    trouble: str | None
    partly: bool = False
    """Whether some ids were answered for all the same."""


class StatusPoller:
    """Questions to one scheduler, each by one command a cluster for all submissions."""

    def __init__(
        self, *, query: Query, history: History, complete: Complete, here: Callable[[], Here], runaway: float
    ) -> None:
        self._query, self._history, self._complete, self._here = query, history, complete, here
        self._runaway = runaway

    def ask(self, several: Sequence[SubmissionState]) -> Said:
        """What the scheduler says of each element of submissions that it knows.

        An element of a scheduler that doesn't answer keeps the last report, or is UNKNOWN: it isn't missing.

        Those whose client died before it learnt the ids are located first; what was never queued, nobody will run. Nor
        what was refused: of that nobody is asked. What waits for room in the queue is queued, if there is some.
        """
        here = self._here()
        mine = [watched for watched in several if not watched.elsewhere(here)]
        if incomplete := [watched for watched in mine if watched.submitted is None or watched.unqueued]:
            self._complete(incomplete)
        reports: Reports = {watched.key: {} for watched in several}
        asked = _placed(several, here, reports)
        answers = self._query(list(asked)) if asked else None
        if self._here() != here:  # the machine was restarted since it was last asked
            asked = _placed(several, self._here(), reports)
        for report in answers.reports if answers else ():
            for watched, elements in _owners(report, asked):
                reports[watched.key].update(dict.fromkeys(elements, report))
        unanswered = answers.unanswered if answers else set()
        left = _unreported(asked, reports)
        for watched, element, report in self._remembered(asked, left):
            # If only the accounting reports a job as alive, it may have missed the end.
            alone = not report.state.final and report.id not in unanswered
            seconds = watched.seconds_in_accounting(element, alone=alone)
            reports[watched.key][element] = _RUNAWAY if seconds > self._runaway else report
        silent = _unreported({id_: asked[id_] for id_ in unanswered & asked.keys()}, reports)
        trouble = answers.trouble if answers and silent else None
        for watched, element in (item for some in silent.values() for item in some):
            before = watched.report(element * watched.chunk)
            known = before is not None and not before.state.final
            reports[watched.key][element] = before if before and known else _silence(trouble)
        for watched in several:
            reports[watched.key].update(dict.fromkeys(watched.unqueued if watched in mine else (), _NOT_QUEUED))
            if watched.refused:
                refusal = Report("", None, JobState.REFUSED, "REFUSED", "", watched.refused.words)
                reports[watched.key].update(dict.fromkeys(range(watched.elements), refusal))
            watched.add_reports(reports[watched.key])
        return Said(reports, trouble, partly=not asked.keys() <= unanswered)

    def _remembered(
        self, asked: Asked, left: Mapping[str, list[tuple[SubmissionState, int]]]
    ) -> Iterator[tuple[SubmissionState, int, Report]]:
        """The last that the accounting says of elements that the scheduler doesn't report."""
        last: dict[tuple[SubmissionState, int], Report] = {}
        for report in self._history(list(left)) if left else ():
            for watched, elements in _owners(report, asked):
                last.update(dict.fromkeys(((watched, element) for element in elements), report))
        for some in left.values():
            for watched, element in some:
                if (watched, element) in last:
                    yield watched, element, last[watched, element]


def _placed(several: Sequence[SubmissionState], here: Here, reports: Reports) -> Asked:
    """Blocks to ask about, by id, which several may have; what can be said of the others is put into reports."""
    asked: Asked = {}
    for watched in several:
        for block in watched.blocks:
            if said := watched.elsewhere(here, block):
                reports[watched.key].update(dict.fromkeys(watched.in_block(block, block.elements), said))
            else:
                asked.setdefault(block.id, []).append((watched, block))
    return asked


def _owners(report: Report, asked: Asked) -> Iterator[tuple[SubmissionState, Iterable[int]]]:
    """Whose job a report is about, and which elements: those that have left that block for another are not."""
    for watched, block in asked.get(report.id, ()):
        if belongs(report, tag(watched.key, block), created=watched.created):
            elements = block.elements if report.tasks is None else [block.first + task for task in report.tasks]
            yield watched, watched.in_block(block, elements)


def _unreported(asked: Asked, reports: Reports) -> dict[str, list[tuple[SubmissionState, int]]]:
    """By id, the elements that have not ended and of which nothing is reported."""
    found: dict[str, list[tuple[SubmissionState, int]]] = {}
    for id_, owners in asked.items():
        for watched, block in owners:
            told = reports[watched.key]
            left = (
                e
                for e in block.elements
                if e not in told and not watched.element_finished(e) and watched.block(e) == block
            )
            if some := [(watched, element) for element in left]:
                found.setdefault(id_, []).extend(some)
    return found


def _silence(trouble: str | None) -> Report:
    return Report("", None, JobState.UNKNOWN, "UNKNOWN", "", (trouble or "").partition(":")[2].strip())
