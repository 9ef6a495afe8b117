"""Job cleanup: show how much space jobs, environments and sent files take, and remove jobs that nothing needs."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.clusters.environment_cleanup import MOST_DAYS, is_unfinished, run_in
from slurm.errors import SchedulerError, SlurmError, TransportError
from slurm.options.labels import has as has_labels
from slurm.protocol import BLOBS, ENVS, JOBS, REUSE, is_key
from slurm.protocol.shell import program
from slurm.sanitize.numbers import bounded
from slurm.storage.keys import of_task
from slurm.views.overview import overviews
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.protocol.states import JobState
    from slurm.storage.job_store import Records
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)

_LEFT_SECONDS = 86400.0
"""A directory of this age without a record belongs to a submission that was interrupted."""
_BESIDE = re.compile(r"\.(json|log|lock|unused)$")
"""The ends of the names of files that are beside an environment or a sent file."""
_AT_ONCE = 500
"""The number of jobs that one command removes: the words of a command line have a limit."""


class Space(NamedTuple):
    """What takes space under a root: a job, an environment, or a file that was sent."""

    kind: str
    """`jobs`, `environments`, `wheels`, `files`, `library`, or `reuse`."""
    name: str
    """For a job, its key."""
    bytes: int
    age: float
    """Seconds since its last change."""


class OldJob(NamedTuple):
    """A submission that was chosen for removal."""

    key: str
    bytes: int
    age: float
    """Seconds since its last change."""
    kept: str
    """Why it is not removed; empty if it is removed."""
    cluster: str
    """The URL of its cluster; empty if its submission was interrupted before its record was written."""


class Choice(NamedTuple):
    """The jobs to remove. A job must meet all conditions."""

    days: float = 0.0
    """The least number of days since its last change."""
    states: tuple[JobState, ...] = ()
    """The states that its calls may have: each call must have one of them."""
    labels: Mapping[str, str | None] = {}
    task: str | None = None
    """The name of its task, or a pattern as in a shell."""
    reused: bool = False
    """Whether to choose also jobs whose results later calls of a task with `reuse` would use."""
    keys: Collection[str] | None = None
    """Only these submissions."""


def space(place: Place) -> list[Space]:
    """List what takes space under the root of a place. Raises TransportError."""
    script = program(__name__, "list_space.sh")
    done = place.transport.run(["sh", "-c", script, "sh", place.store.root], timeout=600)
    if done.status != 0 or (done.stderr and not done.stdout):
        raise TransportError(f"cannot tell the space that {place.store.root} takes: {done.words}")
    now = time.time()
    found: dict[tuple[str, str], Space] = {}
    for line in done.stdout.splitlines():
        kilobytes, changed, path = line.split("\t", 2)
        directory, _, name = path.partition("/")
        if kind := _kind(directory, name):
            at = kind, name if kind == "jobs" else _BESIDE.sub("", name)
            before = found.get(at, Space(*at, 0, now))
            age = min(before.age, max(0.0, now - int(changed)))
            found[at] = Space(*at, before.bytes + int(kilobytes) * 1024, age)
    return list(found.values())


def _kind(directory: str, name: str) -> str:
    """The kind of a path under the root; empty for a path that is not a job."""
    if directory == JOBS:
        return "jobs" if is_key(name) else ""
    if directory == BLOBS:
        return "wheels" if name.endswith(".whl") else "library" if name.endswith("-runner.zip") else "files"
    return {ENVS: "environments", REUSE: "reuse"}[directory]


def collect(place: Place, choice: Choice, *, everywhere: bool, dry_run: bool = False) -> list[OldJob]:
    """Remove the jobs under a root that a choice names and that nothing needs. Returns all jobs that the choice names.

    A job is kept if it has not ended, if a kept job has its result as an argument or waits for it, if a workflow that
    has not ended has submitted it, or if a record of reuse names it. An elastic pool has not ended while clients may
    add elements. With `everywhere`, the jobs of other schedulers under the root are removed, too. Queries the
    schedulers of unfinished jobs. Raises ValueError for an invalid number of days, and the error of a record that
    cannot be read: then nothing is removed.
    """
    days = bounded(choice.days, "days", most=MOST_DAYS, unit="days")
    sizes = {item.name: item for item in space(place) if item.kind == "jobs"}
    old = {key for key in of_task(list(sizes), choice.task or "*", whole=True) if sizes[key].age >= days * 86400}
    old = old if choice.keys is None else old.intersection(choice.keys)
    known = _records(place, sizes) if old else {}
    parts = _parts(place, known.values())
    chosen = _chosen(place, {key: known[key] for key in known.keys() & old}, parts, choice, everywhere=everywhere)
    kept = _needed(known, parts, chosen)
    kept |= {} if choice.reused else _reused(place, chosen)
    _keep_upstreams(known, chosen, kept)
    if not choice.states and not choice.labels:
        chosen |= {key for key in old - known.keys() if sizes[key].age >= _LEFT_SECONDS}
    found = [
        OldJob(key, sizes[key].bytes, sizes[key].age, kept.get(key, ""), parts[key].url if key in parts else "")
        for key in sorted(chosen)
    ]
    if not dry_run:
        remove(place, [job.key for job in found if not job.kept])
    return found


def remove(place: Place, keys: Sequence[str]) -> None:
    """Remove jobs that have ended, even if something needs them. Raises TransportError."""
    for at in range(0, len(keys), _AT_ONCE):
        run_in(place, "remove_jobs.sh", JOBS, *keys[at : at + _AT_ONCE])


def _records(place: Place, keys: Iterable[str]) -> dict[str, Records]:
    """The records of all submissions. Raises the error of an unreadable record, which may refer to any other one."""
    found = {}
    for key, records in place.store.read_records(keys).items():
        if isinstance(records, SlurmError):
            raise records
        found[key] = records
    return found


def _parts(place: Place, several: Iterable[Records]) -> dict[str, Part]:
    """All calls of each submission, by key, without submissions to schedulers that this program does not have.

    Queries each scheduler about unfinished calls. If a scheduler does not answer, its calls count as unfinished.
    """
    found: dict[str, Part] = {}
    states: dict[Place, list[SubmissionState]] = {}
    for records in several:
        at = place.owner(records)
        if at is not None:
            state = at.registry.add(*records)
            states.setdefault(at, []).append(state)
            found[state.key] = Part(at, state, range(state.count))
    for at, some in states.items():
        at.tracker.list_outcomes(some)
        try:
            at.tracker.query([state for state in some if state.unfinished])
        except SchedulerError as error:
            _log.warning("unfinished jobs of %s stay: %s", at.url, error)
    return found


def _chosen(
    place: Place, old: Mapping[str, Records], parts: Mapping[str, Part], choice: Choice, *, everywhere: bool
) -> set[str]:
    """The keys of the old submissions that meet the other conditions of a choice."""
    found = {
        key
        for key, records in old.items()
        if has_labels(records.submission.labels or {}, choice.labels)
        and key in parts
        and (everywhere or place.has(records))
    }
    if choice.states and found:
        seen = overviews([parts[key] for key in found])
        found = {view.part.state.key for view in seen if view.states.keys() <= set(choice.states)}
    return found


def _needed(known: Mapping[str, Records], parts: Mapping[str, Part], chosen: Iterable[str]) -> dict[str, str]:
    """Why some of the chosen submissions are needed, apart from the results that other submissions use."""
    alive = {key for key, part in parts.items() if is_unfinished(part.state)}
    alive |= known.keys() - parts.keys()  # unknown, so they count as alive
    found = {}
    for key in chosen:
        parent = (known[key].submission.parent or "").partition("[")[0]
        if key in alive:
            open_pool = key in parts and parts[key].state.may_grow and not parts[key].state.unfinished
            found[key] = "a program may use this pool" if open_pool else "it has not ended"
        elif parent in alive:
            found[key] = f"its workflow {parent} has not ended"
    return found


def _reused(place: Place, chosen: Iterable[str]) -> dict[str, str]:
    """Why some of the chosen submissions are needed: a later call of their task may take their results."""
    found: dict[str, str] = {}
    for key in {key.partition("/")[0]: key for key in chosen}.values():  # one key of each task
        place.reuse_records.refresh(key)
        found |= dict.fromkeys(place.reuse_records.newest(key), "calls with reuse=True take its results")
    return {key: found[key] for key in chosen if key in found}


def _keep_upstreams(known: Mapping[str, Records], chosen: Collection[str], kept: dict[str, str]) -> None:
    """Add to `kept` the chosen submissions that a kept submission waits for, or whose results are its arguments."""
    staying = [key for key in known if key not in chosen or key in kept]
    while staying:
        key = staying.pop()
        for edge in known[key].submission.dependencies:
            if edge.key in chosen and edge.key not in kept:
                kept[edge.key] = f"{key} refers to it"
                staying.append(edge.key)
