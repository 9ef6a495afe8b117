"""Conclusions: what becomes of elements that the scheduler has ended and that left no outcome."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError, NoSuchJob, ProtocolError, TransportError
from slurm.protocol import FAILED, OUTCOMES, PROCESS, RESOLVE, outcome_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.submission import dependencies
from slurm.tracking import resubmit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.places.place import Backend
    from slurm.submission.submission_state import FinalStatus, SubmissionState

_log = logging.getLogger(__name__)


def conclude(
    backend: Backend, watched: SubmissionState, overdue: Mapping[int, FinalStatus], waiting: Mapping[int, FinalStatus]
) -> Mapping[int, FinalStatus]:
    """Have elements go on in another job that may; of the others, which have ended for good, write an outcome.

    Those still `waiting` for their outcome to show up are judged only by what they have left themselves.

    What the scheduler said is soon forgotten by it, so it is kept where the next process looks. That an element is lost
    is not: an outcome that comes late is better than none.
    """
    endings = {**overdue, **waiting}
    left: Mapping[int, Outcome | None] = dict.fromkeys(overdue)
    if watched.may_go_on:
        try:
            left = resubmit.go_on(backend, watched, endings, waiting)
        except NoSuchJob:  # its directory was removed, so nothing of it goes on
            pass
        except (ProtocolError, ConfigurationError) as error:
            _log.warning("jobs of %s can't go on: %s", watched.key, error)
    ended = {element: endings[element] for element in left}
    outcomes = {element: left[element] or _outcome(ending) for element, ending in ended.items()}
    try:
        explained = {e: o for e, o in outcomes.items() if o is not None}
        _explain_upstreams(backend, watched, ended, explained)
        files = {outcome_name(e): outcome.dumps() for e, outcome in explained.items()}
        if files:
            backend.store.commit(watched.key, OUTCOMES, files)
    except (TransportError, ProtocolError) as error:  # they have ended all the same
        _log.warning("how jobs of %s ended can't be kept there: %s", watched.key, error)
    return ended


def _outcome(ending: FinalStatus) -> Outcome | None:
    report = ending.report
    if report is None or ending.state in (JobState.LOST, JobState.REFUSED, JobState.FAILED):
        return None
    return Outcome(
        status=FAILED,
        phase=RESOLVE if report.dependency_failed else PROCESS,
        exit_code=1,
        host=report.node or None,
        job_id=report.id,
        state=ending.state.value,
        reason=report.reason or None,
    )


def _explain_upstreams(
    backend: Backend, watched: SubmissionState, ended: Mapping[int, FinalStatus], outcomes: dict[int, Outcome]
) -> None:
    waited = [e for e in outcomes if (report := ended[e].report) and report.dependency_failed]
    words = dependencies.failed_upstreams(backend.store, watched.key, waited) if waited else {}
    for element, message in words.items():
        error = ErrorRecord(type="DependencyFailed", message=message, bases=("DependencyFailed",))
        outcomes[element] = outcomes[element].replace(error=error)
