"""Shared file systems that cache, as NFS does: what other machines wrote is found, however long caches last.

Client and nodes have caches that outlive each test: what is not looked for past them is never seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, task
from slurm.environments import building
from slurm.protocol.shell import program
from testbed import SlurmTestbed, SSHTestbed
from testbed.caches import CachedFiles
from testbed.programs import without_slurm

pytestmark = pytest.mark.slurm

World = tuple[CachedFiles, SlurmTestbed]
Run = Callable[[str], Any]

HEAD = """
import json, os, sys, time
from pathlib import Path
from slurm import Cluster, Retry, current_job, task, workflow
from slurm.callbacks import Callback
from slurm.errors import JobCancelled
from slurm.places.place import Place
from slurm.schedulers.slurm import SlurmScheduler
from slurm.submission.timings import Timings

SlurmScheduler.patience = (0.5, 3.0)
Place.timings = Timings(unexplained_grace=1000.0)  # after which a result is found without a listing
ROOT, MARKS = map(Path, sys.argv[1:])

def until(happened):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.02)
"""


def test_the_command_of_the_testbed_gives_files_that_are_cached(cached_cluster: World) -> None:
    look = 'ls "$SCRATCH"; srun touch "$SCRATCH/new"; ls "$SCRATCH"; echo fresh; chmod u+x "$SCRATCH"; ls "$SCRATCH"'
    argv: list[str | Path] = [
        sys.executable,
        Path(__file__).parents[1] / "testbed",
        "--caches",
        "3600",
        "--",
        "sh",
        "-c",
        look,
    ]
    done = subprocess.run(argv, text=True, capture_output=True, timeout=250, check=False)
    assert done.stdout.split() == ["fresh", "new"], done.stderr


@pytest.fixture
def on_client(cached_cluster: World, tmp_path: Path) -> Run:
    """A function that runs a program where the client is, and returns what it printed last, as JSON.

    The program has the root `ROOT`, which is cached, and `MARKS`, a directory that is not.
    """
    files, testbed = cached_cluster
    (tmp_path / "marks").mkdir()

    def run(text: str) -> Any:
        path = tmp_path / "program.py"
        path.write_text(HEAD + text)
        argv: list[str | Path] = [
            *files.on_client,
            sys.executable,
            path,
            files.directory / tmp_path.name,
            tmp_path / "marks",
        ]
        environment = {**without_slurm(os.environ), **testbed.env}
        done = subprocess.run(argv, env=environment, text=True, capture_output=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_results_of_calls_and_maps_are_seen(on_client: Run) -> None:
    found = on_client("""
@task
def square(x):
    return x * x

with Cluster("slurm", root=ROOT):
    first = square(3).result(100)
    print(json.dumps([first, square.map(range(3)).results(100), square(4).result(100)]))
""")
    assert found == [9, [0, 1, 4], 16]


def test_chains_find_the_results_of_their_upstreams(on_client: Run) -> None:
    found = on_client("""
@task
def plus(x, y=1):
    if x < 0:
        raise ValueError(x)
    return x + y

with Cluster("slurm", root=ROOT):
    chain = plus(plus(plus(0)))
    maps = plus.map(plus.map([1, -1]))
    failed = [type(error).__name__ if (error := job.exception(100)) else job.result() for job in maps]
    print(json.dumps([chain.result(100), failed]))
""")
    assert found == [3, [3, "DependencyFailed"]]


def test_calls_of_a_pool_and_their_answers_are_seen(on_client: Run) -> None:
    found = on_client("""
@task
def square(x):
    print("square of", x)
    return x * x

@task
def wait(mark):
    Path(MARKS, mark).touch()
    time.sleep(600)

with Cluster("slurm", root=ROOT) as cluster, cluster.pool(nodes=2, workers=1, time="10:00") as pool:
    jobs = square.on(pool).map(range(300))
    found = [sum(jobs.results(100)), jobs[7].logs()]
    found.append(task(sum).on(pool)([jobs[3], jobs[250]]).result(100))
    found.append(task(len).on(pool)(task(lambda: bytes(3_000_000)).on(pool)()).result(100))
    runs = wait.on(pool)("begun")
    while not Path(MARKS, "begun").exists():
        time.sleep(0.05)
    runs.cancel()
    found.append(type(runs.exception(100)).__name__)
    with cluster.pool(pool.key) as other:
        found.append(square.on(other)(9).result(100))
        found.append(task(len).on(other).map([bytes(size) for size in (100_000, 3_000_000)]).results(100))
    print(json.dumps(found))
""")
    total = sum(x * x for x in range(300))
    assert found == [total, "square of 7\n", 9 + 62500, 3_000_000, "JobCancelled", 81, [100_000, 3_000_000]]


def test_elements_that_an_elastic_pool_adds_are_seen_and_that_it_is_closed(on_client: Run) -> None:
    found = on_client("""
import subprocess

def why_kept():
    argv = [sys.executable, "-m", "slurm", "gc", cluster.url, "--days", "0", "--dry-run", "--json"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return [job["kept"] for job in told if job["key"] == pool.key]

@task
def square(x):
    return x * x

with Cluster("slurm", root=ROOT) as cluster:
    found = []
    with cluster.pool(workers=(0, 2), time="10:00", idle=1) as pool:
        for x in range(2):
            found.append(square.on(pool)(x).result(100))
            until(pool.jobs.done)
            found += why_kept()
        watch = subprocess.Popen([sys.executable, "-m", "slurm", "wait", pool.key, "--on", cluster.url])
    until(pool.jobs.done)
    found += [watch.wait(100), *why_kept()]
    print(json.dumps(found))
""")
    assert found == [0, "a program may use this pool", 1, "a program may use this pool", 0, ""]


def test_a_failed_call_is_retried_once_and_no_claim_is_taken_over(on_client: Run) -> None:
    attempts, value, log = on_client("""
import io, logging
log = io.StringIO()
logging.basicConfig(stream=log)

@task(retry=Retry(times=2, on=ValueError))
def flaky(marks):
    attempt = len(list(marks.iterdir()))
    (marks / str(attempt)).touch()
    if attempt < 2:
        raise ValueError(attempt)
    return attempt

with Cluster("slurm", root=ROOT):
    value = flaky(MARKS).result(200)
    print(json.dumps([len(list(MARKS.iterdir())), value, log.getvalue()]))
""")
    assert (attempts, value) == (3, 2)
    assert "is gone" not in log


def test_a_workflow_sees_the_results_of_its_children(on_client: Run) -> None:
    found = on_client("""
@task
def square(x):
    return x * x

@workflow
def total():
    first = sum(square.map(range(3)).results(100))
    return first + square(first).result(100)

with Cluster("slurm", root=ROOT):
    job = total()
    early = len(job.children())  # what is not there yet must not stay absent
    value = job.result(200)
    print(json.dumps([early <= 2, value, len(job.children())]))
""")
    assert found == [True, 30, 2]


def test_progress_is_seen_while_a_task_runs(on_client: Run) -> None:
    found = on_client("""
from slurm import JobContext

class Seen(Callback):
    def __init__(self):
        self.done = []
    def on_progress(self, event):
        self.done.append(event.done)
        (MARKS / f"seen-{event.done:g}").touch()

@task
def slow(ctx: JobContext, marks):
    for step in range(1, 4):
        ctx.progress(step, step)  # each is written, as the last is
        end = time.monotonic() + 100
        while not (marks / f"seen-{step}").exists():
            assert time.monotonic() < end, f"step {step} was not seen"
            time.sleep(0.02)

seen = Seen()
with Cluster("slurm", root=ROOT, callbacks=[seen]):
    slow(marks=MARKS).result(200)
    print(json.dumps(seen.done))
""")
    assert found == [1, 2, 3]


def test_a_cancelled_job_and_the_children_of_a_cancelled_workflow_end(on_client: Run) -> None:
    found = on_client("""
@task
def forever(marks, name):
    (marks / name).touch()
    time.sleep(1000)

@workflow
def parent(marks):
    forever(marks, "child").result()

with Cluster("slurm", root=ROOT):
    job, above = forever(MARKS, "job"), parent(MARKS)
    until(lambda: (MARKS / "job").exists() and (MARKS / "child").exists())
    children = above.children()
    job.cancel()
    above.cancel()
    jobs = [job, above, *children]
    print(json.dumps([type(each.exception(100)).__name__ for each in jobs]))
""")
    assert found == ["JobCancelled"] * 3


@task
def square(x: int) -> int:
    return x * x


def test_messages_reach_a_task_that_has_looked_for_them_in_vain(on_client: Run) -> None:
    found = on_client("""
@task
def listen():
    found = []
    while "stop" not in found:
        found += current_job().messages(wait=60)
        (MARKS / str(len(found))).touch()
    return found

with Cluster("slurm", root=ROOT):
    job = listen()
    for number, message in enumerate(["one", "two", "stop"], 1):
        time.sleep(2)
        job.send(message)
        until((MARKS / str(number)).exists)
    print(json.dumps(job.result(100)))
""")
    assert found == ["one", "two", "stop"]


def test_results_are_seen_over_ssh_by_a_login_node_that_caches(
    cached_cluster: World, tmp_path: Path, new_ssh: Callable[..., SSHTestbed]
) -> None:
    files, testbed = cached_cluster
    new_ssh(environment={"PATH": os.environ["PATH"], **testbed.env}, command=files.on_client)
    with Cluster("slurm+ssh://box", root=files.directory / tmp_path.name):
        job = square(3)
        job.status()  # what is not there yet must not stay absent
        assert job.result(100) == 9
        assert square.map(range(3)).results(100) == [0, 1, 4]


def test_a_client_that_waits_for_an_environment_sees_its_lock_its_beats_and_its_record(
    cached_cluster: World, tmp_path: Path
) -> None:
    files, _ = cached_cluster
    root = files.directory / tmp_path.name
    look = program(building.__name__, "state.sh")

    def run(where: tuple[str, ...], *argv: str) -> str:
        done = subprocess.run(
            [*where, "env", f"SLURMTASKS_ROOT={root}", *argv], text=True, capture_output=True, timeout=60, check=True
        )
        return done.stdout

    def seen() -> list[str]:
        return run(files.on_client, "sh", "-c", look, "sh", "name").splitlines()[1:]

    def do(command: str) -> None:
        run(files.on_nodes, "sh", "-c", f'umask 077; key=name-$(uname -m); cd "$SLURMTASKS_ROOT/envs" && {command}')

    run(files.on_client, "mkdir", "-p", "-m", "700", str(root), f"{root}/envs")
    assert seen() == []
    do("mkdir $key.lock $key.lock/1 && echo ann > $key.lock/1/owner")
    assert seen() == ["held 1", "ann"]
    do("echo 1 > $key.lock/1/beat")
    assert seen() == ["held 1", "ann", "1"]
    do("echo 20 > $key.lock/1/beat")
    assert seen() == ["held 1", "ann", "20"]
    do("echo '{}' > $key.lock/1/failed")
    assert seen() == ["failed 1", "{}"]
    do("mkdir $key.lock/2 && touch $key.lock/2/owner")
    assert seen() == ["held 2"]
    do("echo record > $key.json")
    assert seen() == ["ready", "record"]


def test_a_procedure_hears_its_commands_and_is_heard(on_client: Run) -> None:
    found = on_client("""
from slurm.procedures import Script, ScriptExecutionService

SCRIPT = (
    "from slurm.procedures import procedure\\n"
    "def listen():\\n"
    "    while not procedure.flag('go'):\\n"
    "        procedure.sleep(200)\\n"
    "    while not (found := procedure.messages()):\\n"
    "        procedure.sleep(200)\\n"
    "    return found"
)
service = ScriptExecutionService(ROOT, on="slurm", exclusive="slot")
first = service.prepare(Script.text(SCRIPT))
first.wait("READY", 100)
command = first.start("listen")
service.publish("go", enabled=True)
first.send("hello")
heard = first.value_of(command)
print(json.dumps([heard, first.stop(), [str(state) for state in first.history.states]]))
""")
    states = ["CREATING", "IDLE", "LOADING", "IDLE", "READY", "RUNNING", "READY", "STOPPED"]
    assert found == [["hello"], "STOPPED", states]
