"""Retry job: finish or resubmit elements from a node, when no client does it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from slurm.errors import SlurmError
from slurm.options import Options, retry
from slurm.places.place import OnNode, place_for
from slurm.protocol import ATTEMPTS, STOPPED, attempt_name
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.submission.status import FinalStatus
from slurm.tracking import attempts, exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState


def main(argv: Sequence[str]) -> None:
    """Finish or resubmit the elements of a submission that have ended without an outcome.

    `argv` is `scheduler root key [element attempt]`; with the last two, at the end of an attempt's script, only that
    attempt is handled. Needs the scheduler's commands on this node; without them, the next client does the work.
    """
    scheduler, root, key, *ended = argv
    place = place_for(scheduler, root=root, python=sys.executable, on_node=OnNode())
    watched = place.registry.get(key)
    try:
        if ended:
            element, attempt = map(int, ended)
            _after_attempt(place, watched, element, attempt)
        else:
            place.tracker.finish(watched)
    except SlurmError as error:
        sys.exit(f"{type(error).__name__}: {error}\n{key} cannot be handled on this node; its next client does it")


def _after_attempt(place: Place, watched: SubmissionState, element: int, attempt: int) -> None:
    store = place.store
    place.tracker.list_outcomes([watched])
    if watched.trouble is not None:
        raise watched.trouble
    if watched.element_finished(element):  # for example, because it was cancelled
        return
    name = attempt_name(element, attempt)
    data = store.read_attempts(watched.key, [name]).get(name)
    if data is None:  # it succeeded
        return
    if isinstance(data, SlurmError):
        raise data
    outcome = Outcome.loads(data, where=f"{ATTEMPTS}/{name}")
    if exceptions.by_signal(outcome) or outcome.reason == place.scheduler.end_signal:
        return  # the scheduler may have ended it, which it reports only when this script has ended, too
    if outcome.phase == STOPPED and outcome.job_id:
        options = Options.parse(store.records(watched.key).submission.options)
        if retry.may_restart(options.get, attempt) and place.queue.client.requeue(outcome.job_id) is None:
            return
    # Learn the current job of the element first; otherwise its last move would count as new.
    attempts.AttemptRecords(store, watched.key, ()).move(watched)
    place.finalizer.finalize(watched, {element: FinalStatus(JobState.FAILED, None)}, {})
