"""The local scheduler: one supervisor runs all of a user's submissions; jobs survive if it is killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster, Job, JobState, task
from slurm.cli.main import slurm
from slurm.clusters.arguments import warn_on_a_login_node
from slurm.errors import JobCancelled
from slurm.protocol import Origin
from slurm.schedulers.base import Site, Target, ranges
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.local_queue import client, commands, identity, notes, wire
from slurm.schedulers.local_queue.messages import Accepted, Comments, Listing, Query, States, Submission
from slurm.schedulers.local_queue.processes import Process
from supervisors import supervisor_of
from waiting import until


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate supervisor's directory."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-local-"))
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(directory))
    monkeypatch.setenv("SLURMTASKS_LOCAL_CPUS", "2")
    yield directory
    client.stop()
    shutil.rmtree(directory, ignore_errors=True)  # the supervisor removes its socket at the same time


def _supervisor(machine: Path) -> int:
    holder = supervisor_of(machine)
    assert holder is not None
    return holder


def test_cpu_limit_holds_over_all_submissions(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def count_me(cpus: int) -> int:
        mine = tmp_path / f"{cpus}-{os.getpid()}"
        mine.touch()
        time.sleep(0.3)
        used = sum(int(path.name.partition("-")[0]) for path in tmp_path.glob("*-*"))
        mine.unlink()
        return used

    with Cluster("local", root=root):
        arrays = [count_me.map([1] * 3), count_me.with_options(cpus_per_task=2).map([2] * 2), count_me.map([1] * 3)]
        greedy = count_me.with_options(cpus_per_task=64)(2)  # more than the machine has: it gets all of them
    assert max(used for array in arrays for used in array.results(60)) <= 2
    assert greedy.result(60) == 2


def test_jobs_that_wait_say_why(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def wait(x: int) -> int:
        while not (tmp_path / "end").exists():
            time.sleep(0.02)
        return x

    def reasons(*jobs: Job[int]) -> list[str | None]:
        return [job.status().reason for job in jobs]

    with Cluster("local", root=root) as cluster:
        running = wait.with_options(max_concurrent=1).map(range(2))
        until(lambda: running[0].status().state is JobState.RUNNING)
        wide = wait.with_options(cpus_per_task=2)(2)
        behind = wait(3)
        after = wait.after(behind)(4)
        assert reasons(running[1], wide, behind, after) == ["JobArrayTaskLimit", "Resources", "Priority", "Dependency"]
        assert wide.status().explanation == "it waits for free processors"
        shown = CliRunner().invoke(slurm, ["show", wide.key, "--on", str(cluster.url)]).output
        assert "Resources" in shown
        assert "it waits for free processors" in shown
        (tmp_path / "end").touch()
        assert [*running.results(60), *(job.result(60) for job in (wide, behind, after))] == [0, 1, 2, 3, 4]


def test_the_log_of_the_supervisor_stays_small(machine: Path, root: Path) -> None:
    with Cluster("local", root=root) as cluster:
        assert task(abs)(-1).result(60) == 1
        client.stop()
        (log,) = machine.rglob("supervisor.log")
        log.write_text("x" * 1_000_001)
        assert task(abs).on(cluster)(-2).result(60) == 2
    assert log.stat().st_size < 1_000_000
    assert log.with_name("supervisor.log.1").stat().st_size == 1_000_001


def test_wide_job_is_not_starved_by_later_submissions(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def stamp(seconds: float) -> float:
        begun = time.monotonic()
        time.sleep(seconds)
        return begun

    with Cluster("local", root=root):
        stamp(0.5)
        wide = stamp.with_options(cpus_per_task=2)(0)
        later = stamp.map([0.0] * 4)
    assert wide.result(60) < min(later.results(60))


def test_jobs_outlive_their_supervisor_and_are_recovered(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def wait_for(name: str) -> None:
        end = time.monotonic() + 300
        while not (tmp_path / name).exists() and time.monotonic() < end:
            time.sleep(0.05)

    with Cluster("local", root=root):
        first, second = wait_for("gate"), wait_for("never")
    until(lambda: first.running() and second.running())
    os.kill(_supervisor(machine), signal.SIGKILL)
    assert {first.status().state, second.status().state} == {JobState.RUNNING}
    (tmp_path / "gate").touch()
    assert first.result(200) is None
    assert second.cancel()
    with pytest.raises(JobCancelled):
        second.result(200)


def test_programs_that_start_together_share_one_supervisor(machine: Path, root: Path) -> None:
    program = "import sys; from slurm import Cluster, task\n"
    program += "with Cluster('local', root=sys.argv[1]): print(task(abs)(-1).result(60))"
    clients = [
        subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    assert [client.communicate(timeout=60)[0] for client in clients] == ["1\n"] * 5


def test_directory_writable_by_others_is_refused(machine: Path) -> None:
    directory = machine / wire.FORM
    directory.mkdir(mode=0o777, exist_ok=True)
    directory.chmod(0o777)
    with pytest.raises(PermissionError, match=r"is writable by other users .* chmod go-w"):
        wire.directory()
    directory.chmod(0o700)


class Script:
    """Bash scripts, submitted to the local scheduler without the rest of the library."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def request(self, body: str, tasks: str = "0", *, log: str = "", **options: str) -> Submission:
        path = self.directory / f"{time.monotonic_ns()}.sh"
        path.write_text(body)
        output = log or str(self.directory / f"{path.stem}.%a.log")
        return commands.submission(str(path), [], {"array": tasks, "output": output, **options})

    def submit(self, body: str, tasks: str = "0", *, log: str = "", **options: str) -> str:
        return client.ask(self.request(body, tasks, log=log, **options), Accepted).id


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def _states(id_: str) -> dict[str, str]:
    """States by tasks in Slurm's short form."""
    return {tasks: state for _, tasks, state, _ in client.ask(Query([id_]), States).rows}


def _reason(id_: str) -> str:
    ((_, _, _, reason),) = client.ask(Query([id_]), States).rows
    return reason


def _ended(id_: str) -> bool:
    return not {"PENDING", "RUNNING"} & set(_states(id_).values())


def _kill_supervisor(machine: Path) -> None:
    os.kill(_supervisor(machine), signal.SIGKILL)


def _remove(directory: Path) -> None:
    """Remove the directory of a supervisor that removes files in it at the same time."""

    def removed() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    until(removed)


def _notes(machine: Path) -> list[notes.Note]:
    paths = (machine / wire.FORM / "running").glob("[0-9]*_[0-9]")
    return [note for path in paths if (note := notes.read(str(path)))]


def test_pending_jobs_survive_a_killed_supervisor(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def mark(name: int) -> int:
        with open(tmp_path / f"ran-{name}", "a") as file:
            file.write("x")
        time.sleep(1)
        return name

    with Cluster("local", root=root):
        first = mark.with_options(max_concurrent=1, comment="mine").map(range(4))
        after = mark.after(*first)(99)
        until((tmp_path / "ran-0").exists)
        _kill_supervisor(machine)
        assert {job.status().state for job in (*first[2:], after)} == {JobState.PENDING}
        assert after.status().reason == "Dependency"
        assert next(iter(client.ask(Listing(), Comments).comments.values())).endswith(" mine")
    assert first.results(60) == list(range(4))
    assert after.result(60) == 99
    assert {path.name: path.read_text() for path in tmp_path.glob("ran-*")} == {
        f"ran-{n}": "x" for n in (*range(4), 99)
    }


def test_pending_elements_start_after_a_killed_supervisor_without_a_client(machine: Path, script: Script) -> None:
    body = f"touch '{script.directory}'/ran-$SLURM_ARRAY_TASK_ID; sleep 0.5"
    script.submit(body, "0-4")
    until((script.directory / "ran-0").exists)
    _kill_supervisor(machine)
    until((script.directory / "ran-4").exists)


def test_held_elements_stay_held_after_a_killed_supervisor(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def touch(n: int) -> int:
        (tmp_path / f"ran-{n}").touch()
        while n == 0 and not (tmp_path / "gate").exists():
            time.sleep(0.05)
        return n

    with Cluster("local", root=root) as cluster:
        array = touch.with_options(max_concurrent=1).map(range(4))
        until((tmp_path / "ran-0").exists)
        client, id_ = cluster.place.queue.client, str(array[0].job_id).partition("_")[0]
        client.hold([Target(id_, [1, 3], array.key)])
        _kill_supervisor(machine)
        (tmp_path / "gate").touch()
        assert array[2].result(60) == 2
        assert [array[n].status().state for n in (1, 3)] == [JobState.PENDING] * 2
        client.hold([Target(id_, None, array.key)], release=True)
        assert array.results(60) == list(range(4))


@pytest.mark.parametrize("monitors_too", [False, True])
def test_each_element_runs_once_if_supervisors_are_killed_repeatedly(
    machine: Path, script: Script, monitors_too: bool
) -> None:
    """Kills at random moments, also while it starts an element or stores a final state; also with all monitors."""
    chance = random.Random(0)  # noqa: S311 - moments
    ran = script.directory / "ran"
    ran.mkdir()
    body = f'echo x >> "{ran}/$SLURM_ARRAY_TASK_ID"; sleep 0.0$((RANDOM % 9)); exit $((SLURM_ARRAY_TASK_ID % 2))'
    id_ = script.submit(body, "0-299")
    last = script.submit("exit 0", afterany=id_)
    kills = 0
    while not _ended(last):
        time.sleep(chance.uniform(0, 0.15))
        holder = supervisor_of(machine)
        victims = [holder] if holder else []
        victims += [note.monitor.pid for note in _notes(machine) if note.monitor.alive] if monitors_too else []
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        kills += bool(victims)
    assert kills > 10
    assert {path.name: path.read_text() for path in ran.iterdir()} == {str(n): "x\n" for n in range(300)}
    states = _states(id_)
    if not monitors_too:  # else some exit statuses are unknown
        ended = {"COMPLETED": range(0, 300, 2), "FAILED": range(1, 300, 2)}
        assert states == {ranges(tasks): state for state, tasks in ended.items()}
    assert set(states.values()) <= {"COMPLETED", "FAILED"}
    assert not list((machine / wire.FORM / "running").glob("[0-9]*_[0-9]"))


def test_elements_of_a_killed_supervisor_keep_status_signal_limit_and_cpus(machine: Path, script: Script) -> None:
    mark = script.directory / "warned"
    fails = script.submit("sleep 0.5; exit 3")
    limited = script.submit(
        f"trap 'touch \"{mark}\"' USR1; while true; do sleep 0.1; done", time="0:03", signal="B:USR1@2"
    )
    after = script.submit("exit 0", afternotok=fails)
    full = script.submit("exit 0", **{"cpus-per-task": "2"})
    until(lambda: _states(limited) == {"0": "RUNNING"})
    _kill_supervisor(machine)
    until(lambda: _ended(fails))
    assert _states(fails) == {"0": "FAILED"}
    assert _states(full) == {"0": "PENDING"}  # the other CPU is in use
    until(lambda: _ended(limited))
    assert _states(limited) == {"0": "TIMEOUT"}
    assert mark.exists()
    until(lambda: _ended(full))
    assert (_states(after), _states(full)) == ({"0": "COMPLETED"}, {"0": "COMPLETED"})


def test_script_gets_a_new_monitor_if_its_monitor_is_killed(machine: Path, script: Script) -> None:
    limited = script.submit("trap '' TERM; sleep 60", time="0:02")
    other = script.submit("sleep 60")
    until(lambda: [note.script is not None for note in _notes(machine)] == [True, True])
    before = _notes(machine)
    for note in before:
        os.kill(note.monitor.pid, signal.SIGKILL)
    until(lambda: not {note.monitor for note in _notes(machine)} & {note.monitor for note in before})
    assert (_states(limited), _states(other)) == ({"0": "RUNNING"}, {"0": "RUNNING"})
    assert commands.main(["cancel", other]) == 0
    until(lambda: _ended(limited) and _ended(other))
    assert (_states(limited), _states(other)) == ({"0": "TIMEOUT"}, {"0": "CANCELLED"})
    assert not any(note.script and note.script.alive for note in before)


def test_element_that_cannot_be_started_fails_alone(machine: Path, script: Script) -> None:
    good = script.submit("exit 0", "0-3")
    no_log = script.submit("exit 0", log="/no/such/directory/%a.log")
    no_script = script.request("exit 0")
    Path(no_script.script).unlink()
    too_long = script.request("exit 0")._replace(environ={"PATH": os.environ["PATH"], "A": "x" * 300_000})
    not_passable = script.request("exit 0")._replace(environ={"PATH": os.environ["PATH"], "A": "a\0b"})
    no_bash = script.request("exit 0")._replace(environ={"PATH": "/nowhere"})
    bad = [client.ask(request, Accepted).id for request in (no_script, too_long, not_passable, no_bash)]
    later = script.submit("exit 0", "0-3")
    until(lambda: all(map(_ended, (good, no_log, *bad, later))))
    assert (_states(good), _states(later)) == ({"0-3": "COMPLETED"}, {"0-3": "COMPLETED"})
    assert all(_states(id_) == {"0": "FAILED"} for id_ in (no_log, *bad))
    assert "No such file or directory: '/no/such/directory/0.log'" in _reason(no_log)
    assert "Argument list too long" in _reason(bad[1])
    assert "embedded null byte" in _reason(bad[2])
    assert "bash was not found in PATH=/nowhere" in _reason(bad[3])


def test_submit_command_rejects_invalid_options_with_a_message(
    machine: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script.directory / "s.sh"
    path.write_text("#!/bin/bash\n#SBATCH --array=0 --output=/dev/null\n#SBATCH --signal=FOO@30\n")
    assert commands.main(["submit", str(path)]) == 1
    assert "the local scheduler refuses: --signal=FOO@30: expected a signal" in capsys.readouterr().err
    assert commands.main(["submit", str(path), "--signal=USR1", "--time=soon"]) == 1
    path.write_text('#SBATCH --comment="never closed\n')
    assert commands.main(["submit", str(path), "--array=0", "--output=/dev/null"]) == 1
    assert commands.main(["submit", str(script.directory), "--array=0", "--output=/dev/null"]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_frozen_supervisor_is_no_refusal_and_drops_requests_of_disconnected_clients(
    machine: Path, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = script.submit("exit 0")
    pid = _supervisor(machine)
    os.kill(pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(client, "ANSWER_SECONDS", 0.5)
            assert commands.main(["query", first]) == 75
            with pytest.raises(client.NoAnswer):
                script.submit("exit 0", comment="late")
    finally:
        os.kill(pid, signal.SIGCONT)
    words = capsys.readouterr().err
    assert "no answer from the local scheduler within" in words
    assert LocalScheduler(Site("", "")).is_transient(words)
    assert list(client.ask(Listing(), Comments).comments) == [first]


def test_supervisor_rejects_requests_that_would_break_it(machine: Path, script: Script) -> None:
    good = script.submit("sleep 0.3; exit 0")
    pid = _supervisor(machine)
    for changes in ({"tasks": "0-999999999"}, {"dependencies": {"afterok": ["1_x"]}}, {"seconds": 10**400}):
        with pytest.raises(client.RequestRefused, match=r"expected|out of range"):
            client.ask(script.request("exit 0")._replace(**changes), Accepted)
    until(lambda: _ended(good))
    assert (_states(good), _supervisor(machine)) == ({"0": "COMPLETED"}, pid)


def test_supervisor_exits_if_its_directory_is_removed_and_elements_finish(machine: Path, script: Script) -> None:
    gate, mark, begun = (script.directory / name for name in ("gate", "mark", "begun"))
    script.submit(f"touch '{begun}'; until [ -e '{gate}' ]; do sleep 0.1; done; touch '{mark}'", "0-9")
    pid = _supervisor(machine)
    until(lambda: begun.exists() and len(_notes(machine)) == 2)
    _remove(machine / wire.FORM)
    until(lambda: not Process.of(pid).alive)
    gate.touch()
    until(mark.exists)


def test_repeated_request_queues_nothing_twice(machine: Path, script: Script) -> None:
    request = script.request("exit 0")
    id_ = client.ask(request, Accepted).id
    _kill_supervisor(machine)
    assert client.ask(request, Accepted).id == id_
    assert list(client.ask(Listing(), Comments).comments) == [id_]


def test_environment_is_in_a_private_file_until_the_job_finishes(
    machine: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    id_ = script.submit("sleep 0.5")

    def holders() -> list[Path]:
        return [path for path in machine.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]

    (path,) = holders()
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(parent.stat().st_mode & 0o777 == 0o700 for parent in path.parents if machine in parent.parents)
    until(lambda: _ended(id_))
    assert holders() == []


def test_ids_continue_and_pending_jobs_are_lost_after_a_restart_of_the_machine(machine: Path, script: Script) -> None:
    held = script.submit("sleep 60", "0-4")
    until(lambda: len(_notes(machine)) == 2)
    before = _notes(machine)
    _kill_supervisor(machine)
    (machine / wire.FORM / "boot").write_text("another boot")  # as a restart would leave it
    name = (machine / wire.FORM / "name").read_text()
    later = script.submit("exit 0")
    assert int(later) > int(held)
    assert _states(held) == {}
    until(lambda: _ended(later))
    assert (machine / wire.FORM / "name").read_text() == name
    for note in before:  # unlike after a restart, they are still running
        os.kill(note.monitor.pid, signal.SIGTERM)


def test_limits_command_and_supervisor_agree_on_the_identity(machine: Path, script: Script) -> None:
    def query() -> Origin | None:
        scheduler = LocalScheduler(Site("", ""))
        done = subprocess.run(scheduler.limits_command(), capture_output=True, text=True, check=True)
        return scheduler.parse_origin(done.stdout)

    first = query()
    assert first is not None
    assert (first.boot, first.host) == (identity.boot_id(), os.uname().nodename)
    id_ = script.submit("exit 0")
    until(lambda: _ended(id_))
    assert query() == first
    os.kill(_supervisor(machine), signal.SIGKILL)
    _remove(machine / wire.FORM)
    again = query()
    assert again is not None
    assert again.cluster != first.cluster


def test_many_clients_are_served_despite_silent_ones(machine: Path, script: Script) -> None:
    script.submit("exit 0")
    silent = []
    for _ in range(40):
        silent.append(socket.socket(socket.AF_UNIX))
        silent[-1].connect(str(machine / wire.FORM / "socket"))
        silent[-1].send(b'{"mess')
    requests = [script.request("exit 0") for _ in range(100)]
    with ThreadPoolExecutor(100) as pool:
        ids = list(pool.map(lambda request: client.ask(request, Accepted).id, requests))
    assert len(set(ids)) == 100
    for one in silent:
        one.close()


@pytest.mark.parametrize("where", ["login node", "laptop", "within a job"])
def test_default_cluster_on_a_login_node_warns_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """PATH has all programs except Slurm's. The `sbatch` is a fake that is never run."""
    programs = tmp_path / "bin"
    programs.mkdir()
    found = (program for place in ("/usr/bin", "/bin") for program in Path(place).iterdir())
    for name, program in {program.name: program for program in found if program.name != "sbatch"}.items():
        (programs / name).symlink_to(program)
    if where != "laptop":
        (programs / "sbatch").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if where == "within a job":
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    warn_on_a_login_node.cache_clear()
    size = task(len)
    jobs = [size.on(Cluster("local", root=root))("a")]
    assert caplog.messages == []
    jobs += [size.on(bare)("bc") for bare in (Cluster(root=root), Cluster(root=root))]
    warned = [(record.name.partition(".")[0], record.levelname) for record in caplog.records]
    assert warned == ([("slurm", "WARNING")] if where == "login node" else [])
    assert [job.result(60) for job in jobs] == [1, 2, 2]
