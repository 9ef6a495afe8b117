"""Finalizer: decide what happens to elements that the scheduler has ended and that left no outcome."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError, NoSuchJob, ProtocolError, TransportError
from slurm.protocol import FAILED, OUTCOMES, PROCESS, RESOLVE, outcome_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.submission import dependencies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.storage.job_store import JobStore
    from slurm.submission.status import FinalStatus
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.resubmit import Resubmitter

_log = logging.getLogger(__name__)


class Finalizer:
    """Writes the outcomes of elements that could not write one, unless they are resubmitted."""

    def __init__(self, store: JobStore, resubmitter: Resubmitter) -> None:
        self._store, self._resubmitter = store, resubmitter

    def finalize(
        self, watched: SubmissionState, overdue: Mapping[int, FinalStatus], waiting: Mapping[int, FinalStatus]
    ) -> Mapping[int, FinalStatus]:
        """Resubmit the elements that may run again; write an outcome for the other elements, and return these.

        Elements that are `waiting` for their outcome to appear count only if their own process left a record.

        The outcomes keep the scheduler's reports for other processes, because the scheduler soon forgets them. No
        outcome is written for a lost element, because a late outcome may still appear.
        """
        statuses = {**overdue, **waiting}
        ended: Mapping[int, Outcome | None] = dict.fromkeys(overdue)
        if watched.may_run_again:
            try:
                ended = self._resubmitter.resubmit(watched, statuses, waiting)
            except NoSuchJob:  # its directory was removed, so nothing can run again
                pass
            except (ProtocolError, ConfigurationError) as error:
                _log.warning("jobs of %s cannot be resubmitted: %s", watched.key, error)
        final = {element: statuses[element] for element in ended}
        try:
            explained = {e: outcome for e, outcome in _outcomes(final, ended).items() if outcome is not None}
            self._explain_upstreams(watched, final, explained)
            self._write(watched, final, explained)
        except (TransportError, ProtocolError) as error:  # the elements have ended anyway
            _log.warning("the outcomes of jobs of %s cannot be written: %s", watched.key, error)
        return final

    def _explain_upstreams(
        self, watched: SubmissionState, final: Mapping[int, FinalStatus], outcomes: dict[int, Outcome]
    ) -> None:
        """Name the failed upstream job in the outcomes of elements that did not run because of it."""
        waited = [e for e in outcomes if (report := final[e].report) and report.dependency_failed]
        messages = dependencies.failed_upstreams(self._store, watched.key, waited) if waited else {}
        same: dict[tuple[int, str], Outcome] = {}
        for element, message in messages.items():
            which = id(outcomes[element]), message
            if which not in same:
                error = ErrorRecord(type="DependencyFailed", message=message, bases=("DependencyFailed",))
                same[which] = outcomes[element].replace(error=error)
            outcomes[element] = same[which]

    def _write(
        self, watched: SubmissionState, final: Mapping[int, FinalStatus], outcomes: Mapping[int, Outcome]
    ) -> None:
        """Write the outcomes: one file for all elements that never began and have the same outcome.

        An element that may be resubmitted gets its own file, because a process looks for this file before it resubmits.
        """
        same: dict[int, list[int]] = {}
        for element, outcome in outcomes.items():
            same.setdefault(id(outcome), []).append(element)
        files: dict[str, bytes] = {}
        for elements in same.values():
            outcome, report = outcomes[elements[0]], final[elements[0]].report
            if len(elements) > 1 and report and not report.node and not watched.continues:
                self._store.commit_shared(watched.key, elements, outcome)
            else:
                files.update(dict.fromkeys(map(outcome_name, elements), outcome.dumps()))
        if files:
            self._store.commit(watched.key, OUTCOMES, files)


def _outcomes(final: Mapping[int, FinalStatus], ended: Mapping[int, Outcome | None]) -> Mapping[int, Outcome | None]:
    """The outcome of each element, None if unknown; the same object for all elements with the same report."""
    same: dict[tuple[object, ...], Outcome | None] = {}
    found: dict[int, Outcome | None] = {}
    for element, status in final.items():
        report = status.report
        which = status.state, report and (report.id, report.node, report.reason, report.dependency_failed)
        if which not in same:
            same[which] = _outcome(status)
        found[element] = ended[element] or same[which]
    return found


def _outcome(status: FinalStatus) -> Outcome | None:
    report = status.report
    if report is None or status.state in (JobState.LOST, JobState.REFUSED, JobState.FAILED):
        return None
    return Outcome(
        status=FAILED,
        phase=RESOLVE if report.dependency_failed else PROCESS,
        exit_code=1,
        host=report.node or None,
        job_id=report.id,
        state=status.state.value,
        reason=report.reason or None,
    )
