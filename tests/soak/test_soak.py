"""Thousands of calls that end in a dozen ways, while the client and the nodes' daemons are killed again and again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm import Cluster, wait
from slurm.errors import JobCancelled, ResultNotSaved, TaskExited, TaskFailed
from soak import client as soak
from soak.administrator import wait_for
from testbed import SlurmTestbed

pytestmark = pytest.mark.slurm

# slurmctld's clock runs twenty times as fast, so that a requeued job waits six seconds and not two minutes. What must
# not run out meanwhile is longer, and so are the pauses of its scheduler.
SETTINGS = {
    "MinJobAge": "100000",
    "SchedulerParameters": "sched_interval=20,batch_sched_delay=0,sched_min_interval=0,bf_interval=20",
}
KILLS = 8

ERRORS: dict[str, Callable[[BaseException], bool]] = {
    "raises": lambda error: isinstance(error, ValueError) and str(error) == "not this one",
    "raises_unpicklable": lambda error: isinstance(error, TaskFailed) and "Locked: locked" in str(error),
    "returns_unpicklable": lambda error: isinstance(error, ResultNotSaved),
    "exits": lambda error: isinstance(error, TaskExited) and error.exit_code == 3,
    "vanishes": lambda error: isinstance(error, TaskExited) and error.exit_code == 4,
    "kills_itself": lambda error: isinstance(error, TaskExited) and error.signal == 9,
    "kills_its_shell": lambda error: isinstance(error, TaskExited) and "without an outcome" in str(error),
    "segfaults": lambda error: isinstance(error, TaskExited) and error.signal == 11,
    "cancels_itself": lambda error: isinstance(error, JobCancelled),
}
"""Whether a call of a kind that doesn't return ended as it must."""


@pytest.mark.timeout(600)
def test_whatever_is_killed_each_call_ends_as_it_must_and_each_result_is_there_once(
    new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)  # noqa: S311 - for variety
    print(f"seed {seed}")
    testbed = new_testbed(nodes=4, cpus=8, speedup=20, settings=SETTINGS)
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    begin = time.monotonic()
    client = [sys.executable, soak.__file__, str(root), str(tmp_path / "trace"), str(seed)]
    _start_and_kill(testbed, client, random.Random(seed))  # noqa: S311 - to be the same again
    with subprocess.Popen(client) as last:
        assert wait_for(last, testbed, 500) == 0
    print(f"all ended after {time.monotonic() - begin:.0f} s")

    with Cluster("slurm", root=root) as cluster:
        assert _what_is_wrong(cluster, seed, Counter((tmp_path / "trace").read_text().split()), testbed) == []


def _start_and_kill(testbed: SlurmTestbed, client: list[str], chance: random.Random) -> None:
    """Start the client and kill it, and a node's slurmd, at random moments, some times over."""
    for _ in range(KILLS):
        with subprocess.Popen(client) as running:
            time.sleep(chance.uniform(0.3, 6))
            daemon = testbed.slurmd[chance.choice(list(testbed.slurmd))]
            daemon.kill()
            time.sleep(chance.uniform(0, 1.5))
            running.kill()
            daemon.start()


def _what_is_wrong(cluster: Cluster, seed: int, runs: Counter[str], testbed: SlurmTestbed) -> list[str]:
    """What isn't as it must be, a line for each call; `runs` is how often each came to its end."""
    arrays = [soak.submitted(cluster, name) for name, _, _ in soak.maps(seed)]
    wait([array for array in arrays if array is not None], 100)
    restarted = _restarted(testbed)
    wrong = []
    elements = 0
    for array, (name, kinds, chunk) in zip(arrays, soak.maps(seed), strict=True):
        assert array is not None, f"{name} was never queued"
        elements += len({job.job_id for job in array})
        assert len(list(Path(array.directory, "results").glob("[0-9]*.pkl"))) <= len(kinds) // chunk
        for job, kind, result in zip(array, kinds, array.results(return_exceptions=True), strict=True):
            label = f"{name}[{job.index}]"
            good = ERRORS[kind](result) if isinstance(result, BaseException) and kind in ERRORS else False
            good = good or (kind not in ERRORS and isinstance(result, tuple) and result[0] == label)
            most = 2 if job.job_id in restarted else 1
            if not good or not (kind not in ERRORS or kind == "returns_unpicklable") <= runs[label] <= most:
                wrong.append(f"{label}, {job.job_id}, {kind}, came to its end {runs[label]} times: {result!r}")
    assert elements == soak.SINGLES + soak.CHUNKED
    return wrong


def _restarted(testbed: SlurmTestbed) -> set[str]:
    """The ids of elements that Slurm, or they themselves, have sent back to the queue."""
    told = testbed.run("squeue", "-h", "-r", "-t", "all", "-O", "JobArrayID:40,RestartCnt:20").stdout
    return {id_ for id_, count in map(str.split, told.splitlines()) if count != "0"}
