"""A sweep whose clients die at any point, or work at the same time, computes each point once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, task
from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep
from timing import set_timings
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
