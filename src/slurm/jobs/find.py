"""Find: the jobs of keys, newest first; and those that a text names: a key, a job id, a label, or "last"."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob, OptionError
from slurm.jobs.job import Job, JobArray, handle
from slurm.jobs.pieces import Call, JoinedArray, joined
from slurm.options.labels import has as has_labels
from slurm.options.labels import parse as parse_labels
from slurm.protocol import JOBS, is_key
from slurm.protocol.shell import program
from slurm.storage.keys import in_whole_seconds
from slurm.tracking import attempts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

_NAME = re.compile(r"(?P<name>.+?)(?:\[(?P<index>\d+)\])?", re.DOTALL)
_JOB_ID = re.compile(r"(?P<id>\d+)(?:_(?P<task>\d+))?")
_SHORTEST = 4
"""The fewest characters of the random part of a key that name a job."""
_NAMED = 5
"""The most keys that a message names."""


def newest_first(
    place: Place, keys: Sequence[str], *, at_once: int, labels: Mapping[str, str | None], everywhere: bool = False
) -> Iterator[list[Job[Any] | JobArray[Any]]]:
    """Yield the jobs of keys that are sorted by time, in groups: first at least `at_once` keys, then larger groups.

    Leaves out submissions without the labels, and, unless `everywhere`, submissions to another scheduler under the same
    root. Reads the records of a group together.
    """
    for some in in_whole_seconds(keys, at_once):
        read = place.store.several_records(some)
        found = [r for r in read if has_labels(r.submission.labels or {}, labels)]
        found.sort(key=lambda records: records.submission.created, reverse=True)
        places = [(place.owner(records, everywhere=everywhere), records) for records in found]
        yield [handle(at, at.registry.add(*records)) for at, records in places if at is not None]


def find_job(place: Place, text: str, *, everywhere: bool = False) -> Job[Any] | JobArray[Any]:
    """Open the jobs that a text names; `[index]` after it names one call of a map.

    A text is a key, the beginning of one key or of its random part, an id of the scheduler such as 1234 or 1234_7, a
    label NAME=VALUE that only one submission has, or "last". With `everywhere`, submissions to other schedulers under
    the same root count, too. Takes one round trip for a whole key, two or three for other texts. Raises NoSuchJob, also
    for a text that names several submissions.
    """
    parts = _NAME.fullmatch(text)
    name, index = (parts["name"], parts["index"]) if parts else (text, None)
    found = _find(place, name, everywhere=everywhere)
    if index is None:
        return found
    place, state, _ = found.part
    if int(index) >= state.count:
        raise NoSuchJob(f"{state.key} has {state.count} jobs, so there is no [{index}]")
    return Job(place, state, int(index))


def with_added(job: Job[Any] | JobArray[Any]) -> Job[Any] | JobArray[Any]:
    """Return a job. If it is an elastic pool, includes elements added since it was opened, as far as is known."""
    place, state, indices = job.part
    whole = state.elastic and job.is_array
    return handle(place, state) if whole and len(indices) < state.count else job


def _find(place: Place, name: str, *, everywhere: bool) -> Job[Any] | JobArray[Any]:
    if name == "last":
        for some in newest_first(place, place.store.keys(), at_once=1, labels={}, everywhere=everywhere):
            if some:
                return some[0]
        raise NoSuchJob(f"there is no last job, because {place.store.root} has no jobs")
    if (parts := _JOB_ID.fullmatch(name)) and (
        found := _by_job_id(place, parts["id"], parts["task"], everywhere=everywhere)
    ):
        return found
    if is_key(name):
        try:
            return _open(place, name, everywhere=everywhere)
        except NoSuchJob:
            pass
    labelled = "=" in name
    keys = _labelled(place, name, everywhere=everywhere) if labelled else _begun(place.store.keys(), name)
    if len(keys) == 1:
        return _open(place, keys[0], everywhere=everywhere)
    if not keys:
        shown = name if is_key(name) else repr(name)
        raise NoSuchJob(
            f"there is no job {shown} in {place.store.root}: write its key, the beginning of one, an id like 1234 or "
            "1234_7, a label as NAME=VALUE, or last"
        )
    more = f", … ({len(keys)} in all)" if len(keys) > _NAMED else ""
    shown = f"{', '.join(keys[:_NAMED])}{more}"
    if labelled:
        advice = f"Write the key of one of them; `slurm jobs --label {shlex.quote(name)}` lists them"
        raise NoSuchJob(f"several jobs have the label {name!r}: {shown}. {advice}")
    raise NoSuchJob(f"{name!r} names several jobs: {shown}. Write more of the key")


def _open(place: Place, key: str, *, everywhere: bool) -> Job[Any] | JobArray[Any]:
    if not everywhere:
        return handle(place, place.registry.get(key))
    records = place.store.records(key)
    at = place.of(records)
    return handle(at, at.registry.add(*records))


def _begun(keys: Iterable[str], name: str) -> list[str]:
    """The keys that begin with a text, or whose random part does."""
    return [
        key
        for key in keys
        if (name and key.startswith(name)) or (len(name) >= _SHORTEST and key.rpartition("-")[2].startswith(name))
    ]


def _labelled(place: Place, name: str, *, everywhere: bool) -> list[str]:
    """The keys of the submissions with a label NAME=VALUE; none for a text that is not a label."""
    label, _, value = name.partition("=")
    try:
        labels = parse_labels({label: value})
    except OptionError:
        return []
    keys = place.store.keys()
    groups = newest_first(place, keys, at_once=len(keys), labels=labels, everywhere=everywhere)
    return [job.reference.key for some in groups for job in some]


def _by_job_id(place: Place, id_: str, task: str | None, *, everywhere: bool) -> Job[Any] | JobArray[Any] | None:
    """The calls of a scheduler's job, or of one task of an array; of the newest submission if several have the id."""
    keys = _keys_with_id(place, id_)
    read = place.store.several_records(keys)
    for each in sorted(read, key=lambda records: records.submission.created, reverse=True):
        at = place.owner(each, everywhere=everywhere)
        if at is None:
            continue
        state = at.registry.add(*each)
        elements = _elements(at, state, id_, task)
        calls = sorted(
            call
            for element in elements
            for call in range(element * state.chunk, min((element + 1) * state.chunk, state.count))
        )
        if calls:
            return _handle_of(at, state, calls)
    return None


def _keys_with_id(place: Place, id_: str) -> list[str]:
    """The keys of submissions whose files may hold a job id, found by one command.

    A file may contain the digits in another place, so the caller must check the records of each submission. Files that
    cannot be read are left out.
    """
    top = f"{place.store.root}/{JOBS}"
    done = place.transport.run(["sh", "-c", program(__name__, "job_ids.sh"), "sh", top, id_], timeout=300)
    found = (re.match(r"[^/]+/[^/]+(?=/)", line.removeprefix(f"{top}/")) for line in done.stdout.splitlines())
    return list(dict.fromkeys(match[0] for match in found if match))


def _elements(place: Place, state: SubmissionState, id_: str, task: str | None) -> set[int]:
    """The elements that run, or ran, under an id of the scheduler."""
    blocks = [*state.submitted.blocks] if state.submitted else []
    if state.continues:
        blocks += attempts.blocks(place.store, state.key, place.store.attempts(state.key))
    named = [block for block in blocks if block.id.partition(";")[0] == id_]
    if task is None:
        return {element for block in named for element in block.elements}
    return {block.first + int(task) for block in named if block.first + int(task) in block.elements}


def _handle_of(place: Place, state: SubmissionState, calls: Sequence[int]) -> Job[Any] | JobArray[Any]:
    if len(calls) == state.count:
        return handle(place, state)
    if len(calls) == 1:
        return Job(place, state, calls[0])
    if calls[-1] - calls[0] + 1 == len(calls):
        return JobArray(place, state, range(calls[0], calls[-1] + 1))
    return JoinedArray(place, joined([Call(state, call, own=True) for call in calls]))
