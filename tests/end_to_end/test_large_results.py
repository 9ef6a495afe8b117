"""Large values through pools: who holds them in memory, and that other calls do not wait for them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task
from slurm.pools.blocks import Blocks
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.clusters.pool import Pool

SOON = 300.0
MEGABYTE = 1 << 20
MOST_HELD = 40 * MEGABYTE
"""What an element's parent and a relay may need in addition: some pieces of the values, at a time."""


@task
def square(x: int) -> int:
    return x * x


class SavedLater:
    """A result that is saved only when a file exists."""

    def __init__(self, data: bytes, directory: Path) -> None:
        self.data, self.directory = data, directory

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        (self.directory / "saving").touch()
        while not (self.directory / "save").exists():
            time.sleep(0.02)
        return bytes, (self.data,)


@task
def repeat(data: bytes, times: int, directory: Path) -> SavedLater:
    return SavedLater(data * times, directory)


def memory(pid: int) -> int:
    """The largest number of bytes that a process has had in memory so far."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def processes_with(text: bytes) -> Iterator[tuple[int, int]]:
    """The Pythons with a text among their arguments, and their parents."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text in (path / "cmdline").read_bytes() and "python" in (path / "comm").read_text():
                yield int(path.name), int((path / "stat").read_text().rpartition(")")[2].split()[1])


def holders(pool: Pool, root: Path) -> tuple[int, list[int]]:
    """The parent of the workers of a pool with one element; and it with the relays of this root."""
    parents = dict(processes_with(pool.key.encode()))
    (element,) = {parent for parent in parents.values() if parent in parents}
    return element, [element, *relays(root)]


def relays(root: Path) -> list[int]:
    """The relays of a root."""
    found = [pid for pid, _ in processes_with(b"\0slurm.pools.pool_files\0")]
    return [pid for pid in found if os.fsencode(root) in Path(f"/proc/{pid}/cmdline").read_bytes()]


@task
def length(x: int, data: bytes) -> int:
    return x + len(data)


def check_large_values(cluster: Cluster, root: Path, directory: Path, *, argument: int, result: int) -> None:
    """Make a call with an argument and a result of so many bytes, and others meanwhile."""
    data, numbers = os.urandom(argument), count()

    def make_another() -> None:
        number = next(numbers)
        assert square.on(pool)(number).result(SOON) == number * number

    with cluster.pool(workers=2, cpus_per_task=1, time="10:00") as pool, ThreadPoolExecutor(1) as thread:
        make_another()
        element, holding = holders(pool, root)
        before = {pid: memory(pid) for pid in holding}
        large = repeat.on(pool)(data, result // argument, directory)
        until((directory / "saving").exists)
        make_another()
        assert not large.done()
        (directory / "save").touch()
        while not large.done():
            make_another()
        arriving = thread.submit(large.result, SOON)
        while not arriving.done():
            make_another()
        assert [pid for pid in holding if memory(pid) - before[pid] > MOST_HELD] == []
        workers = [pid for pid, parent in processes_with(pool.key.encode()) if parent == element]
        assert result < max(memory(pid) for pid in workers) < 3 * result + argument + 10 * MOST_HELD
        shared = os.urandom(argument)
        assert length.on(pool).map(range(3), data=shared).results(SOON) == [argument, argument + 1, argument + 2]
        assert [pid for pid in holding if memory(pid) - before[pid] > MOST_HELD] == []
        arrived = hashlib.sha256(arriving.result())  # type: ignore[arg-type] # it is saved as its bytes
    sent = hashlib.sha256()
    for _ in range(result // argument):
        sent.update(data)
    assert arrived.digest() == sent.digest()


@pytest.mark.parametrize("mapped", [False, True])
def test_an_interrupt_while_arguments_are_sent_leaves_no_call_and_the_pool_goes_on(
    ssh_env: object, root: Path, monkeypatch: pytest.MonkeyPatch, *, mapped: bool
) -> None:
    monkeypatch.setattr(Blocks, "most_bytes", 10 * MEGABYTE)  # nothing of the call may count as unanswered
    data = os.urandom(20 * MEGABYTE)
    with Cluster("local+ssh://box", root=root) as cluster, cluster.pool(workers=1, time="10:00") as pool:
        assert task(len).on(pool)(b"x").result(SOON) == 1
        (relay,) = relays(root)
        os.kill(relay, signal.SIGSTOP)  # so the data is not taken
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at any moment of the call
            timer.start()
            task(len).on(pool).map([data, b"y"] if mapped else [data])
        os.kill(relay, signal.SIGKILL)
        assert task(len).on(pool).map([b"x" * 100_000, data]).results(SOON) == [100_000, len(data)]
        assert task(len).on(pool)(b"x").result(SOON) == 1
    until(pool.jobs.done)


@pytest.mark.slurm
def test_large_values_delay_no_other_call(slurm_env: object, root: Path, tmp_path: Path) -> None:
    with Cluster("slurm", root=root) as cluster:
        check_large_values(cluster, root, tmp_path, argument=50 * MEGABYTE, result=100 * MEGABYTE)


def test_large_values_over_ssh_are_not_held_by_the_relay(ssh_env: object, root: Path, tmp_path: Path) -> None:
    with Cluster("local+ssh://box", root=root) as cluster:
        check_large_values(cluster, root, tmp_path, argument=100 * MEGABYTE, result=100 * MEGABYTE)
