"""What goes wrong while a sweep is driven: each point is computed once, at a place that works."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faults.conftest import Start
from faults.test_nodes import Skewed
from slurm import Cluster, task
from slurm.schedulers.base import Target
from slurm.schedulers.local_queue import client
from slurm.sweeps import driver
from slurm.sweeps.directory import SweepDirectory
from slurm.sweeps.health import Health
from slurm.sweeps.holds import held_elements
from slurm.sweeps.moving import waiting_calls
from slurm.sweeps.rebalancing import Move, take
from slurm.sweeps.snapshot import Point, State
from slurm.sweeps.sources import sources_of
from slurm.sweeps.sweep import Sweep
from supervisors import supervisor_of
from testbed import SSHTestbed
from timing import set_timings
from waiting import until

if TYPE_CHECKING:
    from concurrent.futures import Future


@task
def begin(x: int, trace: str, gate: str, seconds: float) -> int:
    """Leave a file when it begins; at the far source, wait for a gate; at the near one, as long as there is `keep`."""
    where = "slurm" if "SLURM_CLUSTER_NAME" in os.environ else "far" if x < 3 else "near"
    os.close(tempfile.mkstemp(prefix=f"{where}.{x}.", dir=trace)[0])
    while Path(gate).with_name("keep").exists() if where == "near" else not Path(gate).exists():
        select.select([], [], [], 0.05)  # time.sleep fails with another clock than the machine's
    select.select([], [], [], seconds)
    return x


def points(count: int, trace: Path, seconds: float = 0.0) -> list[dict[str, Any]]:
    gate = str(trace.parent / "gate")
    return [{"x": x, "trace": str(trace), "gate": gate, "seconds": seconds} for x in range(count)]


def begun(trace: Path, where: str = "") -> Counter[int]:
    return Counter(int(name.split(".")[1]) for name in os.listdir(trace) if name.startswith(where))


def whys(sweep: Sweep) -> set[str]:
    """Why the shards of a sweep were made, as another process reads it."""
    return {shard.why for shard in SweepDirectory(sweep.directory.path).shards().values()}


@contextmanager
def driven(sweep: Sweep, health: Health, every: float = 30.0) -> Iterator[Future[list[Point]]]:
    """Drive a sweep in a thread."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(lambda: list(sweep.driver(health=health, rebalance_every=every).points()))


@pytest.mark.slurm
def test_source_whose_nodes_fail_is_off_probed_and_used_again(
    start: Start, root: Path, trace: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    testbed = start(nodes=1)
    far, near = Cluster("slurm", root=root / "far"), Cluster("local", root=root / "near")
    sweep = Sweep(begin.with_options(no_requeue=True), points(40, trace), name="nodes", directory=tmp_path)
    (tmp_path / "keep").touch()
    sweep.run(on=[(far, 3), (near, 2)])
    health = Health(probe_after=1.0)
    with driven(sweep, health, every=0.5) as ended:
        until(lambda: len(begun(trace, "slurm")) == 3)
        testbed.run("scontrol", "update", "partitionname=debug", "state=down")  # so that nothing starts meanwhile
        testbed.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
        until(lambda: "moved: the source is off" in whys(sweep) or ended.done())
        (tmp_path / "gate").touch()  # not before: a process that still lives would end well
        testbed.run("scontrol", "update", "nodename=n1", "state=resume", check=False)  # it may be back by itself
        testbed.run("scontrol", "update", "partitionname=debug", "state=up")
        until(lambda: f"{far.url} is used again" in caplog.text or ended.done())
        (tmp_path / "keep").unlink()
        found = ended.result(200)
    assert Counter(point.state for point in found) == {State.DONE: 37, State.FAILED: 3}
    assert {point.number for point in found if point.state is State.FAILED} <= set(begun(trace, "slurm"))
    assert begun(trace) == dict.fromkeys(range(40), 1)
    assert f"{far.url} is off" in caplog.text
    assert f"{far.url} is used again" in caplog.text
    assert "probe" in whys(sweep)
    again = sweep.complete(on=[(near, 2)], failed=True).drive()
    assert again.counts == {State.DONE: 40}


@pytest.mark.slurm
def test_source_whose_controller_dies_is_off_and_used_again_when_it_is_back(
    start: Start, root: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = start(settings={"MessageTimeout": "2"})
    far, near = Cluster("slurm", root=root / "far"), Cluster("local", root=root / "near")
    _silent_and_back(far, near, trace, tmp_path, monkeypatch, testbed.slurmctld.kill, testbed.slurmctld.start)


def test_source_whose_connection_breaks_is_off_and_used_again_when_it_is_back(
    new_ssh: Callable[..., SSHTestbed], root: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh()
    far, near = Cluster("local+ssh://box", root=root / "far"), Cluster("local", root=root / "near")

    def break_it() -> None:
        box.sshd.pause()  # so that nothing connects anew
        box.kill_connections()
        box.sshd.kill()

    _silent_and_back(far, near, trace, tmp_path, monkeypatch, break_it, box.sshd.start)


def _silent_and_back(  # noqa: PLR0917 - two breaks of one test
    far: Cluster,
    near: Cluster,
    trace: Path,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[], object],
    repair: Callable[[], object],
) -> None:
    """Break a source while it runs points, and repair it; the other source is not kept waiting."""
    monkeypatch.setattr(driver, "_SILENCE", 0.5)  # seconds
    sweep = Sweep(begin, points(6, trace), name="silent", directory=directory)
    sweep.run(on=[(far, 1), (near, 1)], strategy="slots")
    health = Health()
    with driven(sweep, health) as ended:
        until(lambda: begun(trace, "far") or begun(trace, "slurm"))
        break_it()
        until(lambda: health.is_off(far.url) or ended.done())
        until(lambda: begun(trace, "near").keys() == {3, 4, 5})
        looked = Sweep.open("silent", directory=directory).status()
        assert looked.counts[State.IN_DOUBT] == 3
        assert looked.troubles
        repair()
        (directory / "gate").touch()
        found = ended.result(200)
    assert [point.state for point in found] == [State.DONE] * 6
    assert begun(trace) == dict.fromkeys(range(6), 1)
    assert not health.is_off(far.url)


@pytest.mark.slurm
def test_sources_whose_limits_and_clocks_differ_compute_one_sweep(
    start: Start, root: Path, trace: Path, tmp_path: Path
) -> None:
    testbed = start(nodes=1, settings={"MaxArraySize": "6"}, skew={"n1": 3600})
    far = Cluster("slurm", root=root / "far", environment=Skewed(testbed))
    near = Cluster("local", root=root / "near")
    sweep = Sweep(begin, points(30, trace), name="limits", directory=tmp_path).run(on=[(far, 2), (near, 1)])
    until(lambda: begun(trace, "slurm"))
    sweep.running.sources = sources_of([(far, 2), (near, 1)])
    waiting = waiting_calls(snapshot := sweep.snapshot(), sweep.reader)
    to = sweep.running.sources[1]
    moved = take(
        Move(far.url, to, 12, "test"), snapshot, sweep.reader, sweep.places, waiting, directory=sweep.directory
    )
    assert len(moved) == 12  # of several arrays
    sweep.running.resubmit(moved, why="test", sources=[to], look=False)
    (tmp_path / "gate").touch()
    assert sweep.drive().counts == {State.DONE: 30}, sweep.errors()
    assert begun(trace) == dict.fromkeys(range(30), 1)
    ended = [point.ended for point in sweep.snapshot().points if point.source == far.url]
    assert all(each and each.ended and each.ended > time.time() + 1800 for each in ended)
    assert Sweep.open("limits", directory=tmp_path).snapshot().counts == {State.DONE: 30}


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from slurm import Cluster
    from slurm.storage import fencing
    from slurm.sweeps import moving
    from slurm.sweeps.rebalancing import Move, take
    from slurm.sweeps.sources import sources_of
    from slurm.sweeps.sweep import Sweep

    _, url, sweeps = sys.argv
    moving.fence_waiting = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    sweep = Sweep.open("held", directory=sweeps)
    snapshot = sweep.snapshot()
    source, = sources_of([(Cluster(url), 1)])
    take(Move(source.name, source, 3, "test"), snapshot, sweep.reader, sweep.places,
         moving.waiting_calls(snapshot, sweep.reader), directory=sweep.directory)
    """
)


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_elements_that_a_killed_driver_held_are_released_by_the_next_and_those_of_their_user_stay(
    url: str,
    request: pytest.FixtureRequest,
    root: Path,
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    set_timings(monkeypatch, abandoned_claim=1.0)
    cluster = Cluster(url, root=root)
    sweep = Sweep(begin, points(5, trace), name="held", directory=tmp_path).run(on=[(cluster, 1)])
    until(lambda: begun(trace))
    job_id = sweep.points[4].job.job_id
    assert job_id is not None
    of_user = Target(job_id.partition("_")[0], [4], sweep.directory.shards()[1].key)
    cluster.place.queue.client.hold([of_user])  # scontrol uhold
    killed = subprocess.run([sys.executable, "-c", KILLED, cluster.url, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    looked = Sweep.open("held", directory=tmp_path).snapshot()
    assert [point.reason for point in looked.points][1:] == ["JobHeldUser"] * 4
    (tmp_path / "gate").touch()
    with driven(sweep, Health()) as ended:
        until(lambda: begun(trace).keys() == {0, 1, 2, 3} and not sweep.directory.holds())
        assert Sweep.open("held", directory=tmp_path).points[4].known.reason == "JobHeldUser"
        cluster.place.queue.client.hold([of_user], release=True)
        assert {point.state for point in ended.result(200)} == {State.DONE}
    assert begun(trace) == dict.fromkeys(range(5), 1)


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm_env")
def test_points_that_their_user_holds_stay_held(root: Path, trace: Path, tmp_path: Path) -> None:
    sweep = Sweep(begin, points(2, trace), name="user", directory=tmp_path)
    sweep.run(on=[(Cluster("slurm", root=root), 1)], hold=True)
    snapshot = sweep.snapshot()
    assert held_elements(snapshot) == {(1, 0), (1, 1)}
    assert not waiting_calls(snapshot, sweep.reader)  # so they do not move either
    sweep.cancel()
    assert not begun(trace)


def test_points_of_a_killed_local_supervisor_are_computed_once(
    root: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Path(tempfile.mkdtemp(prefix="slurm-local-"))
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(machine))
    try:
        sweep = Sweep(begin, points(8, trace, 0.1), name="killed", directory=tmp_path)
        sweep.run(on=sources_of([(Cluster("local", root=root), 2)])[0].cluster)
        with driven(sweep, Health()) as ended:
            until(lambda: begun(trace))
            supervisor = supervisor_of(machine)
            assert supervisor is not None
            os.kill(supervisor, signal.SIGKILL)
            (tmp_path / "gate").touch()
            found = ended.result(200)
        assert Counter(point.state for point in found) == {State.DONE: 8}
        assert begun(trace) == dict.fromkeys(range(8), 1)
    finally:
        client.stop()
        shutil.rmtree(machine, ignore_errors=True)
