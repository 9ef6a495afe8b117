"""A place: its parts are made at first use, and a slow one delays only those that need it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from slurm.clusters import environment_cache
from slurm.environments.current import Current
from slurm.options import NONE
from slurm.places.place import OnNode, Place, Spec, place_for
from slurm.protocol import Origin, ResolvedEnvironment
from slurm.schedulers.base import Site
from slurm.schedulers.slurm import SlurmScheduler
from slurm.submission.job_queue import JobQueue
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READY = ResolvedEnvironment(key="current", python="python3", tag="3.11", asked="Current()")


class Hanging(LocalTransport):
    """A connection on which no command returns until it is released, as one whose other end has gone."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        self.begun.set()
        assert self.released.wait(60)
        return super().run(argv, stdin=stdin, timeout=timeout)


def test_a_connection_that_hangs_delays_only_what_needs_it() -> None:
    place, line = Place(Spec("local")), Hanging()
    place.__dict__["transport"] = line
    place.prepared[environment_cache._key((Current(),))] = READY
    with ThreadPoolExecutor(2) as threads:
        store = threads.submit(lambda: place.store)
        assert line.begun.wait(60)
        parts = threads.submit(lambda: (place.queue, place.transport))
        prepared = threads.submit(environment_cache.prepare, place, (), NONE)
        try:
            assert parts.result(20)[1] is line
            assert prepared.result(20) is READY
            assert not store.done()
        finally:
            line.released.set()
        assert store.result(60).root.endswith("slurm-jobs")


def test_each_part_is_made_once_however_many_ask_for_it(tmp_path: Path) -> None:
    place = Place(Spec(f"local://{tmp_path}"))
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: (place.tracker, place.requests, place.registry), range(64)))
    assert len(set(map(id, (part for parts in found for part in parts)))) == 3


def test_on_a_node_a_place_is_another_one_than_before(tmp_path: Path) -> None:
    root = tmp_path
    before = place_for("local", root=root)
    assert place_for("local", root=root) is before
    there = place_for("local", root=root, on_node=OnNode(environment=READY))
    assert there is not before
    assert place_for("local", root=root) is there
    assert environment_cache.prepare(there, (), NONE) is READY


@pytest.mark.parametrize(("status", "name"), [(0, "frost"), (1, None)])
def test_the_identity_of_a_scheduler_is_what_it_has_reported(status: int, name: str | None) -> None:
    queue = JobQueue(
        "slurm",
        scheduler=lambda: SlurmScheduler(Site("python3", "runner.zip")),
        connect=lambda: pytest.fail("it connects"),
        limits=lambda: Completed((), status, "ClusterName             = frost\n", ""),
    )
    assert queue.origin == (Origin(cluster=name) if name else None)
