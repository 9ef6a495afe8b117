"""Plans: what they say, that they change nothing, and what submitting one keeps."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, Conda, Modules, Retry, Wheel, task, workflow
from slurm.environments.base import Environment
from slurm.errors import ConfigurationError, NotPicklable, SubmissionError, SubmissionRefused
from slurm.storage import runner_zip
from slurm.testing import Answer, InlineCluster
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport

WAIT = 60.0


@task(time="5", mem="1G", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@workflow
def flow(x: int) -> int:
    return x


class OnNode(Callback):
    def on_run_begin(self, event: object) -> None: ...


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runner_zip, "_cached", {""})  # so the zip would be written there
    return Cluster("local", root=tmp_path / "root")


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


def test_a_plan_is_one_command_and_writes_nothing(here: Cluster, tmp_path: Path, commands: list[Sequence[str]]) -> None:
    plan = square.on(here).plan(3)
    assert len(commands) == 1
    more = here.plan(square, [(1,), {"x": 2}])
    assert "#SBATCH --time=5" in here.script(square, count=7)
    assert (len(commands), everything(tmp_path)) == (1, [])
    assert (plan.count, plan.elements, more.count, plan.labels) == (1, 1, 2, {"sweep": "depths"})
    assert plan.options == {"time": "5", "mem": "1G"}
    assert plan.environment.python == sys.executable
    assert plan.dependencies == plan.notes == ()
    (command,) = plan.commands
    assert any(word.endswith(f"/jobs/{plan.key}/script.sh") for word in shlex.split(command))


def test_a_plan_shows_all_that_would_be_written(here: Cluster) -> None:
    planned = square.with_options(retry=2, callbacks=[OnNode()])
    plan = here.plan(planned, [(x,) for x in range(3)])
    names = {name.rpartition("/")[2].partition("-")[2] or name.rpartition("/")[2] for name in plan.files}
    assert names == {
        "calls.pkl",
        "calls.idx",
        "callbacks.pkl",
        "submission.json",
        "script.sh",
        "caretaker.sh",
        "runner.zip",
    }
    assert set(plan.scripts) == {"script.sh", "caretaker.sh"}
    assert plan.scripts["script.sh"] == plan.script
    assert plan.pickled == sum(size for name, size in plan.files.items() if name.endswith(".pkl"))
    text = str(plan)
    for shown in (plan.key, "3 calls", "sweep=depths", plan.script, "calls.pkl", "Current()", "--array=0-2"):
        assert shown in text
    assert repr(plan) == f"<Plan {plan.key}: 3 calls>"


def test_submitting_keeps_the_key_and_the_pickles(inline: InlineCluster) -> None:
    plan = inline.plan(square, [(2,), (3,)])
    jobs = plan.submit()
    assert jobs.key == plan.key
    assert plan.submit() is jobs
    assert jobs.results(WAIT) == [4, 9]
    for name, size in plan.files.items():
        if "/script.sh" in name or "/calls" in name:
            assert os.path.getsize(Path(inline.place.store.root, name)) == size
    assert Path(jobs.directory, "script.sh").read_text() == plan.script


def test_a_plan_has_the_values_of_its_time(inline: InlineCluster) -> None:
    given = [1]
    length = task(len)
    plan = length.plan(given)
    given.append(2)
    assert plan.submit().result(WAIT) == 1


def test_a_plan_of_one_call_is_a_job_and_of_none_an_empty_array(inline: InlineCluster) -> None:
    assert square.plan(3).submit().result(WAIT) == 9
    none = inline.plan(square, [])
    assert (none.count, none.script, none.files, none.commands) == (0, "", {}, ())
    assert (len(none.submit()), len(inline.jobs())) == (0, 1)
    assert "there are no calls, so nothing is submitted" in str(none)


def test_dependencies_are_shown_as_far_as_they_are_known(inline: InlineCluster) -> None:
    with inline.queue.held():
        first = square(2)
        number = inline.queue.ids[-1]
        plan = square.after("77").plan(first)
        assert plan.dependencies == (f"afterok:{number}", "afterok:77")
        assert plan.notes == ("asked for at the submission: jobs 77",)
        with pytest.raises(SubmissionError, match="cannot wait for job 77"):
            plan.submit()
    plan = square.plan(first)
    assert plan.submit().result(WAIT) == 16


def test_limits_are_looked_up_anew(inline: InlineCluster) -> None:
    plan = inline.plan(square, [(x,) for x in range(4)])
    assert len(plan.commands) == 1
    assert plan.submit().results(WAIT) == [0, 1, 4, 9]


def test_a_refused_plan_is_not_submitted_again(inline: InlineCluster) -> None:
    plan = square.plan(2)
    inline.queue.answer(Answer.REFUSED)
    with pytest.raises(SubmissionRefused):
        plan.submit()
    with pytest.raises(SubmissionError, match="make a new plan"):
        plan.submit()
    assert inline.queue.ids == []


def test_a_plan_raises_what_the_call_would(inline: InlineCluster) -> None:
    with pytest.raises(NotPicklable):
        square.plan(threading.Lock())  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        square.plan()  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError):
        square.with_options(retry=Retry(2, mem="x2"), mem=None).plan(1)
    with pytest.raises(TypeError):
        inline.plan(square, [(1, 2)])


@pytest.mark.parametrize("url", ["local", "slurm", "slurm+ssh://nobody@192.0.2.1", "local+ssh://nobody@192.0.2.1"])
def test_an_offline_plan_runs_no_command(url: str, commands: list[Sequence[str]]) -> None:
    far = Cluster(url)
    plan = far.plan(square.with_options(retry=1), [(1,), (2,)], offline=True)
    assert commands == []
    assert "<root>" in plan.script
    assert "<python>" in plan.script
    assert plan.notes == ("offline: what is on the cluster is not known",)
    assert "about" in str(plan)
    known = Cluster(url, root="/scratch/ann").plan(square, [(1,)], offline=True)
    assert "/scratch/ann/jobs/" in known.script


@pytest.mark.parametrize(
    ("more", "last"), [([], []), ([Conda("physics")], ["conda activate physics"]), ([Wheel()], [])]
)
def test_an_offline_plan_has_the_steps_before_the_python(
    more: list[Environment], last: list[str], commands: list[Sequence[str]]
) -> None:
    far = Cluster("slurm+ssh://nobody@192.0.2.1", setup=["ulimit -c 0"])
    plan = far.plan(square.with_options(environment=[Modules("gcc/13", "cuda 12"), *more]), [(1,)], offline=True)
    at = [
        plan.script.index(step) for step in ("ulimit -c 0", "module load gcc/13", "module load '\"'\"'cuda 12", *last)
    ]
    assert at == sorted(at)
    assert commands == []
    with pytest.raises(ConfigurationError, match="must be the last"):
        far.plan(square.with_options(environment=[Wheel(), Modules("gcc")]), [(1,)], offline=True)


def test_a_cluster_that_cannot_be_reached_gives_an_offline_plan(caplog: pytest.LogCaptureFixture) -> None:
    plan = square.on(Cluster("slurm+ssh://nobody@127.0.0.1:9")).plan(1)
    assert "<root>" in plan.script
    (note,) = plan.notes
    assert note.startswith("offline (127.0.0.1 cannot be reached")
    assert "\n" not in note
    assert "<root>" in Cluster("slurm+ssh://nobody@127.0.0.1:9").script(square)
    assert "the script has placeholders, because slurm+ssh://nobody@127.0.0.1:9 cannot be asked" in caplog.text


def test_a_workflow_is_planned(inline: InlineCluster) -> None:
    plan = flow.plan(3)
    assert "PYTHONHASHSEED" in plan.script
    assert plan.submit().result(WAIT) == 3
