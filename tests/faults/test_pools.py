"""Pools whose nodes fail."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Job, Retry, current_job, current_worker, task
from slurm.errors import NodeFailed
from waiting import alive, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faults.conftest import Start
    from testbed import SSHTestbed


@task
def say_where_and_wait(x: int, directory: Path) -> int:
    """Leave the number of the element and of the process; end when there is a file. Return the attempt."""
    (directory / f"{x}.new").write_text(f"{current_worker().rank // 2} {os.getpid()}")
    (directory / f"{x}.new").rename(directory / str(x))
    while not (directory / "end").exists():
        time.sleep(0.02)
    return current_job().attempt


@pytest.mark.slurm
def test_calls_on_a_node_that_fails_end_or_are_made_on_another(start: Start, root: Path, tmp_path: Path) -> None:
    testbed = start()
    with Cluster("slurm", root=root) as cluster, cluster.pool(nodes=2, workers=2, time="10:00", exclusive=True) as pool:
        plain = say_where_and_wait.on(pool).map(range(2), directory=tmp_path)
        retried = say_where_and_wait.with_options(retry=Retry(times=1)).on(pool).map(range(2, 4), directory=tmp_path)
        until(lambda: all((tmp_path / str(x)).exists() for x in range(4)))
        node = pool.jobs[0].status().node
        testbed.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        until(pool.jobs[0].done)
        where = [(tmp_path / str(x)).read_text().split() for x in range(4)]
        on_node = [element == "0" for element, _ in where]
        assert sum(on_node) == 2
        until(lambda: not any(element == "0" and alive(int(pid)) for element, pid in where))
        (tmp_path / "end").touch()
        for job, failed in zip(plain, on_node, strict=False):
            if failed:
                with pytest.raises(NodeFailed):
                    job.result(120)
            else:
                assert job.result(120) == 1
        assert retried.results(120) == [2 if failed else 1 for failed in on_node[2:]]
    until(pool.jobs.done)


@task
def note(x: int, directory: Path) -> int:
    """Leave a file for each time that the call is made."""
    (directory / f"{x}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return -x


def relays(root: Path) -> Iterator[int]:
    """The processes that read and write the files of pools under a root for this one."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if (
                b"python" in words[0]
                and os.fsencode(root) in b"".join(words)
                and words[-2] == b"slurm.pools.pool_files"
            ):
                yield int(path.parent.name)


@pytest.mark.parametrize("url", ["local+ssh://box", "local+paramiko://box"])
def test_calls_over_ssh_are_made_once_although_relays_and_connections_are_killed(
    url: str, root: Path, tmp_path: Path, new_ssh: Callable[..., SSHTestbed]
) -> None:
    # Without them, its local scheduler would be that of tests beside this one, and be killed with their sshd.
    ours = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("SLURMTASKS_")}
    box, calls = new_ssh(environment=ours), iter(range(1_000_000))
    with Cluster(url, root=root) as cluster, cluster.pool(workers=2, time="10:00") as pool:

        def make_four(jobs: list[Job[int]]) -> None:
            jobs += [note.on(pool)(next(calls), directory=tmp_path) for _ in range(4)]

        jobs = [note.on(pool)(next(calls), directory=tmp_path)]
        assert jobs[0].result(120) == 0
        for at in range(6):
            stopped = list(relays(root))
            assert stopped
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)  # what is sent to it is not done yet
            sending = threading.Thread(target=make_four, args=(jobs,))
            sending.start()
            if at == 3:
                box.kill_connections()
            for pid in stopped:
                os.kill(pid, signal.SIGCONT if at % 2 else signal.SIGKILL)
            make_four(jobs)
            sending.join(120)
            assert not sending.is_alive()
            jobs[-1].result(120)
            until(lambda: bool(list(relays(root))))
        assert sorted(job.result(120) for job in jobs) == sorted(-x for x in range(len(jobs)))
        made = sorted(int(path.name.partition("-")[0]) for path in tmp_path.iterdir() if path.name[0].isdecimal())
        assert made == list(range(len(jobs)))
    until(pool.jobs.done)
