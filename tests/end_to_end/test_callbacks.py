"""Callbacks: hooks on the client and on the node, and their order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, Retry, current_job, task, workflow
from slurm.callbacks import (
    CompletedEvent,
    CompleteEvent,
    JSONLinesCallback,
    PackagingBeginEvent,
    PackagingEndEvent,
    ProgressEvent,
    RunBeginEvent,
    RunEndEvent,
    StateEvent,
    SubmitEvent,
    WorkflowBeginEvent,
    WorkflowEndEvent,
)
from slurm.environments.base import BuildTarget
from slurm.environments.current import Current
from slurm.errors import EnvironmentNotReady, SlurmfileError
from slurm.notifications.dispatcher import hooks
from slurm.protocol import ResolvedEnvironment
from testbed.slurm import SlurmTestbed
from waiting import until


class Recorder(Callback):
    """Writes the hooks that a node calls to a file."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path, self.name = path, name

    def write(self, *fields: object) -> None:
        with self.path.open("a") as file:
            print(*([self.name] if self.name else []), *fields, file=file)

    def read(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def on_run_begin(self, event: RunBeginEvent) -> None:
        self.write("run_begin", event.index, event.attempt)

    def on_workflow_begin(self, event: WorkflowBeginEvent) -> None:
        self.write("workflow_begin")

    def on_workflow_end(self, event: WorkflowEndEvent) -> None:
        self.write("workflow_end", event.error or "no error", bool(os.listdir(f"{event.directory}/results")))

    def on_run_end(self, event: RunEndEvent) -> None:
        saved = bool(os.listdir(f"{event.directory}/outcomes"))
        self.write("run_end", event.index, event.attempt, event.outcome.status, event.outcome.phase, saved)

    def on_completed(self, event: CompletedEvent) -> None:
        self.write("completed", event.index, event.attempt, event.outcome.status, event.outcome.phase)


class Imported:
    """An argument that records when a node unpickles it."""

    def __init__(self, recorder: Recorder, error: Exception | None = None) -> None:
        self.recorder, self.error = recorder, error

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.recorder.write("import")
        if self.error:
            raise self.error


class Saved:
    """A result that records when it is pickled."""

    def __init__(self, recorder: Recorder, error: Exception | None = None) -> None:
        self.recorder, self.error = recorder, error

    def __reduce__(self) -> tuple[Any, ...]:
        self.recorder.write("save")
        if self.error:
            raise self.error
        return str, ("saved",)


class Watcher(Callback):
    """Records the events on the client."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def on_packaging_begin(self, event: PackagingBeginEvent) -> None:
        self.events.append(("packaging_begin", event.environment))

    def on_packaging_end(self, event: PackagingEndEvent) -> None:
        self.events.append(("packaging_end", event.environment, event.error))

    def on_submit(self, event: SubmitEvent) -> None:
        self.events.append(("submit", event.task, event.count, event.elements))

    def on_state(self, event: StateEvent) -> None:
        self.events.append(("state", dict(event.states)))

    def on_complete(self, event: CompleteEvent) -> None:
        self.events.append(("complete", event.index, event.calls, event.state))

    def on_progress(self, event: ProgressEvent) -> None:
        self.events.append(("progress", event.index, event.done, event.total, dict(event.metrics)))


@task
def work(part: Imported, what: str = "") -> Any:
    """Succeeds, or fails as `what` says."""
    part.recorder.write("function")
    if what == "raises":
        raise ValueError("odd")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Saved(part.recorder, TypeError("no pickle of this") if what == "unpicklable" else None)


BEGIN = ("run_begin 0 1", "import", "function")
RETRY = {"retry": Retry(times=1, on=ValueError)}
SEQUENCES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a success": ("", {}, (*BEGIN, "save", "run_end 0 1 succeeded save True", "completed 0 1 succeeded save")),
    "a failure": ("raises", {}, (*BEGIN, "run_end 0 1 failed run True", "completed 0 1 failed run")),
    "no import": ("unloadable", {}, (*BEGIN[:2], "run_end 0 1 failed load True", "completed 0 1 failed load")),
    "no pickle": (
        "unpicklable",
        {},
        (*BEGIN, "save", "run_end 0 1 failed save True", "completed 0 1 failed save"),
    ),
    "a death": ("dies", {}, (*BEGIN, "completed 0 1 failed process")),
    "a retry": (
        "raises",
        RETRY,
        (
            *(*BEGIN, "run_end 0 1 failed run False"),
            *("run_begin 0 2", "import", "function", "run_end 0 2 failed run False", "completed 0 2 failed run"),
        ),
    ),
}


def test_node_calls_its_hooks_once_and_in_order(cluster: Cluster, tmp_path: Path) -> None:
    started = {}
    for name, (what, options, _) in SEQUENCES.items():
        recorder = Recorder(tmp_path / name)
        part = Imported(recorder, OSError("not readable") if what == "unloadable" else None)
        started[name] = work.with_options(callbacks=[recorder], **options)(part, what)
    for name, job in started.items():
        job.exception(60)
        recorder, expected = Recorder(tmp_path / name), list(SEQUENCES[name][2])
        until(lambda: len(recorder.read()) >= len(expected))  # noqa: B023 - called within this iteration
        assert recorder.read() == expected, name


@task
def wait_for(gate: Path) -> None:
    until(gate.exists)


@task
def child(recorder: Recorder) -> None:
    recorder.write("child")


@workflow
def parent(part: Imported, error: Exception | None = None) -> Any:
    part.recorder.write("function")
    child(part.recorder).result()
    if error:
        raise error
    return "saved"


def test_workflow_has_its_own_hooks_and_its_tasks_those_of_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    own, every = Recorder(tmp_path / "own"), Recorder(tmp_path / "every")
    cluster.settings = cluster.settings.replace(callbacks=(every,))
    hooked = parent.with_options(callbacks=[own])
    assert hooked(Imported(own)).result(90) == "saved"
    until(lambda: len(own.read()) >= 8)
    begin = ["run_begin 0 1", "import", "workflow_begin", "function", "child"]
    ends = ["run_end 0 1 succeeded save True", "completed 0 1 succeeded save"]
    assert own.read() == [*begin, "workflow_end no error False", *ends]
    until(lambda: len(every.read()) >= 8)  # the child's last hooks run in parallel with those of its parent
    both = ["run_begin 0 1", *ends] * 2
    assert sorted(every.read()) == sorted([*both, "workflow_begin", "workflow_end no error False"])


def test_failed_workflow_reports_its_error(local: Cluster, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "hooks")
    job = parent.with_options(callbacks=[recorder])(Imported(recorder), KeyError("odd"))
    assert isinstance(job.exception(60), KeyError)
    until(lambda: len(recorder.read()) >= 8)
    ends = ["run_end 0 1 failed run True", "completed 0 1 failed run"]
    assert recorder.read()[5:] == ["workflow_end KeyError: 'odd' False", *ends]


def test_callbacks_of_cluster_task_and_call_are_combined_without_duplicates(root: Path, tmp_path: Path) -> None:
    def named(name: str) -> Recorder:
        return Recorder(tmp_path / "hooks", name)

    everywhere = named("everywhere")
    of_task = task(callbacks=[named("task"), everywhere])(wait_for.unwrapped)
    with Cluster(root=root, callbacks=[named("cluster"), everywhere]):
        job = of_task.with_options(callbacks=[named("call")])(tmp_path)
        job.result(60)
        until(lambda: len(everywhere.read()) >= 12)
        again = job.retry()
        again.result(60)
        until(lambda: len(everywhere.read()) >= 24)
    order = ["cluster", "everywhere", "task", "call"]
    assert [line.split()[0] for line in everywhere.read()] == order * 6


def test_later_process_gets_events_of_finished_elements(root: Path, tmp_path: Path) -> None:
    with Cluster(root=root):
        array = work.map([Imported(Recorder(tmp_path / "hooks"))] * 2, ["", "raises"])
        array.exceptions(60)
    program = f"""
import json
from slurm import Callback, Cluster

class Printer(Callback):
    def on_submit(self, event):
        print("submit")
    def on_state(self, event):
        print("state", dict(event.states))
    def on_complete(self, event):
        print("complete", event.index, event.state)

with Cluster(root={str(root)!r}, callbacks=[Printer()]) as cluster:
    array = cluster.job({array.key!r})
    cluster.job({array.key!r})
    array.exceptions(60)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "state {'COMPLETED': 1, 'FAILED': 1}",
        "complete 0 COMPLETED",
        "complete 1 FAILED",
    ]


class Built(Current):
    """An environment that reports a build, which may fail."""

    def __init__(self, name: str, error: str | None = None) -> None:
        super().__init__()
        self.name, self.error = name, error

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        target.listener.begin(self.name)
        error = EnvironmentNotReady(self.error) if self.error else None
        target.listener.end(self.name, error)
        if error:
            raise error
        return super().prepare(target)


def test_child_of_a_fork_reports_no_events(local: Cluster, tmp_path: Path) -> None:
    recorded = tmp_path / "jobs.jsonl"
    job = wait_for.with_options(callbacks=[JSONLinesCallback(recorded)])(tmp_path / "gate")
    child = os.fork()
    if child == 0:
        (tmp_path / "gate").touch()
        os._exit(0 if job.exception(60) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    job.result(60)
    hooks.flush(60)
    assert recorded.read_text().count('"event": "complete"') == 1


def test_build_is_reported_before_the_submission(root: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    of_task = wait_for.with_options(callbacks=[watcher], environment=Built("good"))
    with Cluster(root=root):
        for _ in range(2):
            of_task(tmp_path).result(60)
        with pytest.raises(EnvironmentNotReady):
            of_task.with_options(environment=Built("bad", "no compiler"))(tmp_path)
    events = [event for event in watcher.events if event[0] != "state"]
    submitted = [("submit", "wait_for", 1, 1), ("complete", 0, 1, "COMPLETED")]
    bad = [("packaging_begin", "bad"), ("packaging_end", "bad", "EnvironmentNotReady: no compiler")]
    assert events == [("packaging_begin", "good"), ("packaging_end", "good", None), *submitted * 2, *bad]


def test_callbacks_in_a_slurmfile_have_arguments(root: Path, tmp_path: Path) -> None:
    path, lines = tmp_path / "Slurmfile", tmp_path / "jobs.jsonl"
    hook = f"slurm.callbacks.JSONLinesCallback: {{path: {lines}}}"
    path.write_text(f"clusters:\n  a:\n    url: local\n    root: {root}\n    callbacks:\n      - {hook}\n")
    with Cluster.from_slurmfile("a", path=path):
        wait_for(tmp_path).result(60)
    assert '"event": "complete"' in lines.read_text()
    path.write_text(path.read_text().replace("path:", "paht:"))
    with pytest.raises(SlurmfileError, match=r"line 6: .*callbacks.*JSONLinesCallback: TypeError: .*'paht'"):
        Cluster.from_slurmfile("a", path=path)


def test_element_of_several_calls_calls_its_hooks_once(local: Cluster, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "hooks")
    several = work.with_options(callbacks=[recorder])
    several.map([Imported(recorder)] * 2, chunk_size=2).results(60)
    ends = ["run_end 0 1 succeeded save True", "completed 0 1 succeeded save"]
    until(lambda: len(recorder.read()) >= 9)
    assert recorder.read() == ["run_begin 0 1", *["import", "function", "save"] * 2, *ends]
    several.map([Imported(recorder)] * 4, workers=2).results(60)
    until(lambda: len(recorder.read()) >= 9 + 18)
    hooks = [line for line in recorder.read()[9:] if line[-1].isdigit() or (line[-1] == "e" and line[0] in "rc")]
    assert sorted(line.split()[0] for line in hooks) == ["completed"] * 2 + ["run_begin"] * 2 + ["run_end"] * 2


@pytest.mark.slurm
def test_requeued_job_calls_its_final_hooks_once(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    recorder, watcher = Recorder(tmp_path / "hooks"), Watcher()
    with Cluster("slurm", root=root, callbacks=[recorder, watcher]):
        job = wait_for(tmp_path / "gate")
        until(recorder.read)
        slurm_env.run("scontrol", "requeue", str(job.job_id))
        until(lambda: slurm_env.run("squeue", "-h", "-o", "%T", "-j", str(job.job_id)).stdout.strip() == "PENDING")
        time.sleep(1)  # otherwise Slurm may start the job during its own cleanup
        (tmp_path / "gate").touch()
        slurm_env.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
        job.result(60)
        until(lambda: len(recorder.read()) >= 4)
    again = subprocess.run(["bash", f"{job.directory}/script.sh"], env=_as_a_job(), check=False)
    assert again.returncode == 0  # it finds its outcome and calls no hooks
    assert recorder.read() == [
        "run_begin 0 1",
        "run_begin 0 2",
        "run_end 0 2 succeeded save True",
        "completed 0 2 succeeded save",
    ]
    assert watcher.events[0] == ("submit", "wait_for", 1, 1)
    assert watcher.events[-2:] == [("state", {"COMPLETED": 1}), ("complete", 0, 1, "COMPLETED")]


def _as_a_job() -> dict[str, str]:
    return {**os.environ, "SLURM_ARRAY_TASK_ID": "0", "SLURM_RESTART_COUNT": "2"}


class Scalar:
    """A scalar like those of numpy and torch."""

    def __init__(self, number: float) -> None:
        self.number = number

    def __ne__(self, other: object) -> bool:
        return self.number != other

    __hash__ = None  # type: ignore[assignment]

    def item(self) -> float:
        return self.number


@task
def odd_steps(gate: Path) -> None:
    odd = {
        "loss": float("nan"),
        "rate": Scalar(0.5),
        "data": b"x",
        "many": {1, 2},
        "place": Path("/a"),
        "time": 2,
        "event": "b",
    }
    current_job().progress(Scalar(3), 3, **odd)  # type: ignore[arg-type]
    until(gate.exists)


def test_unusual_progress_values_are_converted_to_json(local: Cluster, tmp_path: Path) -> None:
    lines, watcher = tmp_path / "jobs.jsonl", Watcher()
    with local:
        job = odd_steps.with_options(callbacks=[JSONLinesCallback(lines), watcher])(tmp_path / "gate")
        until(lambda: [event[0] for event in watcher.events][-1:] == ["progress"])
        (tmp_path / "gate").touch()
        job.result(60)
    (progress,) = (line for line in map(_strict, lines.read_text().splitlines()) if line["event"] == "progress")
    metrics = {"loss": None, "rate": 0.5, "data": "b'x'", "many": "{1, 2}", "place": "/a", "time": 2, "event": "b"}
    assert (progress["done"], progress["total"], progress["metrics"]) == (3, 3, metrics)


def _strict(line: str) -> dict[str, Any]:
    """Parse strict JSON, without NaN and Infinity."""

    def reject(word: str) -> None:
        raise ValueError(word)

    found: dict[str, Any] = json.loads(line, parse_constant=reject)
    return found


@task
def steps(gate: Path) -> None:
    for done in (1, 2):
        current_job().progress(done, 2, loss=1 / done)
    until(gate.exists)


def test_client_gets_the_events_of_a_running_job(cluster: Cluster, tmp_path: Path) -> None:
    watcher = Watcher()
    job = steps.with_options(callbacks=[watcher])(tmp_path / "gate")
    until(lambda: len(watcher.events) >= 4)
    (tmp_path / "gate").touch()
    job.result(60)
    until(lambda: watcher.events[-1][0] == "complete")
    # A query at the right moment sees COMPLETING.
    assert [event for event in watcher.events if event != ("state", {"COMPLETING": 1})] == [
        ("submit", "steps", 1, 1),
        ("state", {"RUNNING": 1}),
        ("progress", 0, 1, 2, {"loss": 1.0}),
        ("progress", 0, 2, 2, {"loss": 0.5}),
        ("state", {"COMPLETED": 1}),
        ("complete", 0, 1, "COMPLETED"),
    ]


def test_a_method_that_is_no_hook_is_a_warning() -> None:
    class Misspelt(Callback):
        def on_completd(self, event: object) -> None:
            """Is never called."""

    with pytest.warns(UserWarning, match=r"Misspelt.on_completd is never called, .* did you mean on_completed\?"):
        Cluster("local", callbacks=[Misspelt()])
