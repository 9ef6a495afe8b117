"""Caretaker: what a client would do for elements that failed or stopped, done from a node, where no client may be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from slurm.errors import SlurmError
from slurm.options import Options, retry
from slurm.places.place import backend_for
from slurm.protocol import ATTEMPTS, STOPPED, attempt_name
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.submission.submission_state import FinalStatus
from slurm.tracking import attempts, exceptions, finalize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.places.place import Backend
    from slurm.submission.submission_state import SubmissionState


def main(argv: Sequence[str]) -> None:
    """See to a submission's elements that have ended without an outcome: `scheduler root key [element attempt]`.

    At the end of an attempt's script it sees to that attempt. Needs the scheduler's commands on this node; where they
    are missing or refused, the next client does it.
    """
    scheduler, root, key, *ended = argv
    backend = backend_for(scheduler, root=root, python=sys.executable)
    backend.refusals_are_final = False
    watched = backend.watch(key)
    try:
        if ended:
            element, attempt = map(int, ended)
            _after_attempt(backend, watched, element, attempt)
        else:
            backend.tracker.settle(watched)
    except SlurmError as error:
        sys.exit(f"{type(error).__name__}: {error}\n{key} can't be seen to from here; its next client does it")


def _after_attempt(backend: Backend, watched: SubmissionState, element: int, attempt: int) -> None:
    backend.tracker.look([watched])
    if watched.trouble is not None:
        raise watched.trouble
    if watched.ended(element):  # cancelled, say
        return
    name = attempt_name(element, attempt)
    data = backend.store.told(watched.key, [name]).get(name)
    if data is None:  # it succeeded
        return
    if isinstance(data, SlurmError):
        raise data
    outcome = Outcome.loads(data, where=f"{ATTEMPTS}/{name}")
    if exceptions.by_signal(outcome) or outcome.reason == backend.scheduler.end_signal:
        return  # the scheduler may have ended it; it says so only when this script has ended, too
    if outcome.phase == STOPPED and outcome.job_id:
        options = Options.parse(backend.store.records(watched.key).submission.options)
        if retry.may_restart(options, attempt) and backend.controller.requeue(outcome.job_id) is None:
            return
    attempts.AttemptRecords(backend.store, watched.key, ()).move(
        watched
    )  # else that it is in another job now would be news
    finalize.conclude(backend, watched, {element: FinalStatus(JobState.FAILED, None)}, {})
