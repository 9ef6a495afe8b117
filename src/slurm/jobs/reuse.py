"""Submit calls of a task that reuses results: only those that no earlier submission has computed or is computing."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.errors import NotReusable
from slurm.jobs.job import JobArray
from slurm.jobs.pieces import Call, JoinedArray, joined
from slurm.jobs.submit import NumberTaken, describe, head_of, submit_draft
from slurm.reuse.calls import call_digests
from slurm.reuse.digests import Digester
from slurm.reuse.lookup import Known, look_up
from slurm.serialization.pickling import is_importable_there, loose_modules_by_value
from slurm.storage.keys import new_key
from slurm.storage.reuse_records import ReuseRecord
from slurm.storage.uploads import Uploads
from slurm.submission.submission_state import SubmissionState
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.submit import Wanted
    from slurm.places.place import Place
    from slurm.reuse.calls import CallDigests
    from slurm.serialization.pickling import Arguments


def submit_unknown(place: Place, wanted: Wanted) -> tuple[JobArray[Any], JobArray[Any]]:
    """Submit the calls that are not known yet as one submission; return the jobs of all calls, and those submitted.

    Of several clients that submit the same call at the same time, one submits it, and the others join it: each writes
    the record of what it will submit under the next number, and only one can write each number. Raises NotReusable,
    and what a submission raises.
    """
    task, calls, settings = wanted.task, list(wanted.calls), wanted.settings
    uploads = Uploads()  # both of the digests and of the submission: a file may be edited in between
    found = _digests(place, wanted, calls, uploads)
    first = {digest: at for at, digest in reversed(list(enumerate(found.of_calls)))}
    refresh = settings.options.get("reuse") == "refresh"
    while True:
        number, known = look_up(place, new_key(task.name), [] if refresh else found.of_calls)
        known = known or [None] * len(calls)
        if place.on_node and place.on_node.journal:
            named = place.reuse_records.find(new_key(task.name), found.of_calls)  # also those that have failed
            place.on_node.journal.note_joined(each[0] for each in named if each)
        missing = [at for at, digest in enumerate(found.of_calls) if known[at] is None and first[digest] == at]
        if not missing:
            nothing = JobArray[Any](place, SubmissionState(new_key(task.name), 0, None, mapped=True), range(0))
            return (_joined(place, known, None) if calls else nothing), nothing

        draft = describe(place, wanted._replace(calls=[calls[at] for at in missing]), uploads=uploads)
        digests = [found.of_calls[at] for at in missing]
        record = ReuseRecord(key=draft.submission.key, elements=draft.submission.elements, parts=found.parts)
        claim = partial(_claim, place, record, digests, number, any_number=refresh)
        try:
            state = submit_draft(place, draft, settings.callbacks, looked_up=not refresh, record=claim)
        except NumberTaken:
            continue
        new = {found.of_calls[at]: Known(state, number) for number, at in enumerate(missing)}
        every = [each or new[digest] for each, digest in zip(known, found.of_calls, strict=True)]
        return _joined(place, every, state), JobArray(place, state, range(state.count))


def _claim(
    place: Place, record: ReuseRecord, digests: Sequence[bytes], number: int, key: str, *, any_number: bool
) -> None:
    """Write the record of a submission. Raises NumberTaken, unless the calls are computed anew in any case."""
    record, records = record.replace(key=key), place.reuse_records
    while not records.claim(number, record, digests):
        if not any_number:
            raise NumberTaken
        number = records.refresh(key)


def _digests(place: Place, wanted: Wanted, calls: Sequence[Arguments], uploads: Uploads) -> CallDigests:
    parameters = wanted.task.signature.parameters.values()
    return call_digests(
        place,
        head_of(wanted.task, uploads),
        calls,
        defaults={each.name: each.default for each in parameters if each.default is not each.empty},
        environment=wanted.environment,
        options=wanted.settings.options,
        replaced={Task: partial(_of_task, uploads)},
    )


def value_digest(value: object) -> str | None:
    """The digest of a value, which is the same in every process; None if it has none."""
    digester = Digester(
        importable=lambda module: is_importable_there(module.__name__, module, ()),
        placeholder=lambda job: job.reference.key.encode(),  # what is put holds no jobs, but may hold what was put
        replaced={Task: partial(_of_task, Uploads())},
    )
    with contextlib.suppress(NotReusable), loose_modules_by_value(()):
        return digester.value(value, "put()").hex()
    return None


def _joined(place: Place, calls: Sequence[Known | None], own: SubmissionState | None) -> JobArray[Any]:
    pieces = joined([Call(each.state, each.call, own=each.state is own) for each in calls if each])
    if len(pieces) == 1 and pieces[0].own:
        return JobArray(place, pieces[0].state, pieces[0].indices)
    return JoinedArray(place, pieces)


def _of_task(uploads: Uploads, task: Task[..., Any]) -> Any:
    """A task among what a function uses counts by its function and its environment; resources change no result.

    A command counts by what its files hold, too.
    """
    return "task", task.to_send(uploads), repr(task.terms.environment)
