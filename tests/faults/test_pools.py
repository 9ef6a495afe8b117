"""Pools whose nodes fail."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Retry, current_job, current_worker, task
from slurm.errors import NodeFailed
from waiting import alive, until

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Start

pytestmark = pytest.mark.slurm


@task
def say_where_and_wait(x: int, directory: Path) -> int:
    """Leave the number of the element and of the process; end when there is a file. Return the attempt."""
    (directory / f"{x}.new").write_text(f"{current_worker().rank // 2} {os.getpid()}")
    (directory / f"{x}.new").rename(directory / str(x))
    while not (directory / "end").exists():
        time.sleep(0.02)
    return current_job().attempt


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
