"""Submit calls of a task that reuses results: only those that no earlier submission has computed or is computing."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import NotReusable
from slurm.jobs.job import JobArray
from slurm.jobs.pieces import Call, JoinedArray, joined
from slurm.jobs.queueing import NumberTaken
from slurm.jobs.submit import describe, head_of, submit_draft
from slurm.reuse.calls import call_digests
from slurm.reuse.digests import Digester
from slurm.reuse.lookup import Known, look_up
from slurm.serialization.pickling import is_importable_there, loose_modules_by_value
from slurm.storage.keys import new_key, task_directory_name, tasks_of
from slurm.storage.reuse_records import ReuseRecord
from slurm.storage.uploads import Uploads
from slurm.submission.submission_state import SubmissionState
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.jobs.submit import Wanted
    from slurm.places.place import Place
    from slurm.serialization.pickling import Arguments


def submit_unknown(place: Place, wanted: Wanted) -> tuple[JobArray[Any], JobArray[Any]]:
    """Submit the calls that are not known yet as one submission. Returns the jobs of all calls, and the submitted jobs.

    If several clients submit the same call at the same time, one submits it, and the others join it: each writes the
    record of what it will submit under the next number, and only one client can write each number. Raises NotReusable,
    and what a submission raises.
    """
    calls, settings = list(wanted.calls), wanted.settings
    uploads = Uploads()  # shared by the digests and the submission: a file may be edited in between
    groups = _groups(wanted, len(calls))
    found = _digests(place, wanted, calls, groups, uploads)
    first = {digest: at for at, digest in reversed(list(enumerate(found.of_calls)))}
    refresh = settings.options.get("reuse") == "refresh"
    while True:
        numbers, known = _look_up(place, groups, found.of_calls, refresh=refresh)
        missing = [at for at, digest in enumerate(found.of_calls) if known[at] is None and first[digest] == at]
        if not missing:
            none = SubmissionState(new_key(wanted.task.name), 0, None, mapped=True)
            nothing = JobArray[Any](place, none, range(0))
            return (_joined(place, known, None) if calls else nothing), nothing

        draft = describe(place, _some(wanted, calls, missing), uploads=uploads)
        digests = [found.of_calls[at] for at in missing]
        claim = partial(_claim, place, draft.submission.elements, numbers, found.parts, digests, any_number=refresh)
        try:
            state = submit_draft(place, draft, settings.callbacks, looked_up=not refresh, record=claim)
        except NumberTaken:
            continue
        new = {found.of_calls[at]: Known(state, number) for number, at in enumerate(missing)}
        every = [each or new[digest] for each, digest in zip(known, found.of_calls, strict=True)]
        return _joined(place, every, state), JobArray(place, state, range(state.count))


class _Digests(NamedTuple):
    """The digest of each call, and for each task, by name, the digests of the parts that its calls have in common."""

    of_calls: Sequence[bytes]
    parts: Mapping[str, Mapping[str, str]]


def _groups(wanted: Wanted, count: int) -> list[tuple[Task[..., Any], Sequence[int]]]:
    """The tasks, each with the numbers of its calls: several in a batch."""
    if wanted.batch is None:
        return [(wanted.task, range(count))]
    numbers: dict[int, list[int]] = {}
    for at, number in enumerate(wanted.batch.of_calls):
        numbers.setdefault(number, []).append(at)
    return [(wanted.batch.tasks[number], some) for number, some in numbers.items()]


def _some(wanted: Wanted, calls: Sequence[Arguments], which: Sequence[int]) -> Wanted:
    """Return `wanted` with only some of the calls."""
    batch = wanted.batch and wanted.batch.of_some(which)
    if batch and len(batch.tasks) == 1:
        wanted, batch = wanted._replace(task=batch.tasks[0]), None
    return wanted._replace(calls=[calls[at] for at in which], batch=batch)


def _look_up(
    place: Place, groups: Sequence[tuple[Task[..., Any], Sequence[int]]], digests: Sequence[bytes], *, refresh: bool
) -> tuple[dict[str, int], list[Known | None]]:
    """Find the calls that are known, and the number of the next record of each task, by name."""
    numbers: dict[str, int] = {}
    found: list[Known | None] = [None] * len(digests)
    for task, calls in groups:
        key, own = new_key(task.name), [digests[at] for at in calls]
        number, known = look_up(place, key, [] if refresh else own)
        numbers.setdefault(task.name, number)
        for at, each in zip(calls, known or (), strict=not refresh):
            found[at] = each
        if place.on_node and place.on_node.journal:
            named = place.reuse_records.find(key, own)  # also those that have failed
            place.on_node.journal.note_joined(each[0] for each in named if each)
    return numbers, found


def _claim(  # noqa: PLR0917 - the last two are those of `Record`
    place: Place,
    elements: int,
    numbers: Mapping[str, int],
    parts: Mapping[str, Mapping[str, str]],
    digests: Sequence[bytes],
    key: str,
    commands: Sequence[str],
    *,
    any_number: bool,
) -> None:
    """Write the record of a submission for each of its tasks. Raises NumberTaken, unless all calls are computed again.

    If there are several tasks, only the number of the first decides: once it is written, other clients may wait for the
    submission.
    """
    del commands
    records = place.reuse_records
    for name in (name for name in numbers if task_directory_name(name) in tasks_of(key)):
        task, number = new_key(name), numbers[name]
        record = ReuseRecord(key=key, elements=elements, parts=parts[name])
        while not records.claim(task, number, record, digests):
            if not any_number:
                raise NumberTaken
            number = records.refresh(task)
        any_number = True


def _digests(
    place: Place,
    wanted: Wanted,
    calls: Sequence[Arguments],
    groups: Sequence[tuple[Task[..., Any], Sequence[int]]],
    uploads: Uploads,
) -> _Digests:
    of_calls, parts = [b""] * len(calls), {}
    for task, numbers in groups:
        parameters = task.signature.parameters.values()
        found = call_digests(
            place,
            head_of(task, uploads),
            [calls[at] for at in numbers],
            defaults={each.name: each.default for each in parameters if each.default is not each.empty},
            environment=wanted.environment,
            options=wanted.settings.options,
            replaced={Task: partial(_of_task, uploads)},
        )
        parts[task.name] = found.parts
        for at, digest in zip(numbers, found.of_calls, strict=True):
            of_calls[at] = digest
    return _Digests(of_calls, parts)


def value_digest(value: object) -> str | None:
    """The digest of a value, which is the same in every process; None if it has none."""
    digester = Digester(
        importable=lambda module: is_importable_there(module.__name__, module, ()),
        placeholder=lambda job: job.reference.key.encode(),  # a put contains no jobs, but may contain other puts
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
    """The identity of a task that a function uses: its function and its environment. Resources do not change a result.

    The identity of a command includes the content of its files.
    """
    return "task", task.to_send(uploads), repr(task.terms.environment)
