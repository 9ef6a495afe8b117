"""Plans on every URL: they change nothing there, and what they show is what is submitted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from projects import project
from slurm import Cluster, Job, JobArray, Wheel, WorkflowContext, task, workflow
from slurm.errors import NoSuchJob
from slurm.protocol.states import JobState
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport

KILLED = """
import os, signal, sys
from pathlib import Path
from slurm import Cluster, task
from slurm.places.place import Place
from slurm.schedulers.client import SchedulerClient
from slurm.storage.uploads import BlobStore

_, url, death, computed = sys.argv

@task
def note(path, computed):
    Path(computed, f"{path.read_text()}-{os.getpid()}").touch()

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

submit = SchedulerClient.submit
with Cluster(url) as cluster:
    data = cluster.put(Path(computed).parent / "data")
    plan = cluster.plan(note, [(data, computed), (data, computed)])
    print(plan.key, flush=True)
    if death == "files":
        BlobStore.send = die
    elif death == "directory":
        Place.create = die
    elif death == "queue":
        SchedulerClient.submit = die
    elif death == "id":
        SchedulerClient.submit = lambda *args, **keywords: (submit(*args, **keywords), die())
    print(plan.submit().results(90))
"""


@task(time="5", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@workflow
def planning(x: int, ctx: WorkflowContext | None = None) -> list[str]:
    assert ctx is not None
    plan = square.plan(x)
    children = Path(ctx.directory, "children")
    before = os.listdir(children) if children.exists() else []
    job = plan.submit()
    assert job.result() == x * x
    return [plan.key, job.key, *before]


def test_a_plan_is_submitted_as_it_was_shown(cluster: Cluster) -> None:
    root = Path(cluster.place.url.root or "")
    plan = cluster.plan(square, [(2,), (3,)])
    first = square.plan(2)
    assert not root.exists()
    jobs = plan.submit()
    assert (jobs.key, jobs.results(60), jobs.labels) == (plan.key, [4, 9], {"sweep": "depths"})
    assert first.submit().result(60) == 4
    for name in ("script.sh", "calls.pkl", "calls.idx"):
        assert Path(jobs.directory, name).stat().st_size == plan.files[f"jobs/{plan.key}/{name}"]
    assert Path(jobs.directory, "script.sh").read_text() == plan.script
    chained = square.plan(jobs[0])
    assert chained.submit().result(60) == 16


def test_a_plan_in_a_workflow_is_no_child_of_it(cluster: Cluster) -> None:
    planned, submitted, *before = planning(3).result(90)
    assert (planned, before) == (submitted, [])
    child = cluster.job(planned)
    assert isinstance(child, Job)
    assert child.result(60) == 9


@pytest.mark.parametrize("death", ["files", "directory", "queue", "id"])
def test_a_plan_whose_client_is_killed_is_submitted_whole_or_not_at_all(
    cluster: Cluster, tmp_path: Path, death: str
) -> None:
    computed = tmp_path / "computed"
    computed.mkdir()
    (tmp_path / "data").write_text("once")

    def run(death: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", KILLED, cluster.url, death, str(computed)]
        return subprocess.run(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False)

    killed = run(death)
    assert killed.returncode == -signal.SIGKILL
    key = killed.stdout.strip()
    if death in ("files", "directory"):
        with pytest.raises(NoSuchJob):
            cluster.job(key)
    else:
        array = cluster.job(key)
        assert isinstance(array, JobArray)
        if death == "queue":
            assert array.states() == {JobState.UNKNOWN: 2}
        else:
            assert array.results(60) == [None, None]
    before = 2 if death == "id" else 0
    assert len(list(computed.iterdir())) == before
    again = run("")
    assert (again.returncode, again.stdout.splitlines()[1:]) == (0, ["[None, None]"])
    assert len(list(computed.iterdir())) == before + 2


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands that are run."""
    found: list[Sequence[str]] = []
    run = LocalTransport.run

    def recorded(self: LocalTransport, argv: Sequence[str], **more: Any) -> Completed:
        found.append(argv)
        return run(self, argv, **more)

    monkeypatch.setattr(LocalTransport, "run", recorded)
    return found


def everything(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def test_an_environment_is_planned_without_making_it(
    local: Cluster, tmp_path: Path, commands: list[Sequence[str]]
) -> None:
    wheel = Wheel(project(tmp_path / "own", "own", ""), wheelhouse=tmp_path)
    before = everything(tmp_path)
    mine = square.with_options(environment=wheel).on(local)
    plan = mine.plan(3)
    script = local.script(mine)
    assert (everything(tmp_path), len(commands)) == (before, 2)
    assert plan.environment.key.startswith("to be made: wheel-")
    assert "<python>" in plan.script
    assert "<python>" in script
    assert "about" in str(plan)
    assert plan.notes == ("the environment is not there yet; sizes and the script are final once it is made",)
    job = plan.submit()
    assert (job.result(60), job.key) == (9, plan.key)
    again = mine.plan(3)
    assert (again.notes, "<python>" in again.script) == ((), False)
    assert f"to be made: {again.environment.key}" == plan.environment.key


def test_the_functions_of_a_project_go_by_name_once_it_is_installed(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project(tmp_path / "own", "ownplanned", "def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(source / "src"))
    import ownplanned  # type: ignore[import-not-found]

    mine = task(ownplanned.double)
    plan = mine.with_options(environment=Wheel(source, wheelhouse=tmp_path)).on(local).plan(4)
    job = plan.submit()
    assert job.result(60) == 8
    assert b"ownplanned" in Path(job.directory, "calls.pkl").read_bytes()
    assert os.path.getsize(Path(job.directory, "calls.pkl")) < plan.pickled
