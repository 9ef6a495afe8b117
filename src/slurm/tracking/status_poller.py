"""StatusPoller: query the scheduler about submissions, and the accounting about jobs that it has forgotten."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.schedulers.job_control import Answers
from slurm.schedulers.marks import belongs, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.protocol import Block
    from slurm.submission.origins import Here
    from slurm.submission.submission_state import SubmissionState

    Query = Callable[[Sequence[str]], Answers]
    History = Callable[[Sequence[str]], Iterable[Report]]
    Complete = Callable[[Sequence[SubmissionState]], None]
    Reports = dict[str, dict[int, Report]]
    Owners = dict[str, list[tuple[SubmissionState, Block]]]  # by id; several submissions may have a block with an id

_log = logging.getLogger(__name__)

_NOT_QUEUED = Report("", None, JobState.PENDING, "PENDING", "", "no room in the queue for it yet")
_RUNAWAY = Report("", None, JobState.LOST, "LOST", "", "it is a runaway job of the accounting")


class QueryResult(NamedTuple):
    """The reports about elements, by submission; `trouble` is the error of a cluster that did not answer."""

    reports: Mapping[str, Mapping[int, Report]]
    trouble: str | None
    partly: bool
    """Whether other clusters answered."""


class StatusPoller:
    """Queries one scheduler about any number of submissions, with one command for each cluster."""

    def __init__(
        self, *, query: Query, history: History, complete: Complete, here: Callable[[], Here], runaway: float
    ) -> None:
        self._query, self._history, self._complete, self._here = query, history, complete, here
        self._runaway = runaway
        self._warned: WeakSet[SubmissionState] = WeakSet()

    def query(self, several: Sequence[SubmissionState]) -> QueryResult:
        """Query the scheduler about the elements of submissions.

        If a scheduler does not answer, its elements keep their last reports, or are UNKNOWN, so that they do not count
        as missing. Submissions without ids are located first, and elements that wait for room in the queue are queued
        if there is room. Refused submissions are not queried.
        """
        here = self._here()
        mine = [watched for watched in several if not watched.elsewhere(here)]
        if incomplete := [watched for watched in mine if watched.submitted is None or watched.unqueued]:
            self._complete(incomplete)
        reports: Reports = {watched.key: {} for watched in several}
        owners = _owners(several, here, reports)
        answers = self._query(list(owners)) if owners else Answers([], set(), None)
        if self._here() != here:  # the machine was restarted since the last query
            owners = _owners(several, self._here(), reports)
        for report in answers.reports:
            for watched, elements in _matches(report, owners):
                reports[watched.key].update(dict.fromkeys(elements, report))
        for watched, element, report in self._remembered(owners, _unreported(owners, reports)):
            # If only the accounting reports a job as alive, it may have missed the end.
            alone = not report.state.final and report.id not in answers.unanswered
            seconds = watched.seconds_in_accounting(element, alone=alone)
            reports[watched.key][element] = _RUNAWAY if seconds > self._runaway else report
        silent = _unreported({id_: owners[id_] for id_ in answers.unanswered & owners.keys()}, reports)
        trouble = answers.trouble if silent else None
        unknown = Report("", None, JobState.UNKNOWN, "UNKNOWN", "", (trouble or "").partition(":")[2].strip())
        for watched, element in (item for some in silent.values() for item in some):
            last = watched.report(element * watched.chunk)
            reports[watched.key][element] = last if last and not last.state.final else unknown
        for watched in several:
            reports[watched.key].update(dict.fromkeys(watched.unqueued if watched in mine else (), _NOT_QUEUED))
            if watched.refused:
                refusal = Report("", None, JobState.REFUSED, "REFUSED", "", watched.refused.words)
                reports[watched.key].update(dict.fromkeys(range(watched.elements), refusal))
            watched.add_reports(reports[watched.key])
            self._warn_if_stuck(watched, reports[watched.key])
        return QueryResult(reports, trouble, partly=not owners.keys() <= answers.unanswered)

    def _warn_if_stuck(self, watched: SubmissionState, reports: Mapping[int, Report]) -> None:
        """Log once for a submission that an element cannot start as it was submitted."""
        stuck = next((item for item in reports.items() if item[1].stuck), None)
        if stuck and watched not in self._warned:
            self._warned.add(watched)
            name = watched.name(stuck[0] * watched.chunk)
            why = f"{stuck[1].why}. See `slurm explain {shlex.quote(name)}`"
            _log.warning("%s cannot start as it was submitted: %s", name, why)

    def _remembered(
        self, owners: Owners, unreported: Mapping[str, list[tuple[SubmissionState, int]]]
    ) -> Iterator[tuple[SubmissionState, int, Report]]:
        """The accounting's last reports of elements that the scheduler does not report."""
        last: dict[tuple[SubmissionState, int], Report] = {}
        for report in self._history(list(unreported)) if unreported else ():
            for watched, elements in _matches(report, owners):
                last.update(dict.fromkeys(((watched, element) for element in elements), report))
        return ((*item, last[item]) for some in unreported.values() for item in some if item in last)


def _owners(several: Sequence[SubmissionState], here: Here, reports: Reports) -> Owners:
    """The blocks to query, by id. Adds reports about the blocks that this scheduler does not have."""
    owners: Owners = {}
    for watched in several:
        for block in watched.blocks:
            if report := watched.elsewhere(here, block):
                reports[watched.key].update(dict.fromkeys(watched.in_block(block, block.elements), report))
            else:
                owners.setdefault(block.id, []).append((watched, block))
    return owners


def _matches(report: Report, owners: Owners) -> Iterator[tuple[SubmissionState, Iterable[int]]]:
    """The submissions and elements that a report is about, without elements that have moved to another block."""
    for watched, block in owners.get(report.id, ()):
        if belongs(report, tag(watched.key, block), created=watched.created):
            elements = block.elements if report.tasks is None else [block.first + task for task in report.tasks]
            yield watched, watched.in_block(block, elements)


def _unreported(owners: Owners, reports: Reports) -> dict[str, list[tuple[SubmissionState, int]]]:
    """The unfinished elements without a report, by id."""
    found: dict[str, list[tuple[SubmissionState, int]]] = {}
    for id_, blocks in owners.items():
        for watched, block in blocks:
            for element in block.elements:
                reported = element in reports[watched.key] or watched.element_finished(element)
                if not reported and watched.block(element) == block:
                    found.setdefault(id_, []).append((watched, element))
    return found
