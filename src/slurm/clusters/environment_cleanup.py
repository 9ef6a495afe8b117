"""Environment cleanup: list the environments under a root with their users, and remove unused ones."""

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
    from slurm.submission.submission_state import SubmissionState

MOST_DAYS = 100_000
_MAKING_SECONDS = 600
"""A build lock without a heartbeat for this long counts as abandoned. Builders send heartbeats much more often."""


class StoredEnvironment(NamedTuple):
    """An environment under the root."""

    key: str
    state: str
    """`ready`; `making` while a process builds it; `left` if a process did not finish the build."""
    bytes: int
    unused: float
    """Seconds since the last submission that used it, or since its files last changed."""
    used_by: tuple[str, ...]
    """The keys of the unfinished submissions that use it."""
    dependents: tuple[str, ...]
    """The keys of the environments that have it as their base."""

    def users(self, *, without: Iterable[str] = ()) -> str:
        """What needs this environment; empty if nothing does. `without` are environments that are removed with it."""
        making = ("a process that makes it now",) if self.state == "making" else ()
        return ", ".join((*self.used_by, *(key for key in self.dependents if key not in without), *making))


def list_environments(cluster: Cluster) -> list[StoredEnvironment]:
    """List the environments under the root, sorted by key, with their users. Queries the scheduler."""
    place = cluster.place
    lines = [line.split() for line in run_in(place, "list_environments.sh", ENVS).splitlines()]
    uses = _uses(place, {key for key, *_ in lines})
    found = []
    for key, word, since, kilobytes, *bases in lines:
        state = word if word != "lock" else "making" if int(since) < _MAKING_SECONDS else "left"
        users, last = uses.get(key, ((), 0.0))
        unused = max(0.0, min(float(since), time.time() - last))  # a process prepares it once, then submits often
        found.append((StoredEnvironment(key, state, int(kilobytes) * 1024, unused, users, ()), bases))
    used = [(environment.key, bases) for environment, bases in found if environment.state != "left"]
    return [e._replace(dependents=tuple(key for key, bases in used if e.key in bases)) for e, _ in found]


def remove(cluster: Cluster, keys: Sequence[str]) -> None:
    """Remove all of the environments, or none. Raises EnvironmentInUse, and ConfigurationError for an unknown key."""
    stored = {environment.key: environment for environment in list_environments(cluster)}
    for key in keys:
        if key not in stored:
            raise ConfigurationError(f"there is no environment {key} under {cluster.place.store.root}")
        if users := stored[key].users(without=keys):
            raise EnvironmentInUse(f"environment {key} is in use: by {users}")
    _remove(cluster, [stored[key] for key in keys])


def collect(cluster: Cluster, *, days: float, dry_run: bool = False) -> list[StoredEnvironment]:
    """Remove the environments that nothing needs and that no submission has used for `days`. Returns them.

    Also removes unfinished builds, and wheels that were sent at least that long ago: they are sent again when needed.
    Files of commands and of `put` that no submission names are marked, and removed by a call at least an hour later.
    Raises ValueError for an invalid number of days.
    """
    days = bounded(days, "days", most=MOST_DAYS, unit="days")
    old: list[StoredEnvironment] = []
    for one in _dependents_first(list_environments(cluster)):
        if not one.users(without=[e.key for e in old]) and (one.state == "left" or one.unused >= days * 86400):
            old.append(one)
    if not dry_run:
        _remove(cluster, old)
        run_in(cluster.place, "remove_wheels.sh", BLOBS, str(int(days)))
        run_in(cluster.place, "remove_blobs.sh", BLOBS, str(int(days)))
    return old


def _dependents_first(environments: Iterable[StoredEnvironment]) -> list[StoredEnvironment]:
    """Put dependents before their bases, so that an interrupted removal leaves no dependent without its base."""
    return sorted(environments, key=lambda environment: bool(environment.dependents))


def _remove(cluster: Cluster, environments: Sequence[StoredEnvironment]) -> None:
    if environments:
        keys = [environment.key for environment in _dependents_first(environments)]
        run_in(cluster.place, "remove_environments.sh", ENVS, *keys)


def _uses(place: Place, wanted: set[str]) -> dict[str, tuple[tuple[str, ...], float]]:
    """For each environment, the keys of its unfinished submissions, and the time of its newest submission.

    A submission uses its environment and the base of this environment. The time is in seconds since the epoch.
    """
    if not wanted:
        return {}
    using = []
    for records in place.store.several_records(place.store.keys()):
        environment = records.submission.environment
        if keys := wanted & {environment.key, environment.below}:
            using.append((records, place.registry.add(*records), keys))
    place.tracker.list_outcomes([watched for _, watched, _ in using])
    place.tracker.query([watched for records, watched, _ in using if place.has(records)])
    found: dict[str, tuple[tuple[str, ...], float]] = {}
    for records, watched, keys in using:
        mine = (watched.key,) if is_unfinished(watched) else ()
        for key in keys:
            users, last = found.get(key, ((), 0.0))
            found[key] = ((*users, *mine), max(last, records.submission.created))
    return found


def is_unfinished(watched: SubmissionState) -> bool:
    """Whether a submission runs or may run, according to what the tracker has just read."""
    return watched.may_grow or (
        watched.unfinished and (watched.may_run_again or any(e not in watched.missing for e in watched.open))
    )


def run_in(place: Place, name: str, folder: str, *words: str) -> str:
    """Run a script in a directory under the root. Raises UntrustedFile if another user owns it or a link to it."""
    directory = f"{place.store.root}/{folder}"
    done = place.transport.run(["sh", "-c", program(__name__, name), "sh", directory, *words], timeout=600)
    check_output(done.stdout)
    if done.status != 0:
        raise TransportError(f"cannot use {directory}: {done.words}")
    return done.stdout
