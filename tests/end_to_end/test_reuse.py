"""A script with `reuse=True` that is run again computes nothing anew, whichever client died when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from slurm import JobArray, cancel, task
from slurm.errors import JobCancelled
from slurm.jobs.pieces import JoinedArray

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurm import Cluster

SCRIPT = textwrap.dedent(
    """
    import os, signal, sys, time
    import helpers
    from slurm import Cluster, task
    from slurm.places.place import Place
    from slurm.schedulers.client import SchedulerClient
    from slurm.storage.reuse_records import ReuseRecords

    SIZES = {"small", "medium", "large"}

    @task(reuse=True)
    def measure(x, size="small"):
        helpers.note(x)
        return x * helpers.FACTOR + len(SIZES)

    @task(reuse=True)
    def total(values):
        helpers.note("total")
        return sum(values)

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    _, url, count, death, *planned = sys.argv
    if death == "record":
        Place.create = die  # the record is written
    elif death == "pause":
        create = Place.create
        Place.create = lambda *args: (os.kill(os.getpid(), signal.SIGSTOP), create(*args))[1]
    elif death == "directory":
        SchedulerClient.submit = die  # the directory is written
    elif death == "submission":
        submit = SchedulerClient.submit
        SchedulerClient.submit = lambda *args, **keywords: (submit(*args, **keywords), die())
    Place.timings = Place.timings._replace(abandoned_claim=2.0)
    with Cluster(url) as cluster:
        numbers = range(int(count))
        array = cluster.plan(measure, [(x,) for x in numbers]).submit() if planned else measure.map(numbers)
        print(total(array).result(), sorted(measure(x=0).key.partition("[")[0] for _ in "ab"))
    """
)
HELPERS = """
FACTOR = {factor}

def note(x):
    import os, tempfile
    os.close(tempfile.mkstemp(prefix=f"{{x}}-", dir={directory!r})[0])
"""


@pytest.fixture
def computed(tmp_path: Path) -> Path:
    """The directory where each computation leaves a file."""
    directory = tmp_path / "computed"
    directory.mkdir()
    return directory


def write(directory: Path, computed: Path, *, name: str = "script.py", factor: int = 10) -> Path:
    """Write the script, and a module beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "helpers.py").write_text(HELPERS.format(factor=factor, directory=str(computed)))
    script = directory / name
    script.write_text(SCRIPT)
    return script


def run(
    script: Path, cluster: Cluster, count: int, *, death: str = "", seed: int = 0, planned: bool = False
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(script), cluster.url, str(count), death, *["planned"][: int(planned)]]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    return subprocess.run(argv, env=environment, cwd=script.parent, capture_output=True, text=True, check=False)


def names(computed: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in computed.iterdir())


def test_a_script_that_is_run_twice_computes_once(cluster: Cluster, tmp_path: Path, computed: Path) -> None:
    first = run(write(tmp_path / "a", computed), cluster, 3, seed=1)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("39 ")
    assert names(computed) == ["0", "1", "2", "total"]
    second = run(write(tmp_path / "b" / "c", computed, name="other.py"), cluster, 3, seed=2)
    assert (second.returncode, second.stderr, second.stdout) == (0, "", first.stdout)
    assert names(computed) == ["0", "1", "2", "total"]
    third = run(write(tmp_path / "a", computed), cluster, 4, seed=3)
    assert third.stdout.startswith("72 "), third.stderr
    assert names(computed) == ["0", "1", "2", "3", "total", "total"]


def test_an_edit_of_a_module_beside_the_script_computes_anew(cluster: Cluster, tmp_path: Path, computed: Path) -> None:
    assert run(write(tmp_path, computed), cluster, 2).stdout.startswith("16 ")
    # Of another length: Python takes a module from its bytecode if its source has the same size and second as before.
    assert run(write(tmp_path, computed, factor=100), cluster, 2).stdout.startswith("106 ")
    assert names(computed) == ["0", "0", "1", "1", "total", "total"]


@pytest.mark.parametrize("planned", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("death", ["record", "directory", "submission"])
def test_a_client_that_is_killed_loses_nothing_and_nothing_is_computed_twice(
    cluster: Cluster, tmp_path: Path, computed: Path, death: str, planned: bool
) -> None:
    script = write(tmp_path, computed)
    killed = run(script, cluster, 2, death=death, planned=planned)
    assert killed.returncode == -signal.SIGKILL
    again = run(script, cluster, 2)
    assert again.stdout.startswith("16 "), again.stderr
    assert names(computed) == ["0", "1", "total"]
    assert run(script, cluster, 2).stdout == again.stdout
    assert names(computed) == ["0", "1", "total"]


def test_a_client_that_is_paused_before_it_submits_computes_nothing_twice(
    cluster: Cluster, tmp_path: Path, computed: Path
) -> None:
    script = write(tmp_path, computed)
    argv = [sys.executable, str(script), cluster.url, "2", "pause"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as paused:
        os.waitid(os.P_PID, paused.pid, os.WSTOPPED)
        other = run(script, cluster, 2)
        assert other.stdout.startswith("16 "), other.stderr
        paused.send_signal(signal.SIGCONT)
        printed, errors = paused.communicate(timeout=120)
    assert (printed, errors) == (other.stdout, "")  # its total is that of the other client
    late = [job for job in cluster.jobs("measure") if job.key not in other.stdout]
    errors_of = [array.exceptions(60) for array in late if isinstance(array, JobArray)]
    assert [type(error) for some in errors_of for error in some] == [JobCancelled, JobCancelled]
    assert names(computed) == ["0", "1", "total"]  # what it has submitted too late has not run


@task(reuse=True)
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.05)
    return path


def test_cancelling_a_map_leaves_what_it_has_joined(cluster: Cluster, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in "ab"]
    first = wait_for(paths[0])
    ways: tuple[Callable[[JobArray[str]], None], ...] = (
        lambda array: array.cancel(),
        cancel,
        lambda array: cancel([[array]]),
    )
    for end in ways:
        array = wait_for.map(paths)
        assert array[0] == first
        end(array)
        assert isinstance(array[1].exception(60), JobCancelled)
        assert not first.done()
    again = wait_for.map(paths)
    assert isinstance(again, JoinedArray)
    again.cancel(joined=True)
    assert [type(error) for error in again.exceptions(60)] == [JobCancelled, JobCancelled]
