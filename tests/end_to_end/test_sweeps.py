"""A sweep whose clients die at any point, or work at the same time, computes each point once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, task
from slurm.protocol.states import JobState
from slurm.sweeps import looking
from slurm.sweeps.engine import SweepEngine
from slurm.sweeps.snapshot import State
from slurm.sweeps.sources import sources_of
from slurm.sweeps.sweep import Sweep
from timing import set_timings
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.sshd import SSHTestbed

SCRIPT = textwrap.dedent(
    """
    import os, signal, sys, tempfile
    from slurm import Cluster, task
    from slurm.places.place import Place
    from slurm.schedulers.client import SchedulerClient
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.sweep import Sweep

    _, url, begun, sweeps, death = sys.argv

    @task
    def work(x, y):
        os.close(tempfile.mkstemp(prefix=f"{x}-{y}.", dir=begun)[0])
        return {"sum": x + y}

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGSTOP if death == "slow" else signal.SIGKILL)

    def before(owner, name):
        method = getattr(owner, name)
        setattr(owner, name, lambda *args, **keywords: (die(), method(*args, **keywords))[1])

    def after(owner, name):
        method = getattr(owner, name)
        setattr(owner, name, lambda *args, **keywords: (method(*args, **keywords), die())[0])

    if death == "sweep":
        before(SweepDirectory, "claim")  # the sweep is written
    elif death in ("record", "slow"):
        before(Place, "create")  # the record of the shard is written
    elif death == "directory":
        before(SchedulerClient, "submit")  # the directory of the submission is written
    elif death == "queue":
        after(SchedulerClient, "submit")
    elif death == "end":
        before(SweepDirectory, "collect")
    elif death == "collection":
        after(SweepDirectory, "collect")
    Place.timings = Place.timings._replace(abandoned_claim=2.0)
    sweep = Sweep(work, [{"x": x, "y": y} for x in range(3) for y in range(2)], name="depths", directory=sweeps)
    sweep.run(on=[(Cluster(url), 3)])
    print(sorted(point.result()["sum"] for point in sweep.as_completed()))
    """
)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The directory where each call of a point leaves a file when it begins."""
    directory = tmp_path / "begun"
    directory.mkdir()
    return directory


@pytest.fixture
def client(tmp_path: Path, begun: Path) -> Callable[..., subprocess.Popen[str]]:
    """Give a function that starts a client that runs the sweep, and dies at a point."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def start(cluster: Cluster, death: str = "") -> subprocess.Popen[str]:
        words = [sys.executable, str(script), cluster.url, str(begun), str(tmp_path / "sweeps"), death]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    return start


def times_begun(begun: Path) -> Counter[str]:
    return Counter(name.partition(".")[0] for name in os.listdir(begun))


ONCE = Counter({f"{x}-{y}": 1 for x in range(3) for y in range(2)})


@pytest.mark.parametrize("death", ["sweep", "record", "directory", "queue", "end", "collection"])
def test_sweep_of_a_killed_client_is_completed_by_another(
    cluster: Cluster,
    death: str,
    client: Callable[..., subprocess.Popen[str]],
    begun: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_timings(monkeypatch, abandoned_claim=2.0)
    killed = client(cluster, death)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    if death == "sweep":  # nothing was run, so the code is not there: the script is run again
        assert client(cluster).communicate(timeout=120)[0] == "[0, 1, 1, 2, 2, 3]\n"
    sweep = Sweep.open("depths", directory=tmp_path / "sweeps")
    sweep.complete(on=[(cluster, 3)])
    assert sorted(point.result()["sum"] for point in sweep.as_completed()) == [0, 1, 1, 2, 2, 3]
    assert times_begun(begun) == ONCE
    snapshot = Sweep.open("depths", directory=tmp_path / "sweeps").snapshot()
    assert [point.state for point in snapshot.points] == [State.DONE] * 6


def test_client_that_was_only_slow_starts_nothing(
    local: Cluster,
    client: Callable[..., subprocess.Popen[str]],
    begun: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_timings(monkeypatch, abandoned_claim=1.0)
    slow = client(local, "slow")
    until(lambda: list((tmp_path / "sweeps").glob("depths/shards/1.json")))
    sweep = Sweep.open("depths", directory=tmp_path / "sweeps").complete(on=[(local, 3)])
    assert sweep.drive().counts == {State.DONE: 6}
    os.kill(slow.pid, signal.SIGCONT)
    assert slow.communicate(timeout=60)[0] == "[0, 1, 1, 2, 2, 3]\n"  # it finds what the other has computed
    assert times_begun(begun) == ONCE


def test_two_clients_at_once_compute_each_point_once(
    cluster: Cluster, client: Callable[..., subprocess.Popen[str]], begun: Path
) -> None:
    both = [client(cluster), client(cluster)]
    assert [each.communicate(timeout=120)[0] for each in both] == ["[0, 1, 1, 2, 2, 3]\n"] * 2
    assert times_begun(begun) == ONCE


@task
def place_of(x: int) -> str:
    if x == 7:
        raise ValueError("seven")
    return os.environ.get("SLURM_CLUSTER_NAME", "local")


@task
def large(x: int) -> bytes:
    return bytes([x]) * (80 << 20 if x == 1 else 3 << 20)


def test_large_results_come_home_and_outlive_the_place_without_much_memory(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(large, [{"x": x} for x in range(4)], name="large", directory=tmp_path).run(on=cluster, chunk=2)
    tracemalloc.start()
    try:
        assert sweep.drive().counts == {State.DONE: 4}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    assert len(sweep.cleanup(execute=True)) == 1
    points = Sweep.open("large", directory=tmp_path).points
    assert [(len(found), found[:1]) for found in (point.result() for point in points)] == [
        (3 << 20, b"\0"),
        (80 << 20, b"\1"),
        (3 << 20, b"\2"),
        (3 << 20, b"\3"),
    ]


@pytest.mark.slurm
def test_several_sources_compute_one_sweep(slurm_env: object, root: Path, tmp_path: Path) -> None:
    del slurm_env
    clusters = Cluster("local", root=root / "l"), Cluster("slurm", root=root / "s")
    sweep = Sweep(place_of, [{"x": x} for x in range(12)], name="both", directory=tmp_path)
    sweep.run(on=[(clusters[0], 1), (clusters[1], 2)])
    found = {point.number: point for point in sweep.as_completed()}
    assert sorted(found) == list(range(12))
    assert {n for n, point in found.items() if point.state is State.FAILED} == {7}
    assert {n for n, point in found.items() if point.known.source == clusters[0].url} == {0, 1, 2, 3}
    assert isinstance(found[7].exception(), ValueError)


@task
def note(x: int, directory: str, seconds: float) -> int:
    """Leave a file when it begins and one when it ends."""
    os.close(tempfile.mkstemp(prefix=f"{x}.", dir=directory)[0])
    time.sleep(seconds)
    (Path(directory).parent / f"ended-{x}").touch()
    return x


def points(count: int, begun: Path, seconds: float) -> list[dict[str, object]]:
    return [{"x": x, "directory": str(begun), "seconds": seconds} for x in range(count)]


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_what_waits_at_a_slow_source_moves_to_one_that_has_nothing_to_do(
    url: str, request: pytest.FixtureRequest, root: Path, begun: Path, tmp_path: Path
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    slow, fast = Cluster(url, root=root / "slow"), Cluster("local", root=root / "fast")
    sweep = Sweep(note, points(12, begun, 1.0), name="moved", directory=tmp_path / "sweeps")
    sweep.run(on=[(slow, 1)])
    sweep.running.sources = sources_of([(slow, 1), (fast, 4)])
    driver = sweep.driver(rebalance_every=0.5)
    assert sorted(point.params["x"] for point in map(sweep.point, driver.points())) == list(range(12))
    snapshot = sweep.snapshot()
    at = Counter(point.source for point in snapshot.points)
    assert at[slow.url] >= 1
    assert at[fast.url] >= 4
    assert times_begun(begun) == Counter({str(x): 1 for x in range(12)})


def test_slots_bound_what_runs_at_once_in_all_shards(cluster: Cluster, begun: Path, tmp_path: Path) -> None:
    sweep = Sweep(note, points(3, begun, 0.5), name="slots", directory=tmp_path / "sweeps").run(on=[(cluster, 1)])
    sweep.extend(points(6, begun, 0.5)).complete(on=[(cluster, 1)])
    most = 0
    for _ in sweep.as_completed():
        most = max(most, len(list(begun.iterdir())) - len(list(tmp_path.glob("ended-*"))))
    assert most <= 1
    assert times_begun(begun) == Counter({str(x): 1 for x in range(6)})


def test_cancelled_points_are_missing_and_can_be_completed(cluster: Cluster, begun: Path, tmp_path: Path) -> None:
    sweep = Sweep(note, points(4, begun, 60.0), name="cancelled", directory=tmp_path / "sweeps").run(on=[(cluster, 1)])
    until(lambda: os.listdir(begun))
    assert Sweep.open("cancelled", directory=tmp_path / "sweeps").cancel() == 4
    assert sweep.snapshot().counts == {State.MISSING: 4}


@pytest.mark.slurm
def test_points_that_were_cancelled_by_hand_are_completed(
    slurm_env: object, root: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del slurm_env
    set_timings(monkeypatch, unexplained_grace=2.0)
    cluster = Cluster("slurm", root=root)
    sweep = Sweep(note, points(4, begun, 2.0), name="by-hand", directory=tmp_path / "sweeps").run(on=[(cluster, 1)])
    until(lambda: os.listdir(begun))
    job_id = sweep.points[0].job.job_id
    assert job_id is not None
    subprocess.run(["scancel", job_id.partition("_")[0]], check=True)
    opened = Sweep.open("by-hand", directory=tmp_path / "sweeps")
    until(lambda: {p.job_state for p in opened.snapshot().points} <= {JobState.CANCELLED, JobState.UNKNOWN})
    assert opened.complete(on=[(cluster, 4)]).drive().counts == {State.DONE: 4}


def test_points_of_a_silent_source_are_taken_over_and_fenced_when_it_answers(
    new_ssh: Callable[..., SSHTestbed], root: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "PATIENCE", 3.0)  # seconds
    box = new_ssh()
    far, near = Cluster("local+ssh://box", root=root / "far"), Cluster("local", root=root / "near")
    Sweep(note, points(3, begun, 10.0), name="silent", directory=tmp_path / "sweeps").run(on=[(far, 1)])
    until(lambda: os.listdir(begun))
    far.close()
    box.sshd.kill()
    sweep = Sweep.open("silent", directory=tmp_path / "sweeps")
    snapshot = sweep.snapshot()
    assert snapshot.counts == {State.IN_DOUBT: 3}
    assert list(snapshot.troubles) == [next(iter(snapshot.shards.values())).url]
    assert sweep.complete(on=[(near, 3)]).snapshot().counts == {State.IN_DOUBT: 3}
    sweep.complete(on=[(near, 3)], take_over=True)
    assert sweep.snapshot().shards[2].instead == (1,)
    box.sshd.start()
    assert sweep.drive().counts == {State.DONE: 3}
    after = Sweep.open("silent", directory=tmp_path / "sweeps").snapshot()
    assert {point.shard for point in after.points} <= {1, 2}
    assert times_begun(begun)["2"] == 1  # the third had not begun there: the fence kept it from that


def test_the_engine_runs_completes_and_cancels_sweeps(cluster: Cluster, begun: Path, tmp_path: Path) -> None:
    async def main() -> None:
        engine = SweepEngine(tmp_path / "sweeps")
        name = await engine.run_sweep(place_of, [{"x": x} for x in range(6, 9)], on=[(cluster, 2)], name="engine")
        assert (await engine.monitor_sweep(name)).counts == {State.DONE: 2, State.FAILED: 1}
        assert (await engine.complete_sweep(name, on=[(cluster, 1)], failed=True)).shards.keys() == {1, 2}
        assert (await engine.monitor_sweep(name, stop_after=9)).counts == {State.DONE: 2, State.FAILED: 1}
        slow = await engine.run_sweep(note, points(3, begun, 300.0), on=[(cluster, 1)])
        await asyncio.to_thread(until, lambda: os.listdir(begun))
        monitor = asyncio.ensure_future(engine.monitor_sweep(slow))  # other coroutines go on meanwhile
        assert await engine.cancel_sweep(slow) == 3
        assert (await monitor).counts == {State.MISSING: 3}

    asyncio.run(main())


def test_ten_thousand_points_are_one_submission_and_few_files(local: Cluster, tmp_path: Path) -> None:
    space = [{"x": x} for x in range(10_000)]
    Sweep(place_of, [{"x": -1}], name="warm", directory=tmp_path).run(on=local).drive()
    before = dict(local.command_counts())
    sweep = Sweep(place_of, space, name="many", directory=tmp_path).run(on=local, chunk=500)
    assert local.command_counts()["submit"] == before["submit"] + 1
    assert len([path for path in (tmp_path / "many").rglob("*") if path.is_file()]) <= 4
    job = sweep.points[0].job
    assert len(list(Path(job.directory).glob("*.*"))) <= 8
    assert sweep.drive().counts == {State.DONE: 9999, State.FAILED: 1}
    assert len([path for path in (tmp_path / "many").rglob("*") if path.is_file()]) <= 20
    shutil.rmtree(tmp_path / "many" / "collected")
    opened = Sweep.open("many", directory=tmp_path)
    calls = dict(opened.places.of(opened.directory.shards()[1].cluster).queue.client.calls)
    assert opened.snapshot().counts == {State.DONE: 9999, State.FAILED: 1}
    assert opened.places.of(opened.directory.shards()[1].cluster).queue.client.calls == calls  # it was not asked
