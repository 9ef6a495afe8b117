"""The parts of the runner, on real job directories."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Callback, JobContext, current_job
from slurm.callbacks import RunBeginEvent
from slurm.environments.current import TAG
from slurm.errors import UntrustedFile
from slurm.protocol import CALLBACKS, CALLS, FAILED, LOAD, RESOLVE, RUN, SAVE, SUCCEEDED
from slurm.protocol.boot import BOOT
from slurm.runner import argument_loader, job_context, succeeded
from slurm.runner.argument_loader import ArgumentLoader
from slurm.runner.main import main
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.runner.result_saver import ResultSaver
from slurm.serialization.pickling import pickle_callbacks
from slurm.storage.runner_zip import bundle
from unit.job_directories import KEY, Directory, Stand, pickled

if TYPE_CHECKING:
    from collections.abc import Callable

UP = "up/20260101T000000Z-11111111"


@pytest.fixture(autouse=True)
def no_current_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resets the current job: the runner's main function sets it in its process, which is that of the tests."""
    monkeypatch.setattr(job_context, "_current", [])


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Requests a stop, as the handler of the stop signal does; undone afterwards."""
    monkeypatch.setattr(job_context, "_stop", [])
    monkeypatch.setattr(job_context, "_stop_functions", [])
    return lambda: job_context.request_stop("USR1")


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(str(tmp_path / "röot"))


def add(a: int, b: int = 0) -> int:
    return a + b


def upstream(directory: Directory, *values: object) -> Directory:
    """A submission with an outcome for each value: an exception for a failure, ... for no outcome."""
    made = Directory(directory.root, UP).create(pickled(add, *((0,) for _ in values)))
    for index, value in enumerate(values):
        if isinstance(value, BaseException):
            ResultSaver(made.job(index)).failure(RUN, value)
        elif value is not ...:
            ResultSaver(made.job(index)).success(value)
    return made


# ArgumentLoader


def test_the_loader_reads_only_its_own_slice(directory: Directory) -> None:
    def same(value: int) -> int:  # by value, once in the head and once in each call
        return value

    calls = pickled(lambda f, x: same(f(x)), (same, 1), (same, 22), (same, 3))
    directory.create(calls)
    _, first, second, third, end = (
        int.from_bytes(calls.calls.offsets[at : at + 8], "little") for at in range(0, len(calls.calls.offsets), 8)
    )
    garbled = (
        calls.calls.data[:first] + b"\xff" * (second - first) + calls.calls.data[second:third] + b"\xff" * (end - third)
    )
    with open(f"{directory.path}/{CALLS}", "wb") as file:
        file.write(garbled)
    call = ArgumentLoader(directory.path, lambda reference: reference).load(1)
    assert (call.function(*call.args, **call.kwargs), call.context, call.edges) == (22, None, ())
    with pytest.raises(pickle.UnpicklingError):
        ArgumentLoader(directory.path, lambda reference: reference).load(0)


@pytest.mark.parametrize("index", [2, 3, 100])
def test_a_missing_call_is_named(directory: Directory, index: int) -> None:
    directory.create(pickled(add, (1,), (2,)))
    with pytest.raises(IndexError, match=f"has no call {index}"):
        ArgumentLoader(directory.path, lambda reference: reference).load(index)


def test_calls_that_others_can_write_are_not_unpickled(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    os.chmod(f"{directory.path}/{CALLS}", 0o606)  # noqa: S103 - that is the point
    with pytest.raises(UntrustedFile, match=CALLS):
        ArgumentLoader(directory.path, lambda reference: reference).load(0)


@pytest.mark.parametrize(
    ("mode", "same", "searched"),
    [(0o700, False, True), (0o777, False, False), (0o777, True, True)],
    ids=["own", "writable by others", "the one that the client searches"],
)
def test_a_directory_of_the_clients_search_path_must_be_the_same_or_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, same: bool, searched: bool
) -> None:
    place = tmp_path / "code"
    place.mkdir()
    place.chmod(mode)
    for name, value in (("path", ["/usr/lib"]), ("argv", ["runner"])):
        monkeypatch.setattr(sys, name, value)
    monkeypatch.setattr(argument_loader, "received", [])
    inode = place.stat().st_ino
    argument_loader.enter_script(("run.py", "--rate"), ((str(place), inode if same else inode + 1), ("/missing", 1)))
    assert sys.path == ["/usr/lib", *([str(place)] if searched else [])]
    assert sys.argv == ["run.py", "--rate"]


def test_a_pool_of_processes_ends_although_the_task_handles_stop_signals(directory: Directory) -> None:
    """`multiprocessing` ends its workers by SIGTERM, which a task with `retry` or `signal_lead` handles."""

    def sizes(words: list[str]) -> list[int]:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(len, words)

    directory.create(pickled(sizes, (["a", "bc"],)))
    argv = [sys.executable, "-c", BOOT, str(Path(directory.root).parent / "runner.zip"), "slurm.runner.main"]
    Path(argv[3]).write_bytes(bundle().data)
    argv += [directory.root, directory.key, "0", TAG, "1", "0", "1", "USR1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr, directory.result()) == (0, "", [1, 2])


@pytest.mark.parametrize("thread", [False, True], ids=["", "in a thread"])
def test_a_process_that_the_task_forks_has_no_handler_of_stop_signals(*, thread: bool) -> None:
    """A handler in Python waits until a system call of the child is over, and forgets what comes too early."""
    program = f"""
import os, signal, threading, time
from slurm.runner.main import handle_stop_signals

handle_stop_signals("USR1")

def fork():
    for number in (signal.SIGTERM, signal.SIGUSR1) * 20:
        child = os.fork()
        if child == 0:
            os._exit(0 if signal.getsignal(number) is not signal.SIG_DFL else time.sleep(20))
        os.kill(child, number)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -number

    own = lambda *_: None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, own)
        child = os.fork()
        if child == 0:
            os._exit(signal.getsignal(signal.SIGUSR1) is own)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    print("forked")

if {thread}:
    forking = threading.Thread(target=fork)
    forking.start()
    forking.join()
else:
    fork()
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert callable(signal.getsignal(signal.SIGTERM))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("forked\n", "")


# PlaceholderResolver


def test_a_reference_resolves_to_a_result_or_a_list_of_results(directory: Directory) -> None:
    upstream(directory, "zero", "one", "two", "three")
    resolver = PlaceholderResolver(directory.root)
    assert resolver(("job", UP, 1, 1)) == "one"
    assert resolver(("array", UP, (3, -1, -2), 1)) == ["three", "one"]
    assert resolver(("array", UP, (0, 0, 1), 1)) == []


def test_several_references_to_a_result_give_one_object(directory: Directory) -> None:
    upstream(directory, ["shared"])
    resolver = PlaceholderResolver(directory.root)
    assert resolver(("job", UP, 0, 1)) is resolver(("array", UP, (0, 1, 1), 1))[0]


def test_a_failed_dependency_is_named_with_its_error(directory: Directory, capsys: pytest.CaptureFixture[str]) -> None:
    upstream(directory, ValueError("odd"))
    with pytest.raises(UpstreamFailed, match=rf"^{UP}\[0\] failed: ValueError: odd$"):
        PlaceholderResolver(directory.root)(("job", UP, 0, 1))
    assert "ValueError: odd" in capsys.readouterr().err


def test_a_dependency_without_an_outcome_is_awaited_and_then_named(directory: Directory) -> None:
    upstream(directory, ...)
    begin = time.monotonic()
    with pytest.raises(UpstreamFailed, match=rf"^{UP}\[0\] left no outcome"):
        PlaceholderResolver(directory.root, lag=0.2)(("job", UP, 0, 1))
    assert 0.2 <= time.monotonic() - begin < 2


def test_an_outcome_that_becomes_visible_late_is_found(directory: Directory) -> None:
    made = upstream(directory, ...)
    late = threading.Timer(0.1, ResultSaver(made.job()).success, args=("late",))
    late.start()
    assert PlaceholderResolver(directory.root, lag=20)(("job", UP, 0, 1)) == "late"
    late.join()


def test_a_result_that_others_can_write_is_not_unpickled(directory: Directory) -> None:
    made = upstream(directory, "value")
    os.chmod(f"{made.path}/results/0.pkl", 0o606)  # noqa: S103 - that is the point
    with pytest.raises(UpstreamFailed, match=r"can't be loaded: UntrustedFile: .*0\.pkl is writable by other users"):
        PlaceholderResolver(directory.root)(("job", UP, 0, 1))


@pytest.mark.parametrize(
    ("edge", "refusal"),
    [
        ((UP, "success", (0,)), None),
        ((UP, "success", (0, 1)), "failed: ValueError: odd"),
        ((UP, "success", (2,)), "left no outcome"),
        ((UP, "failure", (1,)), None),
        ((UP, "failure", (0, 1)), None),
        ((UP, "failure", (0,)), "succeeded, but this call runs only if it fails"),
        ((UP, "failure", (2,)), None),
        ((UP, "any", (0, 1, 2)), None),
    ],
)
def test_dependencies_of_after_are_checked_against_the_outcomes(
    directory: Directory, edge: tuple[str, str, tuple[int, ...]], refusal: str | None
) -> None:
    upstream(directory, "value", ValueError("odd"), ...)
    resolver = PlaceholderResolver(directory.root, lag=0)
    if refusal is None:
        resolver.check([(*edge, 1)])
    else:
        with pytest.raises(UpstreamFailed, match=refusal):
            resolver.check([(*edge, 1)])


def test_a_truncated_result_is_not_unpickled(directory: Directory) -> None:
    made = upstream(directory, "value")
    with open(f"{made.path}/results/0.pkl", "ab") as file:
        file.truncate(5)
    with pytest.raises(UpstreamFailed, match=rf"{UP}\[0\] can't be loaded: .* but the file has 5"):
        PlaceholderResolver(directory.root)(("job", UP, 0, 1))


# JobContext


def test_the_context_is_read_from_the_schedulers_variables(directory: Directory) -> None:
    environ = {
        "SLURM_JOB_ID": "1237",
        "SLURM_ARRAY_JOB_ID": "1234",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_RESTART_COUNT": "2",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_CPUS_ON_NODE": "8",
        "SLURMD_NODENAME": "n1",
    }
    job = directory.job(3, environ)
    assert (job.job_id, job.index, job.attempt, job.cpus, job.host) == ("1234_3", 3, 3, 4, "n1")
    del environ["SLURM_ARRAY_TASK_ID"], environ["SLURM_CPUS_PER_TASK"]
    job = directory.job(3, environ)
    assert (job.job_id, job.cpus) == ("1237", 8)
    job = directory.job()
    assert (job.job_id, job.attempt, job.cpus, job.host) == (None, 1, 1, os.uname().nodename)


def test_the_context_gives_the_submission_and_an_output_directory(directory: Directory) -> None:
    job = directory.create(pickled(add, (1,), (2,))).job(1)
    assert (job.submission().key, job.submission().count) == (KEY, 2)
    output = job.output_directory()
    assert output == job.output_directory()
    assert (output.is_dir(), output.stat().st_mode & 0o777, output.name) == (True, 0o700, "1")


@pytest.mark.parametrize(("value", "status"), [(3, 0), ("x", 1)])
def test_succeeded_reports_whether_the_outcome_is_a_success(tmp_path: Path, value: object, status: int) -> None:
    directory = Directory(str(tmp_path)).create(pickled(int, (value,)))
    assert succeeded.main([directory.root, directory.key, "0"]) == 1
    main([directory.root, directory.key, "0", TAG])
    assert succeeded.main([directory.root, directory.key, "0"]) == status


def test_a_function_of_on_stop_is_called_once_from_the_signal(directory: Directory, stop: Callable[[], None]) -> None:
    job, called = directory.job(0), list[str]()

    @job.on_stop
    def save() -> None:
        called.append("save")

    assert callable(save)
    assert called == []
    stop()
    stop()
    assert called == ["save"]
    job.on_stop(lambda: called.append("late"))
    assert called == ["save", "late"]


def test_a_function_of_on_stop_may_checkpoint(directory: Directory, stop: Callable[[], None]) -> None:
    job = directory.create(pickled(add, (1, 2))).job(0)
    job.on_stop(lambda: job.checkpoint({"epoch": 3}))
    with pytest.raises(job_context.Stopped):
        stop()
    assert directory.job(0).restored == {"epoch": 3}


def test_a_function_of_on_stop_is_not_called_after_its_call(
    directory: Directory, stop: Callable[[], None], tmp_path: Path
) -> None:
    job = directory.create(pickled(add, (1, 2))).job(0)
    call = ArgumentLoader(directory.path, lambda reference: reference).load(0)
    job.on_stop((tmp_path / "called").touch)
    assert call.make(job) == 3
    job.on_stop((tmp_path / "next").touch)
    stop()
    assert (tmp_path / "next").exists()
    assert not (tmp_path / "called").exists()


def test_outside_of_a_job_there_is_no_current_job() -> None:
    with pytest.raises(RuntimeError, match="call it from a task"):
        current_job()


# CallbackRunner


class Hook(Callback):
    """A callback that raises, or not."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def on_run_begin(self, event: RunBeginEvent) -> None:
        with open(f"{event.directory}/seen", "a") as file:
            print(event.index, event.attempt, file=file)
        if self.error:
            raise self.error


class Hanging(Callback):
    """A callback that never returns."""

    seconds = 0.1

    def on_run_begin(self, event: RunBeginEvent) -> None:
        with contextlib.suppress(Exception):
            time.sleep(100)


class Unlimited(Callback):
    """A callback with an invalid time limit."""

    seconds = None  # type: ignore[assignment]


class NotThere(Callback):
    """A callback that fails to load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("there_is_no_such_module",)


class Forking(Callback):
    """A callback that forks and returns in both processes."""

    def on_run_begin(self, event: RunBeginEvent) -> None:
        if child := os.fork():
            os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_hook_that_raises_exits_hangs_or_forks_is_reported_and_has_no_other_effect(
    directory: Directory, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    directory.create(pickled(add, (1,)))
    callbacks = [NotThere(), Hook(ValueError("odd")), Hook(SystemExit(3)), Hanging(), Forking(), Hook()]
    Path(f"{directory.path}/{CALLBACKS}").write_bytes(pickle_callbacks(callbacks, reducers={}))
    assert main([directory.root, directory.key, "0", TAG, "1", "0", "1", CALLBACKS]) == 0
    assert Path(f"{directory.path}/seen").read_text() == "0 1\n" * 3
    told = [json.loads(line) for line in Path(f"{directory.path}/events/0.jsonl").read_text().splitlines()]
    assert [(line["event"], line["callback"], line["hook"], line["error"]) for line in told] == [
        ("hook", "NotThere", "load", "ModuleNotFoundError: No module named 'there_is_no_such_module'"),
        ("hook", "Hook", "on_run_begin", "ValueError: odd"),
        ("hook", "Hook", "on_run_begin", "SystemExit: 3"),
        ("hook", "Hanging", "on_run_begin", "HookTimedOut: it took longer than 0.1 s"),
    ]
    assert "ValueError: odd" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGALRM) == handler
    assert directory.result() == 1


def test_a_hook_with_an_invalid_time_limit_is_reported_and_has_no_other_effect(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    Path(f"{directory.path}/{CALLBACKS}").write_bytes(pickle_callbacks([Unlimited()], reducers={}))
    assert main([directory.root, directory.key, "0", TAG, "1", "0", "1", CALLBACKS]) == 0
    told = [json.loads(line) for line in Path(f"{directory.path}/events/0.jsonl").read_text().splitlines()]
    assert [line["hook"] for line in told] == ["on_run_begin", "on_run_end", "on_completed"]
    assert directory.result() == 1


# ResultSaver


@pytest.mark.parametrize("value", [None, {"a": [1, 2]}, "é" * 100_000, bytearray(b"x" * 200_000)], ids=type)
def test_a_result_is_complete_once_its_outcome_exists(directory: Directory, value: Any) -> None:
    directory.create(pickled(add, (1,)))
    outcome = ResultSaver(directory.job()).success(value)
    assert (outcome.status, outcome.exit_code) == (SUCCEEDED, 0)
    assert directory.outcome() == outcome
    assert directory.result() == value
    assert directory.left == (["0.json"], ["0.pkl"])


def test_a_result_of_a_class_that_cannot_be_imported_is_pickled_by_value(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    loose = types.ModuleType("__main__")
    exec("class Point:\n    def __init__(self, x): self.x = x\n    def double(self): return 2 * self.x", loose.__dict__)  # noqa: S102
    outcome = ResultSaver(directory.job()).success([b"x" * 200_000, loose.Point(21)])
    assert directory.result()[-1].double() == 42
    assert outcome.result is not None
    assert os.path.getsize(f"{directory.path}/results/0.pkl") == outcome.result.bytes


def test_a_value_that_cannot_be_pickled_leaves_no_file(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    with pytest.raises(TypeError, match="cannot pickle"):
        ResultSaver(directory.job()).success([b"x" * 100_000, threading.Lock()])
    assert directory.left == ([], [])


def test_a_full_disk_leaves_no_file(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    directory.create(pickled(add, (1,)))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ResultSaver(directory.job()).success("value")
    assert directory.left == ([], [])


def test_a_result_of_an_earlier_attempt_without_an_outcome_is_kept(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    left = f"{directory.path}/results/0.pkl"
    with open(left, "wb") as file:
        file.write(b"of an attempt that died")
    outcome = ResultSaver(directory.job()).success("second")
    assert outcome.result is not None
    assert outcome.result.file != "0.pkl"
    assert directory.result() == "second"
    with open(left, "rb") as file:
        assert file.read() == b"of an attempt that died"


def test_the_first_outcome_is_the_outcome_of_all_attempts(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    first, second = ResultSaver(directory.job()), ResultSaver(directory.job(0, {"SLURM_RESTART_COUNT": "1"}))
    assert (first.earlier(), second.earlier()) == (None, None)
    committed = first.success("first")
    assert second.failure(RUN, ValueError("too late")) == committed
    assert second.success("too late") == committed == second.earlier()
    assert directory.result() == "first"


class Locked(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.lock = threading.Lock()


class Huge(Exception):
    """An exception that is too large for an outcome."""

    def __init__(self, words: str = "huge") -> None:
        super().__init__(words)
        self.data = b"x" * (2 << 20)


class Mute(Exception):
    """An exception whose text raises another one."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [Locked("odd"), Huge()], ids=lambda error: type(error).__name__)
def test_an_exception_that_cannot_be_unpickled_is_kept_as_text(
    directory: Directory, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    directory.create(pickled(add, (1,)))
    ResultSaver(directory.job()).failure(RUN, error)
    record = directory.outcome().error
    assert record is not None
    assert (record.type, record.message, record.pickle) == (
        f"{__name__}.{type(error).__name__}",
        str(error),
        None,
    )
    assert record.traceback == capsys.readouterr().err
    assert f"{type(error).__name__}: {error}" in record.traceback


def test_an_exception_whose_str_fails_has_an_outcome(directory: Directory) -> None:
    directory.create(pickled(add, (1,)))
    assert ResultSaver(directory.job()).failure(RUN, Mute()).status == FAILED


# main


@dataclass
class Node:
    """Acts as a node in this process."""

    directory: Directory

    def run(self, function: Callable[..., Any], *args: Any, tag: str = TAG, **how: Any) -> int:
        """Submit one call and run it; returns the exit status."""
        self.directory.create(pickled(function, args, **how))
        return self.again(tag=tag)

    def again(self, *, tag: str = TAG) -> int:
        return main([self.directory.root, self.directory.key, "0", tag])

    @property
    def failure(self) -> tuple[str, str]:
        """The phase and the message of the failure."""
        outcome = self.directory.outcome()
        assert outcome.status == FAILED
        assert outcome.error is not None
        return outcome.phase, outcome.error.message


@pytest.fixture
def node(directory: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Node:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return Node(directory)


def raises(error: BaseException) -> None:
    raise error


def test_a_call_that_returns_succeeds_with_status_0(node: Node) -> None:
    assert node.run(add, 1, kwargs={"b": 41}) == 0
    assert (node.directory.outcome().status, node.directory.result()) == (SUCCEEDED, 42)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("odd"), 1),
        (KeyboardInterrupt(), 1),
        (SystemExit(3), 3),
        (SystemExit(0), 1),
        (SystemExit(None), 1),
        (SystemExit("words"), 1),
        (SystemExit(256), 1),
    ],
    ids=repr,
)
def test_a_call_that_raises_fails_with_a_status_that_is_not_0(node: Node, error: BaseException, status: int) -> None:
    assert node.run(raises, error) == status
    outcome = node.directory.outcome()
    assert (outcome.status, outcome.phase, outcome.exit_code) == (FAILED, RUN, status)
    assert outcome.error is not None
    assert outcome.error.type == type(error).__name__


def test_the_traceback_begins_with_the_task(node: Node) -> None:
    node.run(raises, ValueError("odd"))
    error = node.directory.outcome().error
    assert error is not None
    assert error.traceback.count("File ") == 1
    assert "in raises\n" in error.traceback


def test_calls_of_another_python_are_not_unpickled(node: Node) -> None:
    assert node.run(add, 1, tag="3.99") == 1
    phase, message = node.failure
    assert (phase, "3.99" in message, TAG in message) == (LOAD, True, True)


def test_a_missing_function_fails_to_load(node: Node) -> None:
    module = types.ModuleType("slurm.not_on_the_node")  # its functions are pickled by reference
    exec("def away(): pass", module.__dict__)  # noqa: S102
    sys.modules[module.__name__] = module
    node.directory.create(pickled(module.away, ()))
    del sys.modules[module.__name__]
    assert node.again() == 1
    assert node.failure == (LOAD, "No module named 'slurm.not_on_the_node'")


def test_a_failed_dependency_fails_in_the_resolve_phase(node: Node) -> None:
    upstream(node.directory, ValueError("odd"), 20)
    assert node.run(add, Stand(UP, 0)) == 1
    assert node.failure == (RESOLVE, f"{UP}[0] failed: ValueError: odd")


def test_an_unmet_dependency_fails_in_the_resolve_phase(node: Node) -> None:
    upstream(node.directory, 20)
    assert node.run(add, 1, edges=((UP, "failure", (0,)),)) == 1
    assert node.failure[0] == RESOLVE


def test_a_placeholder_is_replaced_by_the_result(node: Node) -> None:
    upstream(node.directory, 20, 22)
    assert node.run(lambda first, others: first + sum(others["all"]), Stand(UP, 0), {"all": Stand(UP, (0, 2, 1))}) == 0
    assert node.directory.result() == 62


def test_a_result_that_cannot_be_saved_fails_in_the_save_phase(node: Node) -> None:
    assert node.run(threading.Lock) == 1
    phase, message = node.failure
    assert (phase, message) == (SAVE, "cannot pickle '_thread.lock' object")


def test_a_requeued_attempt_of_a_finished_element_runs_nothing(node: Node, tmp_path: Path) -> None:
    def once(path: str) -> None:
        with open(path, "a") as file:
            file.write("ran")
        sys.exit(5)

    ran = tmp_path / "ran"
    assert node.run(once, str(ran)) == 5
    assert node.again() == 5
    assert ran.read_text() == "ran"
    assert node.directory.outcome().exit_code == 5


def test_the_context_is_injected_and_current(node: Node) -> None:
    def whose(first: int, ctx: JobContext) -> tuple[int, str, bool]:
        return first, ctx.key, current_job() == ctx

    assert node.run(whose, 1, context=("ctx", None)) == 0
    assert node.directory.result() == (1, KEY, True)
