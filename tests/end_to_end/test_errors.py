"""Errors that users see: each says what is wrong, where, and what to do."""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, Job, JobArray, JobState, task, wait
from slurm.cli.main import slurm
from slurm.errors import (
    ClusterURLError,
    ConfigurationError,
    DependencyFailed,
    JobError,
    JobTimedOut,
    LoadFailed,
    NoActiveCluster,
    NoSuchJob,
    NotPicklable,
    OptionError,
    PluginNotFound,
    ProtocolError,
    PythonNotFound,
    ResultNotLoaded,
    ResultNotSaved,
    SchedulerNotFound,
    SubmissionError,
    SubmissionRefused,
    TaskExited,
    TaskFailed,
    TransportError,
    UntrustedFile,
)
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed import SlurmTestbed


@task
def call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@task
def fail(message: str) -> None:
    raise ValueError(message)


# What the client refuses at once.


def test_a_misspelt_option_is_refused_where_it_is_written() -> None:
    with pytest.raises(OptionError, match=r"sbatch has no option cpu_per_task: did you mean cpus_per_task\?"):
        task(cpu_per_task=2)  # type: ignore[call-overload]


def test_a_value_that_sbatch_would_refuse_is_refused_where_it_is_written() -> None:
    with pytest.raises(
        OptionError, match=r"option time='soon': expected text such as .* a timedelta, or a whole number"
    ):
        task(time="soon")


def test_a_newline_in_an_option_cannot_add_a_line_to_the_script() -> None:
    with pytest.raises(OptionError, match="one line of text"):
        task(job_name="x\n#SBATCH --partition=mine")
    with pytest.raises(OptionError, match="one line of text"):
        task(sbatch={"--foo": "x\n#SBATCH --partition=mine"})


def test_a_task_without_a_cluster_says_what_to_do() -> None:
    with pytest.raises(NoActiveCluster, match=r"Call it inside `with Cluster\(…\):`"):
        fail("x")


def test_a_wrong_argument_fails_on_the_client(local: Cluster, root: Path) -> None:
    with pytest.raises(TypeError, match=r"fail\(message\): missing a required argument: 'message'"):
        fail()  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="too many positional arguments"):
        fail.map("ab", "cd")
    assert not list(root.glob("jobs/*/*"))


def test_methods_are_refused_with_an_alternative() -> None:
    with pytest.raises(TypeError, match=r"Model.fit is a method.*define it outside of class Model"):

        class Model:
            @task
            def fit(self) -> None:
                pass


def test_functions_without_a_picklable_return_value_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def number() -> int:
        return 1

    class Called:
        async def __call__(self) -> int:
            return 1

    for function, what in ((numbers, "a generator"), (number, "a coroutine")):
        for given in (function, functools.partial(functools.partial(function)), functools.cache(function)):
            with pytest.raises(TypeError, match=f"{function.__name__} returns {what}, .* return a list"):
                task(given)
    with pytest.raises(TypeError, match=r"Called returns a coroutine"):
        task(Called())


def test_the_executor_refuses_them_too(local: Cluster, root: Path) -> None:
    async def number(x: int) -> int:
        return x

    with local.executor() as executor:
        with pytest.raises(TypeError, match="number returns a coroutine"):
            executor.submit(number, 1)
        with pytest.raises(TypeError, match="number returns a coroutine"):
            executor.map(functools.partial(number), [1])
    assert not list(root.glob("jobs/*"))


def test_an_upstream_that_is_not_a_job_is_refused() -> None:
    for wrong in ("job/20260101T000000Z-11111111", 7, [b"x"]):
        with pytest.raises(TypeError, match="expected jobs and arrays, not "):
            wait(wrong)  # type: ignore[arg-type]


def test_an_argument_that_cannot_be_pickled_is_named_by_its_path(local: Cluster) -> None:
    class Net:
        def __init__(self) -> None:
            self.layers = [{"lock": threading.Lock()}]

    with pytest.raises(NotPicklable, match=r"argument 1 of call\.layers\[0\]\['lock'\] \(_thread.lock\)"):
        call(print, Net())


def test_a_function_that_cannot_be_pickled_is_named_with_its_variable(local: Cluster) -> None:
    lock = threading.Lock()

    @task
    def locked() -> None:
        lock.acquire()

    with pytest.raises(
        NotPicklable, match=r"the function locked, its variable lock \(_thread.lock\) cannot be pickled"
    ):
        locked()


def test_bad_urls_and_unknown_plugins_are_refused() -> None:
    with pytest.raises(ClusterURLError, match="is not a cluster URL: write"):
        Cluster("my cluster")
    with pytest.raises(ClusterURLError, match="give both a transport and a host"):
        Cluster("slurm://login/scratch")
    with pytest.raises(PluginNotFound, match="there is no scheduler 'lsf'; there are: inline, local, pbs, sge, slurm"):
        Cluster("lsf")
    with pytest.raises(PluginNotFound, match=r"'loacl': did you mean 'local'[?] For a cluster of a Slurmfile"):
        Cluster("loacl")
    with pytest.raises(ConfigurationError, match="write an absolute path"):
        Cluster("local", root="jobs")


def test_a_job_of_another_cluster_is_no_placeholder(local: Cluster, tmp_path: Path) -> None:
    elsewhere = call.on(Cluster("local", root=tmp_path / "elsewhere"))(int, 1)
    with pytest.raises(SubmissionError, match=r"pass job.result\(\) instead"):
        call(str, elsewhere)


# What the other side refuses.


def test_an_unwritable_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Cluster("local", root=tmp_path / "file" / "root"),
        pytest.raises(TransportError, match=r"file.* cannot be written"),
    ):
        fail("x")


def test_no_python_of_the_clients_minor_version(tmp_path: Path) -> None:
    # A stand-in, since a machine need not have a second Python: it only answers what version it is.
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3.4\n")
    other.chmod(0o755)
    here = "{}.{}".format(*sys.version_info[:2])
    with (
        Cluster("local", root=tmp_path / "root", python=str(other)),
        pytest.raises(PythonNotFound, match=rf"no Python {here} there.*{re.escape(str(other))} is Python 3.4"),
    ):
        fail("x")


def test_no_sbatch_on_path(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sh", "env", "sed", "mv"):
        (commands / name).symlink_to(next(p for p in (Path("/bin", name), Path("/usr/bin", name)) if p.exists()))
    monkeypatch.setenv("PATH", str(commands))
    with Cluster("slurm", root=root), pytest.raises(SchedulerNotFound, match=r"sbatch.*Cluster\('local'\)"):
        fail("x")


@pytest.mark.slurm
def test_a_refusal_has_the_message_of_sbatch_and_the_script(root: Path, slurm_env: SlurmTestbed) -> None:
    with (
        Cluster("slurm", root=root),
        pytest.raises(SubmissionRefused, match="invalid partition specified: nope") as caught,
    ):
        fail.with_options(partition="nope")("x")
    assert "--partition=nope" in Path(caught.value.script).read_text()
    assert "invalid partition" in caught.value.output


def test_a_full_disk_is_reported_and_keeps_earlier_results(tmp_path: Path) -> None:
    program = tmp_path / "full.py"
    program.write_text(
        textwrap.dedent("""\
            import sys
            from slurm import Cluster, task
            from slurm.errors import ResultNotSaved, TransportError

            @task
            def make(size):
                return b"x" * size

            with Cluster("local", root=sys.argv[1]):
                first = make(10)
                first.result(60)
                try:
                    make(4_000_000).result(60)
                except ResultNotSaved as error:
                    print("node:", "No space left on device" in str(error))
                try:
                    task(len)(b"x" * 4_000_000)
                except TransportError as error:
                    print("client:", "No space left on device" in str(error))
                print("first:", len(first.result()))
            from slurm.schedulers.local_queue.client import stop
            stop()
            """)
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=3m none "$0" && SLURMTASKS_LOCAL_DIR="$0/s" {sys.executable} "$1" "$0"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(disk), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "node: True\nclient: True\nfirst: 10\n", done.stderr


# What the task does.


def test_the_tasks_own_exception_is_raised_with_the_remote_traceback(cluster: Cluster) -> None:
    job = fail("not today")
    with pytest.raises(ValueError, match="not today") as caught:
        job.result(60)
    assert "raise ValueError(message)\n" in str(caught.value.__cause__)
    assert "slurm/runner" not in str(caught.value.__cause__)
    assert any(job.key in note and job.log_path in note for note in getattr(caught.value, "__notes__", []))
    assert "ValueError: not today" in job.logs()


class Picky(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


@task
def pick() -> None:
    raise Picky(1, 2)


def test_an_exception_whose_init_takes_other_arguments_is_raised_as_itself(cluster: Cluster) -> None:
    with pytest.raises(Picky, match=r"^1 and 2") as caught:
        pick().result(60)
    assert "raise Picky(1, 2)" in str(caught.value.__cause__)
    assert (caught.value.one, caught.value.args) == (1, ("1 and 2",))


def test_exceptions_of_chunks_and_pools_are_raised_as_themselves_too(local: Cluster) -> None:
    @task
    def picked(which: int) -> None:
        raise Picky(which, 2)

    for job in picked.map([1, 3], chunk_size=2):
        with pytest.raises(Picky, match=" and 2"):
            job.result(60)
    with local.pool(workers=1) as pool, pytest.raises(Picky, match=r"^5 and 2"):
        picked.on(pool)(5).result(60)


def test_a_failure_that_retry_does_not_cover_has_a_note(local: Cluster) -> None:
    with pytest.raises(ValueError, match="not today") as caught:
        fail.with_options(retry=2)("not today").result(60)
    assert "Retry does not apply to ValueError: name it in Retry(on=…)" in getattr(caught.value, "__notes__", [])


class Locked(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def test_an_exception_that_cannot_be_pickled_is_raised_as_text_with_the_reason(local: Cluster) -> None:
    @task
    def lock() -> None:
        raise Locked

    job = lock()
    with pytest.raises(TaskFailed, match=r"raised .*Locked: locked") as caught:
        job.result(60)
    assert "it cannot be pickled: TypeError: cannot pickle '_thread.lock' object. Give the class" in str(caught.value)
    assert str(caught.value).endswith(f"Its log: {job.log_path}")
    assert "raise Locked" in str(caught.value.__cause__)
    explained = CliRunner().invoke(slurm, ["explain", job.key, "--on", local.url]).output
    assert "TaskFailed is raised instead: it cannot be pickled: TypeError" in " ".join(explained.split())


class Sealed(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def test_an_exception_that_takes_no_attributes_is_raised_as_itself(local: Cluster) -> None:
    @task
    def seal() -> None:
        raise Sealed("shut")

    with pytest.raises(Sealed, match="shut") as caught:
        seal().result(60)
    assert "raise Sealed" in str(caught.value.__cause__)


def test_sys_exit_is_an_error_with_the_exit_status(cluster: Cluster) -> None:
    with pytest.raises(TaskExited, match=r"called sys.exit\(3\) before it returned") as caught:
        call(sys.exit, 3).result(60)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("status", [0, 5])
def test_os_exit_leaves_an_outcome(cluster: Cluster, status: int) -> None:
    with pytest.raises(TaskExited, match=f"ended its process with status {status} before it returned") as caught:
        call(os._exit, status).result(60)
    assert caught.value.exit_code == status
    assert caught.value.log is not None


def test_an_unexplained_end_shows_the_end_of_the_log(cluster: Cluster) -> None:
    @task
    def die() -> None:
        print("the last that was heard of me", flush=True)
        os._exit(7)

    with pytest.raises(TaskExited, match="which ends:\nthe last that was heard of me"):
        die().result(60)


def test_a_task_killed_by_a_signal_names_the_signal(cluster: Cluster) -> None:
    @task
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TaskExited, match="was killed by SIGKILL") as caught:
        die().result(60)
    assert caught.value.signal == signal.SIGKILL


def crash_on_exit(value: int) -> int:
    atexit.register(os.abort)
    return value


@pytest.mark.slurm
def test_slurm_gets_the_exit_status_of_the_task(root: Path, slurm_env: SlurmTestbed) -> None:
    with Cluster("slurm", root=root):
        crashing = call(atexit.register, os.abort)  # on its way out, as libraries do
        jobs = [call(int, 1), fail("x"), call(sys.exit, 3), call(os._exit, 0), crashing]
        after = call.after(crashing)(int, crashing_too := call(crash_on_exit, 7))
    for job in jobs:
        job.exception(60)

    def told(job: Job[Any]) -> str:
        return slurm_env.run("scontrol", "show", "job", str(job.job_id)).stdout

    codes = []
    for job in jobs:
        until(lambda: not re.search("RUNNING|COMPLETING", told(job)))  # noqa: B023 - it is called here
        codes.append(re.findall(r"JobState=(\w+).*ExitCode=(\d+):0", told(job), re.DOTALL)[0])
    well = ("COMPLETED", "0")
    assert codes == [well, ("FAILED", "1"), ("FAILED", "3"), ("FAILED", "1"), well]
    assert (crashing_too.result(60), after.result(60)) == (7, 7)


class NeedsModule:
    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("a_module_that_is_not_there",)


def test_an_import_that_fails_on_the_node_is_a_load_failure(cluster: Cluster) -> None:
    with pytest.raises(LoadFailed, match="ModuleNotFoundError: No module named 'a_module_that_is_not_there'") as caught:
        call(print, NeedsModule()).result(60)
    assert caught.value.node


def test_a_result_that_cannot_be_pickled_is_an_error_of_saving(cluster: Cluster) -> None:
    job = call(threading.Lock)
    with pytest.raises(ResultNotSaved, match=r"ran to its end, but what it returned could not be saved.*lock"):
        job.result(60)
    outcome = job.status().outcome
    assert outcome is not None
    assert outcome.phase == "save"


def test_a_failed_upstream_fails_its_dependents_and_is_named(cluster: Cluster) -> None:
    upstream = fail("the root of it")
    upstream.exception(60)
    with pytest.raises(DependencyFailed, match=re.escape(f"{upstream.key}[0] failed: ValueError: the root of it")):
        call(print, upstream).result(60)


def test_an_upstream_that_fails_later_fails_its_dependents(cluster: Cluster) -> None:
    @task
    def fail_late() -> None:
        time.sleep(1)
        raise ValueError("late")

    upstream = fail_late()
    with pytest.raises(DependencyFailed, match=re.escape(f"was not run: {upstream.key}[0] failed: ValueError: late")):
        call(print, upstream).result(60)


def test_elements_with_a_failed_element_upstream_fail_alone(cluster: Cluster) -> None:
    halves = task(lambda x: 1 / x).map([1, 0, 2])
    results = call.map([str] * 3, halves).results(60, return_exceptions=True)
    assert (results[0], results[2]) == ("1.0", "0.5")
    assert isinstance(results[1], DependencyFailed)


def test_results_raise_the_first_error_or_return_all(cluster: Cluster) -> None:
    array = task(lambda x: 1 / x).map([1, 0])
    with pytest.raises(ZeroDivisionError):
        array.results(60)
    good, bad = array.results(return_exceptions=True)
    assert good == 1.0
    assert isinstance(bad, ZeroDivisionError)
    assert array.states() == {JobState.COMPLETED: 1, JobState.FAILED: 1}


def test_a_time_limit_ends_a_local_job(local: Cluster) -> None:
    with pytest.raises(JobTimedOut, match="reached its time limit") as caught:
        call.with_options(time="0:01")(time.sleep, 60).result(60)
    assert caught.value.state == "TIMEOUT"


@pytest.mark.slurm
def test_a_time_limit_ends_a_slurm_job(
    root: Path, new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in new_testbed(speedup=20).env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root):
        job = call.with_options(time=1)(time.sleep, 60)
    with pytest.raises(JobTimedOut):
        job.result(60)


# Coming back, and waiting.


def test_a_wait_that_runs_out_is_a_timeout_error_and_the_job_goes_on(local: Cluster) -> None:
    job = call(time.sleep, 1)
    with pytest.raises(TimeoutError, match=re.escape(f".job({job.key!r})")):
        job.result(0.05)
    assert job.result(60) is None


WAITS = """\
import os, sys, time
from slurm import Cluster, task

@task
def wait(gate):
    while not os.path.exists(gate):
        time.sleep(0.05)

with Cluster(sys.argv[1]):
    job = wait(sys.argv[2])
    print(job.key, flush=True)
    job.result()
"""


INTERRUPTED = {
    "wait(array)": "2 of 2 jobs have not ended; they go on; come back to them with {array}",
    "gather(array)": "2 of 2 jobs have not ended; they go on; come back to them with {array}",
    "list(as_completed([array, array[0]]))": "2 of 2 jobs have not ended; they go on; come back to them with {array}",
    "list(array.as_completed())": "2 of 2 jobs have not ended; they go on; come back to them with {array}",
    "list(array[1:].as_completed())": "1 of 1 jobs have not ended; they go on; come back to it with {second}",
    "list(array.iter_results())": "The job goes on; come back to it with {first}",
    "array.failed()": "The jobs go on; come back to them with {array}",
    "array.retry_failed()": "The jobs go on; come back to them with {array}",
    "cluster.executor().submit(hold, gate).result()": "the job goes on; come back to it with {newest}",
    "list(cluster.executor().map(hold, [gate]))": (
        "the calls of the map that had not ended were cancelled; the others keep their results: {newest}"
    ),
}

WAITS_FOR_MANY = """
import os, pathlib, signal, sys, threading, time
from slurm import Cluster, as_completed, gather, task, wait

@task
def hold(gate):
    while not os.path.exists(gate):
        time.sleep(0.05)

def interrupt():
    looks = 0
    while looks < 20:  # threads that start are waited for, too, but not for long
        looks = looks + 1 if waits() else 0
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)

def waits():
    return any(name in ("wait", "get") and "threading" in file or name == "as_they_end" for name, file in frames())

def frames():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame:
        yield frame.f_code.co_name, frame.f_code.co_filename
        frame = frame.f_back

signal.signal(signal.SIGINT, signal.default_int_handler)
gate = sys.argv[2]
with Cluster(sys.argv[1]) as cluster:
    array = hold.map([gate] * 2)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        EXPRESSION
    except KeyboardInterrupt as error:
        newest = cluster.jobs()[0]
        print(array.key, newest.key, error, sep="\\n")
    pathlib.Path(gate).touch()
"""


@pytest.mark.parametrize("expression", INTERRUPTED)
def test_ctrl_c_in_any_wait_says_the_keys(local: Cluster, tmp_path: Path, expression: str) -> None:
    program = WAITS_FOR_MANY.replace("EXPRESSION", expression)
    argv = [sys.executable, "-c", program, local.url, str(tmp_path / "gate")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    key, newest, said = done.stdout.splitlines()
    opened = {"array": key, "first": f"{key}[0]", "second": f"{key}[1]", "newest": newest}
    expected = {name: f"Cluster({local.url!r}).job({found!r})" for name, found in opened.items()}
    assert said == INTERRUPTED[expression].format(**expected)


def test_ctrl_c_leaves_the_job_running_and_shows_how_to_open_it(local: Cluster, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WAITS, local.url, str(tmp_path / "gate")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        key = client.stdout.readline().strip()
        time.sleep(0.3)
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=60)
    assert client.returncode == -signal.SIGINT
    assert f"KeyboardInterrupt: The job goes on; come back to it with Cluster({local.url!r}).job({key!r})" in errors
    job = local.job(key)
    assert not job.done()
    (tmp_path / "gate").touch()
    assert job.result(60) is None  # type: ignore[union-attr]


def test_unknown_keys_are_refused(local: Cluster) -> None:
    for name in ("square/20200101T000000Z-00000000", "nonsense", "../../etc/passwd", "a/../b"):
        with pytest.raises(NoSuchJob):
            local.job(name)
    done = call(int, 1)
    done.result(60)
    with pytest.raises(NoSuchJob, match="has 1 jobs"):
        local.job(f"{done.key}[7]")


@pytest.mark.slurm
def test_jobs_of_another_scheduler_under_the_same_root_are_read_and_not_listed(
    local: Cluster, slurm_env: SlurmTestbed, root: Path
) -> None:
    far = Cluster("slurm", root=root)
    there, here = call.on(far)(int, 1), call(int, 2)
    refused = call.on(far).with_options(partition="nope")
    with pytest.raises(SubmissionRefused):
        refused(int, 3)
    assert [job.key for job in local.jobs(limit=5)] == [here.key]
    assert [job.key for job in far.jobs(limit=2)][1:] == [there.key]
    found = far.job(here.key)
    assert found.result(60) == 2  # type: ignore[union-attr]


def test_a_result_that_others_can_write_is_not_unpickled(local: Cluster) -> None:
    job = call(int, 1)
    assert job.result(60) == 1
    result = Path(job.directory, "results", "0.pkl")
    result.chmod(0o666)
    again = local.job(job.key)
    with pytest.raises(UntrustedFile, match="chmod go-w"):
        again.result(60)  # type: ignore[union-attr]
    result.chmod(0o600)
    result.write_bytes(result.read_bytes()[:-1])
    with pytest.raises(ProtocolError, match="its size or SHA-256 differs"):
        again.result(60)  # type: ignore[union-attr]


def test_all_errors_about_a_job_name_it_and_its_log(local: Cluster) -> None:
    error = call(os._exit, 1).exception(60)
    assert isinstance(error, JobError)
    assert error.key is not None
    assert error.job_id is not None
    assert error.log is not None
    assert error.log.endswith("logs/0.log")


@pytest.mark.parametrize("damage", [b"", b'{"protocol": 1, "status": "succ', b"[]", b'{"status": "\xff"}', None])
def test_a_damaged_outcome_is_the_error_of_its_call_only(local: Cluster, damage: bytes | None) -> None:
    array = call.starmap([(int, x) for x in range(3)])
    assert array.results(60) == [0, 1, 2]
    outcome = Path(array.directory, "outcomes", "1.json")
    outcome.unlink()
    if damage is None:
        outcome.mkdir(mode=0o700)
    else:
        outcome.touch(mode=0o600)
        outcome.write_bytes(damage)
    again = local.job(array.key)
    assert isinstance(again, JobArray)
    zero, error, two = again.results(60, return_exceptions=True)
    assert (zero, two) == (0, 2)
    assert isinstance(error, TransportError if damage is None else ProtocolError)
    assert "outcomes/1.json" in str(error)
    assert again[0].result(60) == 0
    assert type(again[1].exception(60)) is type(error)
    assert again.states() == {JobState.COMPLETED: 2, JobState.UNKNOWN: 1}
    assert array.key in [job.key for job in local.jobs()]


class Exits:
    """Ends the program that unpickles it, if that lets it."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.kind,)


def _raise(kind: type[BaseException]) -> None:
    raise kind("unpickled")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_result_that_exits_when_unpickled_is_the_futures_error(local: Cluster, kind: type[BaseException]) -> None:
    async def awaited() -> None:
        await job

    with local.executor() as executor:
        future = executor.submit(Exits, kind)
        error = future.exception(timeout=60)
    job = future.job
    assert isinstance(error, ResultNotLoaded)
    assert f"{kind.__name__}: unpickled" in str(error)
    assert isinstance(error.__cause__, kind)
    assert isinstance(job.exception(60), ResultNotLoaded)
    with pytest.raises(ResultNotLoaded):
        asyncio.run(awaited())
    told = threading.Event()
    job.add_done_callback(lambda _: told.set())
    assert told.wait(60)
