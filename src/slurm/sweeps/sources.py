"""Sources: the clusters that compute a sweep, each with a number of slots; and the places of the shards."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slurm.clusters.cluster import Cluster
from slurm.clusters.named import cluster_named
from slurm.errors import ConfigurationError, SlurmfileError
from slurm.places.place import place_for
from slurm.sweeps.acting import Actions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from slurm.places.place import Place
    from slurm.sweeps.records import Shard

    T = TypeVar("T")
    On = str | Cluster | tuple[str | Cluster, int]


class Source(NamedTuple):
    """A cluster, and how many elements of a sweep may run there at once; None for as many as the cluster allows."""

    name: str
    cluster: Cluster
    slots: int | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The arguments with which `place_for` makes the place in any process. May ask the cluster for its root."""
        place = self.cluster.place
        url = str(place.url._replace(root=place.store.root))
        more = place.spec._asdict()
        return {"url": url, **{name: value for name, value in more.items() if name != "url" and value}}


class Places:
    """The places of shards: a process has one connection to each place."""

    def __init__(self) -> None:
        self._known: dict[str, Place] = {}
        self._machines: set[str] = set()
        self._actions = Actions()

    def add(self, source: Source) -> None:
        """Use the place of a source for the shards of the source."""
        self._known[source.spec["url"]] = source.cluster.place

    def expect(self, sources: Iterable[Source]) -> None:
        """Record that actions follow at `sources`, so that `act` lets none of them delay the others."""
        self._machines |= {_machine(source.cluster.place) for source in sources}

    def act(self, place: Place, kind: str, do: Callable[[], T]) -> T:
        """Run an action at a place, and wait only as long as the place answers; see `Actions.run`.

        If this process knows no other place, it waits until the action ends.
        """
        self._machines.add(_machine(place))
        return self._actions.run(place, kind, do) if len(self._machines) > 1 else do()

    def of(self, spec: Mapping[str, Any]) -> Place:
        """Return the place of a shard; `spec` is the `cluster` of its record."""
        url = str(spec["url"])
        if url not in self._known:
            more: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in spec.items() if n != "url"}
            self._known[url] = place_for(url, **more)
        self._machines.add(_machine(self._known[url]))
        return self._known[url]

    def source(self, shard: Shard) -> Source:
        """Return the source of a shard: the cluster of its name if it is still the same, or else the recorded one."""
        with contextlib.suppress(ConfigurationError):
            found = Source(shard.source, cluster_of(shard.source), shard.slots)
            if found.spec["url"] == shard.url:
                return found
        more: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in shard.cluster.items()}
        return Source(shard.source, Cluster(**more), shard.slots)


def _machine(place: Place) -> str:
    return str(place.url._replace(root=""))


def sources_of(on: On | Iterable[On]) -> list[Source]:
    """Return the sources that a user names: "cpu:40", "slurm+ssh://login:8", "local:2", names in the Slurmfile,
    or clusters.

    A number after the last colon is the number of slots. Raises ConfigurationError with the problems of all sources.
    """
    several = [on] if isinstance(on, (str, Cluster)) or _is_pair(on) else list(on)
    if not several:
        raise ConfigurationError('on=[]: name the clusters to compute at, such as on=["cpu:40", "local:2"]')
    found, problems = [], []
    for each in several:
        try:
            found.append(_source(each))
        except ConfigurationError as error:
            problems.append(str(error))
    names = [source.name for source in found]
    problems += [
        f"{name} is named twice: give it once, with all its slots" for name in {*names} if names.count(name) > 1
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _is_pair(on: Any) -> bool:
    return isinstance(on, tuple) and len(on) == 2 and isinstance(on[1], int)


def _source(on: Any) -> Source:
    what, slots = on if _is_pair(on) else (on, None)
    name = what
    if isinstance(what, str):
        name, slots = _split(what) if slots is None else (what, slots)
        cluster = cluster_of(name)
    elif isinstance(what, Cluster):
        cluster, name = what, what.url
    else:
        raise ConfigurationError(f"on={what!r:.80}: expected a name such as 'cpu:40', a URL, or a Cluster")
    if slots is not None and slots < 1:
        raise ConfigurationError(f"{name}:{slots} has no room: give it at least one slot, or leave it out")
    return Source(name, cluster, slots)


def _split(text: str) -> tuple[str, int | None]:
    """Split "cpu:40" into the name and the number of slots."""
    name, colon, number = text.rpartition(":")
    if colon and number.isascii() and number.isdecimal() and name:
        return name, int(number)
    return text, None


def cluster_of(name: str) -> Cluster:
    """Return the cluster with a name in the Slurmfile, or with a URL. Raises ConfigurationError with the name."""
    try:
        return cluster_named(name, callbacks=False)
    except SlurmfileError:
        raise
    except ConfigurationError as error:
        raise ConfigurationError(f"source {name!r}: {error}") from None
