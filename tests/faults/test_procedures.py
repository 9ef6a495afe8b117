"""Procedures whose scripts, clients and processes do the worst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm import Cluster
from slurm.environments.current import TAG
from slurm.procedures import CommandRefused, Procedure, Script, ScriptExecutionService
from slurm.protocol.boot import BOOT
from slurm.protocol.outcomes import Outcome
from slurm.protocol.procedures import Plan, ScriptRecord
from slurm.runner.procedures.parent import procedure as serve
from slurm.storage.runner_zip import bundle
from testbed.caches import cannot_mount, missing_caches
from testbed.slurm import SlurmTestbed
from unit.job_directories import Directory, pickled
from waiting import alive, until

SCRIPT = """
import os, re, subprocess, sys, threading, time
from pathlib import Path
from slurm.procedures import procedure

def compute(path):
    Path(path).touch()
    re.match("(a+)+$", "a" * 64 + "b")  # takes years in C, and no other thread runs meanwhile

class Slow:
    def __init__(self, path):
        self.path = path

    def __del__(self):
        Path(self.path).touch()
        while True:
            time.sleep(0.01)

def end_in_del(path):
    Slow(path)

def leave_a_thread():
    threading.Thread(target=time.sleep, args=(300,)).start()

def leave_a_process(path):
    other = subprocess.Popen(["sleep", "300"], start_new_session=True)
    Path(path).write_text(f"{other.pid}")

def read(path, pid):
    Path(pid + ".new").write_text(f"{os.getpid()}")
    os.rename(pid + ".new", pid)
    Path(path).read_bytes()

def rest(path):
    Path(path).touch()
    procedure.sleep(300)

main = leave_a_thread
"""


_CPUS = 8
"""Of the two nodes of the shared cluster."""


@pytest.fixture
def service(local: Cluster) -> Iterator[ScriptExecutionService]:
    """A service whose procedures end with the test."""
    assert local.place.url.root is not None
    found = ScriptExecutionService(local.place.url.root, options={"time": "10"}, grace=0.5, exclusive="slot")
    yield found
    for procedure in found.procedures():
        procedure.stop()


def started(service: ScriptExecutionService, function: str, path: Path) -> Procedure:
    """A procedure that runs a function, which has made a file."""
    procedure = service.prepare(Script.text(SCRIPT))
    procedure.wait("READY", 60)
    procedure.start(function, str(path))
    until(path.exists)
    return procedure


def events(procedure: Procedure, kind: str) -> list[dict[str, object]]:
    """The events of a kind."""
    return [dict(event) for event in procedure.events() if event["event"] == kind]


@pytest.mark.parametrize("function", ["compute", "end_in_del"])
def test_a_script_that_hears_no_signal_is_stopped_and_its_messages_are_taken(
    service: ScriptExecutionService, tmp_path: Path, function: str
) -> None:
    procedure = started(service, function, tmp_path / "began")
    procedure.send("hello")
    until(lambda: events(procedure, "message"))
    assert procedure.stop() == "STOPPED"


def test_a_thread_and_a_process_that_a_script_leaves_end_with_it(
    service: ScriptExecutionService, tmp_path: Path
) -> None:
    procedure = service.prepare(Script.text(SCRIPT))
    procedure.wait("READY", 60)
    procedure.run("leave_a_process", str(tmp_path / "pid"))
    procedure.start("main")
    assert procedure.wait(None, 60) == "COMPLETE"
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_stop_of_one_procedure_leaves_others_running(local: Cluster, tmp_path: Path) -> None:
    service = ScriptExecutionService(local.place.url.root, options={"time": "10"})
    one, other = (started(service, "rest", tmp_path / name) for name in ("one", "other"))
    assert one.stop() == "STOPPED"
    assert other.state == "RUNNING"
    assert other.stop() == "STOPPED"


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A mounted file system with a file, and the process that serves it: while that is frozen, readers hang."""
    server = Path("/usr/lib/openssh/sftp-server")
    if reason := cannot_mount() or missing_caches() or (None if server.exists() else f"there is no {server}"):
        pytest.skip(reason)
    far, here, number, wrapper = (tmp_path / name for name in ("far", "here", "number", "wrapper"))
    for directory in (far, here):
        directory.mkdir()
    (far / "file").write_text("text")
    wrapper.write_text(f"#!/bin/sh\necho $$ > {number}\nexec {server}\n")
    wrapper.chmod(0o755)
    subprocess.run(["sshfs", "-o", f"ssh_command={wrapper}", f"x:{far}", here], check=True)
    pid = int(number.read_text())
    yield here / "file", pid
    os.kill(pid, signal.SIGCONT)
    subprocess.run(["umount", "--lazy", here], check=True)


def test_processes_that_cannot_be_killed_make_the_state_unknown(
    service: ScriptExecutionService, tmp_path: Path, hanging: tuple[Path, int]
) -> None:
    """A process waits in the kernel for a file system whose program is frozen."""
    file, server = hanging
    procedure = service.prepare(Script.text(SCRIPT))
    procedure.wait("READY", 60)
    os.kill(server, signal.SIGSTOP)
    procedure.start("read", str(file), str(tmp_path / "pid"))
    until((tmp_path / "pid").exists)
    assert procedure.stop() == "UNKNOWN"
    assert not procedure.job.done()
    [unknown] = [event for event in events(procedure, "state") if event["state"] == "UNKNOWN"]
    assert unknown["pids"] == [int((tmp_path / "pid").read_text())]
    os.kill(server, signal.SIGCONT)
    assert procedure.wait(None, 60) == "STOPPED"


def test_a_slot_whose_holder_was_lost_with_its_node_is_kept(service: ScriptExecutionService, tmp_path: Path) -> None:
    first = started(service, "rest", tmp_path / "began")
    second = service.prepare(Script.text(SCRIPT))
    second.wait("READY", 60)
    lost = Outcome(status="failed", phase="process", exit_code=1, state="NODE_FAIL")
    assert first._place.store.commit(first.key, "outcomes", {"0.json": lost.dumps()})  # as a client that learns it
    with pytest.raises(CommandRefused, match=f"the slot 'slot' is held by {first.key}"):
        second.start("rest", str(tmp_path / "second"))
    assert service.release("slot") == first.key
    second.start("rest", str(tmp_path / "second"))
    pid = next(event["pid"] for event in first.events() if event.get("pid"))
    os.kill(pid, signal.SIGKILL)


def test_eight_releases_of_one_slot_free_it_once(service: ScriptExecutionService, tmp_path: Path) -> None:
    """Later records would free the slot for a procedure that has taken it meanwhile."""
    holder = started(service, "rest", tmp_path / "began")

    def release(_: int) -> str | None:
        try:
            return service.release("slot")
        except CommandRefused:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(filter(None, pool.map(release, range(8)))) == [holder.key]
    records = Path(service.cluster.place.store.root, "slots", "slot")
    assert sorted(path.name for path in records.glob("*.json")) == ["1.json", "2.json"]


def test_the_abort_script_of_a_procedure_that_was_killed_is_started_by_who_sees_it(
    local: Cluster, tmp_path: Path
) -> None:
    abort = Script.text("def main(): pass", name="abort.py")
    for on, state in ((("stop", "failure"), "COMPLETE"), (("stop",), "STOPPED")):
        service = ScriptExecutionService(on=local, options={"time": "10"}, abort=abort, abort_on=on)
        procedure = started(service, "rest", tmp_path / state)
        aborting = procedure.abort
        assert aborting is not None
        aborting.wait("READY", 60)
        os.kill(next(event["pid"] for event in procedure.events() if event.get("pid")), signal.SIGKILL)
        assert procedure.wait(None, 60) == "FAILED"
        assert aborting.wait(None, 60) == state


@pytest.mark.slurm
def test_an_abort_script_runs_on_a_cluster_that_is_full(slurm_env: SlurmTestbed, tmp_path: Path) -> None:
    """What is prepared only now waits; the abort script has its place since the start."""
    rest = Script.text(f"from pathlib import Path\ndef main(): Path({str(tmp_path / 'rested')!r}).touch()", "rest.py")
    with Cluster("slurm", root=tmp_path / "root", options={"time": "10"}) as cluster:
        service = ScriptExecutionService(on=cluster, abort=rest, grace=0.5)
        procedure = started(service, "rest", tmp_path / "began")
        abort = procedure.abort
        assert abort is not None
        abort.wait("READY", 120)
        wait = f"until [ -e '{tmp_path / 'gate'}' ]; do sleep 0.2; done"
        slurm_env.run("sbatch", "--array=0-19", "--output=/dev/null", f"--wrap={wait}")

        def others(state: str) -> list[str]:
            found = slurm_env.run("squeue", "--noheader", "--array", "--format=%i %j", f"--states={state}").stdout
            return [line for line in found.splitlines() if line.endswith(" wrap")]

        until(lambda: len(others("RUNNING")) == _CPUS - 2)
        late = service.prepare(Script.text(SCRIPT))
        assert procedure.stop() == "STOPPED"
        assert abort.wait(None, 120) == "COMPLETE"
        assert (tmp_path / "rested").exists()
        assert len(others("PENDING")) >= 20 - _CPUS
        assert late.state == "CREATING"
        assert late.job.status().state == "PENDING"
        assert "Requeue=0" in slurm_env.run("scontrol", "show", "job", str(late.job.job_id)).stdout
        assert late.stop() == "STOPPED"


def test_a_procedure_runs_once(tmp_path: Path) -> None:
    """A second process of the same job finds the events of the first."""
    plan = Plan(script=ScriptRecord(kind="text", path="x.py", digest="", text=""), grace=1.0, kill_wait=2.0)
    directory = Directory(str(tmp_path / "root")).create(pickled(serve, (plan.to_json(),)))
    (tmp_path / bundle().name).write_bytes(bundle().data)
    file = Path(directory.root, "jobs", directory.key, "events", "0.jsonl")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"time": 0.0, "attempt": 1, "event": "state", "state": "IDLE"}) + "\n")
    argv = [sys.executable, "-c", BOOT, str(tmp_path / bundle().name), "slurm.runner.main"]
    done = subprocess.run([*argv, directory.root, directory.key, "0", TAG], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = directory.outcome().error
    assert error is not None
    assert error.message.startswith("the events of an earlier attempt of this procedure exist")
    assert len(file.read_text().splitlines()) == 1


def test_eight_writers_of_one_override_lose_nothing(service: ScriptExecutionService) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: service.publish("topic", n=n), range(8)))
    assert sorted(numbers) == list(range(1, 9))
    assert service.overrides() == {"topic": {"n": numbers.index(8)}}
