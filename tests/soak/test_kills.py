"""Clients, schedulers' daemons and tasks are killed at random: each future ends, each call has its effect once.

SLURMTASKS_TEST_KILLS is the number of kills on each of the two schedulers.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import Cluster, wait
from slurm.errors import TaskExited
from soak import kills_client
from soak.administrator import wait_for
from supervisors import supervisor_of
from testbed import SlurmTestbed
from waiting import until

KILLS = int(os.environ.get("SLURMTASKS_TEST_KILLS", "12"))


class Chaos:
    """A client that is started again whenever it ends, and what else there is to kill."""

    def __init__(self, url: str, directory: Path, chance: random.Random, daemon: Callable[[], bool]) -> None:
        self.argv = [sys.executable, kills_client.__file__, url, str(directory)]
        self.running, self.chance, self.daemon = directory / "running", chance, daemon
        self.client = subprocess.Popen(self.argv)
        self.killed: set[str] = set()
        self.kills: Counter[str] = Counter()

    def strike(self) -> None:
        """Kill one of them, at a random moment."""
        time.sleep(self.chance.uniform(0.05, 0.8))
        victim = self.chance.choice(["client", "daemon", "task"])
        if victim == "client":
            self.client.kill()
            self.client.wait()
            self.client = subprocess.Popen(self.argv)
        self.kills[victim] += victim == "client" or (self.daemon() if victim == "daemon" else self._kill_task())
        assert self.client.poll() is None, "the client ended"

    def _kill_task(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            name = self.chance.choice(os.listdir(self.running))
            pid, _, label = name.partition(" ")
            os.kill(int(pid), signal.SIGKILL)
            self.killed.add(label)
            (self.running / name).unlink()
            return True
        return False


def _check(url: str, directory: Path, killed: set[str]) -> tuple[list[str], int]:
    """What isn't as it must be, a line for each call; and the number of calls."""
    runs = Counter((directory / "trace").read_text().split())
    wrong, calls = [], 0
    with Cluster(url, root=directory / "root") as cluster:
        arrays = kills_client.submitted(cluster)
        wait(arrays.values(), 100)
        for name, array in arrays.items():
            for index, result in enumerate(array.results(return_exceptions=True)):
                label, calls = f"{name}[{index}]", calls + 1
                ended = result == label and runs[label] == 1
                died = label in killed and isinstance(result, TaskExited) and result.signal == 9 and runs[label] <= 1
                if not ended and not died:
                    wrong.append(f"{label} came to its end {runs[label]} times, killed: {label in killed}: {result!r}")
    return wrong, calls


def _run(
    url: str, directory: Path, daemon: Callable[[], bool], finish: Callable[[subprocess.Popen[bytes]], int]
) -> None:
    seed = random.randrange(1 << 32)  # noqa: S311 - for variety
    print(f"{url}: seed {seed}")
    (directory / "running").mkdir()
    chaos = Chaos(url, directory, random.Random(seed), daemon)  # noqa: S311 - to be the same again
    try:
        until((directory / "trace").exists)  # a client that is killed before its first call checks nothing
        while chaos.kills.total() < KILLS:
            chaos.strike()
        (directory / "enough").touch()
        assert finish(chaos.client) == 0
    finally:
        chaos.client.kill()
    wrong, calls = _check(url, directory, chaos.killed)
    print(f"{url}: {dict(chaos.kills)} kills, {calls} calls, {len(wrong)} wrong")
    assert (wrong, calls >= kills_client.SIZE) == ([], True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A local scheduler of this test's own."""
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "local"))
    yield tmp_path / "local"
    with contextlib.suppress(OSError):
        _kill_supervisor(tmp_path / "local")


def _kill_supervisor(directory: Path) -> bool:
    pid = supervisor_of(directory)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    return pid is not None


@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_on_local(machine: Path, tmp_path: Path) -> None:
    _run("local", tmp_path, lambda: _kill_supervisor(machine), lambda client: client.wait(300))


@pytest.mark.slurm
@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_on_slurm(
    new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    testbed = new_testbed(nodes=4, cpus=8)
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)

    def kill_slurmd() -> bool:
        daemon = random.choice(list(testbed.slurmd.values()))  # noqa: S311
        daemon.kill()
        daemon.start()
        return True

    _run("slurm", tmp_path, kill_slurmd, lambda client: wait_for(client, testbed, 300))
