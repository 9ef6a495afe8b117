"""Upkeep: which environments there are under a root, what uses them, and their removal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import ConfigurationError, EnvironmentInUse, TransportError
from slurm.protocol import BLOBS, ENVS
from slurm.protocol.ownership import check_output
from slurm.protocol.shell import program
from slurm.sanitize.numbers import bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.places.place import Place
    from slurm.storage.job_store import Records
    from slurm.submission.submission_state import SubmissionState

MOST_DAYS = 100_000
_MAKING_SECONDS = 600
"""How long after the last beat of a lock somebody may still be making the environment: much longer than he may."""


class StoredEnvironment(NamedTuple):
    """An environment under the root."""

    key: str
    state: str
    """`ready`; `making`, by some process now; `left` by one that didn't finish."""
    bytes: int
    unused: float
    """Seconds since a submission last went to it, or since anything was done to it."""
    used_by: tuple[str, ...]
    """The keys of the submissions that have not ended and run in it."""
    above: tuple[str, ...]
    """The keys of the environments that stand on it, and can't be without it."""

    def users(self, *, without: Iterable[str] = ()) -> str:
        """Whom its removal would harm; empty if nobody. `without` are environments that are removed with it."""
        making = ("a process that makes it now",) if self.state == "making" else ()
        return ", ".join((*self.used_by, *(key for key in self.above if key not in without), *making))


def kept(cluster: Cluster) -> list[StoredEnvironment]:
    """The environments under the root, by their keys, and what uses them; asks the scheduler."""
    place = cluster.place
    lines = [line.split() for line in _run(place, "list_environments.sh", ENVS).splitlines()]
    uses = _uses(place, {key for key, *_ in lines})
    found = []
    for key, word, since, kilobytes, *below in lines:
        state = word if word != "lock" else "making" if int(since) < _MAKING_SECONDS else "left"
        use = uses.get(key, _Use())
        unused = max(0.0, min(float(since), time.time() - use.last))  # a process asks for it once, and goes on using it
        found.append((StoredEnvironment(key, state, int(kilobytes) * 1024, unused, use.by, ()), below))
    standing = [(environment.key, below) for environment, below in found if environment.state != "left"]
    return [e._replace(above=tuple(key for key, below in standing if e.key in below)) for e, _ in found]


def remove(cluster: Cluster, keys: Sequence[str]) -> None:
    """Remove environments, all or none. Raises EnvironmentInUse, ConfigurationError for one that isn't there."""
    there = {environment.key: environment for environment in kept(cluster)}
    for key in keys:
        if key not in there:
            raise ConfigurationError(f"there is no environment {key} under {cluster.place.store.root}")
        if by := there[key].users(without=keys):
            raise EnvironmentInUse(f"environment {key} is in use: by {by}")
    _remove(cluster, [there[key] for key in keys])


def collect(cluster: Cluster, *, days: float, dry_run: bool = False) -> list[StoredEnvironment]:
    """Remove the environments that nobody has asked for in so many days and that nothing uses; those removed.

    Also what was left half made, and wheels that were sent so long ago: they are sent again should they be needed.
    Raises ValueError for a number of days that can't be meant.
    """
    days = bounded(days, "days", most=MOST_DAYS, unit="days")
    old: list[StoredEnvironment] = []
    for one in _from_above(kept(cluster)):
        if not one.users(without=[e.key for e in old]) and (one.state == "left" or one.unused >= days * 86400):
            old.append(one)
    if not dry_run:
        _remove(cluster, old)
        _run(cluster.place, "remove_wheels.sh", BLOBS, str(int(days)))
    return old


def _from_above(environments: Iterable[StoredEnvironment]) -> list[StoredEnvironment]:
    """What stands on another comes before it, so that nothing is ever left that stands on nothing."""
    return sorted(environments, key=lambda environment: bool(environment.above))


def _remove(cluster: Cluster, environments: Sequence[StoredEnvironment]) -> None:
    if environments:
        _run(
            cluster.place,
            "remove_environments.sh",
            ENVS,
            *(environment.key for environment in _from_above(environments)),
        )


class _Use(NamedTuple):
    """What submissions make of an environment."""

    by: tuple[str, ...] = ()
    """The keys of those that have not ended."""
    last: float = 0.0
    """When the newest of all was made, in seconds since the epoch."""


def _uses(place: Place, keys: Iterable[str]) -> dict[str, _Use]:
    """What submissions make of environments, also of those that theirs stand on."""
    wanted = set(keys)
    if not wanted:
        return {}
    records = place.store.several_records(place.store.keys())
    using = [(some, place.registry.add(*some)) for some in records]
    using = [(some, watched) for some, watched in using if _environments(some) & wanted]
    place.tracker.look([watched for _, watched in using])
    place.tracker.ask([watched for some, watched in using if place.has(some)])
    found: dict[str, _Use] = {}
    for some, watched in using:
        mine = (watched.key,) if _goes_on(watched) else ()
        for key in _environments(some):
            by, last = found.get(key, _Use())
            found[key] = _Use((*by, *mine), max(last, some.submission.created))
    return found


def _environments(records: Records) -> set[str]:
    """The keys of the environment that a submission has, and of the one that this stands on."""
    environment = records.submission.environment
    return {key for key in (environment.key, environment.below) if key}


def _goes_on(watched: SubmissionState) -> bool:
    """Whether an element waits, runs, or may go on in another job; not those that the scheduler has no more."""
    return watched.unfinished and (watched.may_go_on or any(e not in watched.missing for e in watched.open))


def _run(place: Place, name: str, folder: str, *words: str) -> str:
    """Run a script in a directory under the root. Raises UntrustedFile where it, or a link to it, is another user's."""
    directory = f"{place.store.root}/{folder}"
    done = place.transport.run(["sh", "-c", program(__name__, name), "sh", directory, *words], timeout=600)
    check_output(done.stdout)
    if done.status != 0:
        raise TransportError(f"{directory} can't be used: {done.words}")
    return done.stdout
