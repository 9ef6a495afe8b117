"""Procedures: scripts that are prepared early, started late, and stopped at once, the same wherever they run."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobCancelled, Retry
from slurm.cli.main import slurm
from slurm.errors import ConfigurationError
from slurm.procedures import (
    CommandRefused,
    NoSuchProcedure,
    Procedure,
    ProcedureError,
    ProcedureFailed,
    Script,
    ScriptError,
    ScriptExecutionService,
    listing,
)
from slurm.procedures.preparing import EarlyEvents, write_record
from slurm.storage.keys import new_key
from waiting import alive, remove, until

OBSERVE = """
import json, os, subprocess, sys, threading, time
from pathlib import Path
from slurm.procedures import ProcedureStopped, procedure

seen = {"pid": os.getpid(), "thread": threading.current_thread() is threading.main_thread()}

def init(subarray_id=0):
    seen["subarray"] = subarray_id

def calibrate(n):
    procedure.report("calibrates", n=n)
    seen["n"] = n
    return n * 2

def main(sb_id, *more):
    return [seen["subarray"], seen.get("n"), sb_id, list(more), seen["thread"]]

def listen():
    found = []
    while "stop" not in found:
        procedure.sleep(60)
        found += procedure.messages()
    return found

def wait_for_flag(name):
    while not procedure.flag(name):
        procedure.sleep(60)
    return dict(procedure.context[name])

def polite(path):
    try:
        procedure.sleep(300)
    except ProcedureStopped:
        Path(path).write_text("rested")
        raise

def stubborn(path):
    code = "import os, signal, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    other = subprocess.Popen([sys.executable, "-c", code])
    Path(path + ".new").write_text(f"{os.getpid()} {other.pid}")
    os.rename(path + ".new", path)
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass

def fail():
    raise ValueError("no signal")

def leave(status):
    os._exit(status)

def what_json_does_not_have():
    return {1, 2}.__class__
"""

HAPPY = [
    "CREATING",
    "IDLE",
    "LOADING",
    "IDLE",
    "INITIALISING",
    "READY",
    "RUNNING",
    "READY",
    "RUNNING",
    "READY",
    "COMPLETE",
]


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

made: list[ScriptExecutionService] = []


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Procedures that are READY take a CPU of the local scheduler, which other tests wait for."""
    yield
    while made:
        for procedure in made.pop().procedures():
            procedure.stop()


def service_on(cluster: Cluster, **keywords: Any) -> ScriptExecutionService:
    """A service in the root of a cluster."""
    assert cluster.place.url.root is not None
    made.append(ScriptExecutionService(cluster.place.url.root, on=cluster.url, options={"time": "10"}, **keywords))
    return made[-1]


def ready(service: ScriptExecutionService, script: str = OBSERVE, *args: Any, **kwargs: Any) -> Procedure:
    """A procedure that is READY."""
    procedure = service.prepare(Script.text(script), *args, **kwargs)
    procedure.wait("READY", 90)
    return procedure


def states(procedure: Procedure) -> list[str]:
    """The states that a procedure has had."""
    return [str(state) for state in procedure.history.states]


def refusals(procedure: Procedure) -> list[str]:
    """What a procedure has said to commands that it has refused."""
    return [str(event["reason"]) for event in procedure.events() if event["event"] == "refused"]


def test_a_script_is_prepared_run_started_and_stopped(cluster: Cluster, tmp_path: Path) -> None:
    """The history is the same on every URL."""
    service = service_on(cluster)
    first, second = ready(service, subarray_id=7), ready(service)
    assert first.run("calibrate", 4) == 8
    first.start("main", "sbi-1", "more")
    assert first.result(90) == [7, 4, "sbi-1", ["more"], True]
    assert states(first) == HAPPY
    second.start("polite", str(tmp_path / "rested"))
    assert service.procedure(second.number).stop() == "STOPPED"
    assert (tmp_path / "rested").read_text() == "rested"
    assert states(second) == [*HAPPY[:7], "STOPPED"]
    assert isinstance(second.job.exception(90), JobCancelled)
    assert [each.number for each in service.procedures()] == [2, 1]
    reports = [event for event in first.events() if event["event"] == "report"]
    assert [(each["text"], each["values"]) for each in reports] == [("calibrates", {"n": 4})]


@pytest.fixture
def service(local: Cluster) -> ScriptExecutionService:
    return service_on(local, grace=1.0)


def test_messages_and_overrides_reach_a_script_that_runs_and_later_ones(service: ScriptExecutionService) -> None:
    service.publish("operator.ready", enabled=False)
    procedure = ready(service)
    procedure.start("listen")
    procedure.send({"n": [1]})
    procedure.send("stop")
    procedure.wait("READY", 60)
    number = procedure.publish("operator.ready", enabled=True, by="ann")
    assert number == 2
    assert procedure.run("wait_for_flag", "operator.ready") == {"enabled": True, "by": "ann"}
    [listened, waited] = [event for event in procedure.events() if event["event"] == "returned"]
    assert (listened["value"], waited["function"]) == ([{"n": [1]}, "stop"], "wait_for_flag")
    assert service.overrides() == {"operator.ready": {"enabled": True, "by": "ann"}}
    assert ready(service).run("wait_for_flag", "operator.ready") == {"enabled": True, "by": "ann"}


def test_a_stop_ends_a_script_that_swallows_everything_and_what_it_has_left_behind(
    service: ScriptExecutionService, tmp_path: Path
) -> None:
    procedure, pids = ready(service), tmp_path / "pids"
    procedure.start("stubborn", str(pids))
    until(pids.exists)
    assert procedure.stop() == "STOPPED"
    assert [pid for pid in map(int, pids.read_text().split()) if alive(pid)] == []


@pytest.mark.parametrize(
    ("function", "args", "why"),
    [
        ("fail", [], "fail raised ValueError: no signal"),
        ("leave", [3], "its process ended with status 3 while it was RUNNING"),
    ],
)
def test_a_script_that_fails(service: ScriptExecutionService, function: str, args: Sequence[Any], why: str) -> None:
    procedure = ready(service)
    with pytest.raises(ProcedureFailed, match=why) as caught:
        procedure.run(function, *args)
    assert ("line" in caught.value.stacktrace) is (function == "fail")
    assert states(procedure) == [*HAPPY[:7], "FAILED"]
    with pytest.raises(CommandRefused, match="is FAILED, not READY"):
        procedure.start()
    with pytest.raises(CommandRefused, match="has ended: FAILED"):
        procedure.send(1)
    assert procedure.stop() == "FAILED"


def test_a_script_that_cannot_be_loaded(service: ScriptExecutionService) -> None:
    procedure = service.prepare(Script.text("import sys\nsys.exit(4)", name="leaves.py"))
    with pytest.raises(ProcedureFailed, match=r"load raised SystemExit: 4.*it was never READY"):
        procedure.wait("READY", 60)
    assert states(procedure) == ["CREATING", "IDLE", "LOADING", "FAILED"]


def test_a_procedure_refuses_what_it_cannot_do(service: ScriptExecutionService) -> None:
    procedure = service.prepare(Script.text(OBSERVE))
    queued = procedure.start("calibrate", 1, force_start=True)
    until(lambda: [event for event in procedure.events() if event["event"] == "returned"])
    assert [event["command"] for event in procedure.events() if event["event"] == "called"] == [queued]
    with pytest.raises(CommandRefused, match="calibrate cannot be called so: missing a required argument: 'n'"):
        procedure.start("calibrate")
    with pytest.raises(
        CommandRefused, match=r"no function 'nothing'. Its functions: (?!.*(Path|ProcedureStopped)).*calibrate"
    ):
        procedure.start("nothing")
    procedure.start("listen")
    with pytest.raises(CommandRefused, match="is RUNNING, not READY"):
        procedure.start("listen")
    procedure._send({"command": "start", "function": "listen", "force": False})  # another client, at the same time
    procedure._send({"command": "dance"})
    until(lambda: len(refusals(procedure)) == 4)
    assert refusals(procedure)[2:] == ["the procedure is RUNNING, not READY", "there is no command 'dance'"]
    procedure.send("stop")
    procedure.wait("READY", 60)
    assert procedure.run("what_json_does_not_have") == "<class 'set'>"
    procedure.start("listen")
    late = procedure.start("calibrate", 1, force_start=True)
    until(lambda: procedure.look().pending == "start")
    procedure.stop()
    with pytest.raises(CommandRefused, match="the procedure has ended"):
        procedure.value_of(late, 60)


def test_a_start_before_it_is_ready_is_refused_by_its_process(service: ScriptExecutionService, tmp_path: Path) -> None:
    """A client that is not ours need not look at the state first."""
    gate = tmp_path / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
    procedure = service.prepare(Script.text(f"{waits}def main(): pass\n"))
    procedure.wait("LOADING", 60)
    with pytest.raises(CommandRefused, match="is LOADING, not READY"):
        procedure.start()
    procedure._send({"command": "start", "function": "main", "force": False})
    until(lambda: refusals(procedure))
    gate.touch()
    procedure.wait("READY", 60)
    assert refusals(procedure) == ["the procedure is LOADING, not READY"]


def test_of_clients_that_start_it_at_once_one_does(service: ScriptExecutionService) -> None:
    procedure = ready(service)

    def start(_: int) -> bool:
        try:
            service.procedure(procedure.number).start("listen")
        except CommandRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(8))) == [False] * 7 + [True]
    assert [event["function"] for event in procedure.events() if event["event"] == "called"] == ["listen"]


def test_bad_input_is_one_error_and_prepares_nothing(service: ScriptExecutionService, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"broken\.py is not valid Python: line 1"):
        service.prepare(Script.text("def", name="broken.py"))
    with pytest.raises(ScriptError, match=r"the script .* cannot be read: No such file"):
        service.prepare(Script.file(tmp_path / "nowhere.py"))
    with pytest.raises(ProcedureError, match="the arguments of init must be JSON values"):
        service.prepare(Script.text(""), {1})
    for wrong, words in (
        ({"options": {"retry": Retry(1, on=ValueError)}}, "retry is not possible for procedures"),
        ({"grace": -1}, "grace=-1: write a positive number of seconds"),
        ({"exclusive": "../x"}, r"exclusive='\.\./x': write letters"),
        ({"abort_on": ["end"]}, "'end' is neither 'stop' nor 'failure'"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            ScriptExecutionService(on=service.cluster, **wrong)
    with pytest.raises(ConfigurationError, match=r"topic='\.\./x': write letters"):
        service.publish("../x", n=1)
    with pytest.raises(ProcedureError, match="the values of x must be JSON values"):
        service.publish("x", n={1})
    assert service.procedures() == []


def test_a_slot_is_held_while_a_function_runs(local: Cluster) -> None:
    service = service_on(local, exclusive="telescope", grace=1.0)
    first, second = ready(service), ready(service)
    first.start("listen")
    with pytest.raises(CommandRefused, match=f"the slot 'telescope' is held by {first.key}"):
        second.start("calibrate", 1)
    first.send("stop")
    first.wait("READY", 60)
    assert second.run("calibrate", 1) == 2
    # A holder that was killed says nothing, but the scheduler knows its end.
    first.start("listen")
    pid = next(event["pid"] for event in first.events() if event.get("pid"))
    os.kill(pid, signal.SIGKILL)
    assert first.wait(None, 60) == "FAILED"
    assert second.run("calibrate", 2) == 4
    second.stop()
    remove(second.job.directory)  # as `slurm gc` does with what has ended
    third = ready(service)
    assert third.run("calibrate", 3) == 6
    assert service.release("telescope") == third.key
    assert service.release("telescope") is None


ABORT = """
from pathlib import Path
def init(path):
    Path(path, "init").touch()
    globals()["path"] = path
def main():
    Path(path, "aborted").touch()
"""
LONG = "from slurm.procedures import procedure\ndef init(path): pass\ndef main(): procedure.sleep(300)"


SHOWN = (["list"], ["show", "1"], ["show", "2"])


@pytest.mark.parametrize("early", [True, False])
def test_an_abort_script_runs_after_a_stop(local: Cluster, tmp_path: Path, *, early: bool) -> None:
    service = service_on(local, abort=Script.text(ABORT, name="abort.py"), abort_ready=early, exclusive="slot")
    procedure = ready(service, LONG, str(tmp_path))
    procedure.start()
    if early:
        until((tmp_path / "init").exists)
    assert not (tmp_path / "aborted").exists()
    assert procedure.stop() == "STOPPED"
    abort = procedure.abort
    assert abort is not None
    assert abort.wait(None, 60) == "COMPLETE"
    assert (tmp_path / "aborted").exists()
    ended = next(event["time"] for event in procedure.events() if event.get("state") == "STOPPED")
    assert ended <= next(event["time"] for event in abort.events() if event.get("state") == "RUNNING")
    shown = [CliRunner().invoke(slurm, ["script", *words, "--on", local.url]).output for words in SHOWN]
    assert re.search(r"\n2 +COMPLETE .* 1, ran\n1 +STOPPED .* -\n", shown[0])
    assert "procedure 2 has the abort script: COMPLETE, ran\n" in shown[1]
    assert "this is the abort script of procedure 1: ran\n" in shown[2]


def test_a_refused_start_prepares_no_abort_script(local: Cluster, tmp_path: Path) -> None:
    service = service_on(local, abort=Script.text(ABORT))
    procedure = ready(service, "def init(path): pass\ndef main(): pass", str(tmp_path))
    with pytest.raises(CommandRefused, match=r"no function 'mian'. Its functions: init, main"):
        procedure.start("mian")
    with pytest.raises(CommandRefused, match="main cannot be called so: too many positional arguments"):
        procedure.start("main", 1)
    assert [each.number for each in service.procedures()] == [1]


def test_an_ended_procedure_cannot_be_started(service: ScriptExecutionService) -> None:
    procedure = ready(service, "def main(): return 1")
    procedure.start()
    assert procedure.result(60) == 1
    for force in (False, True):
        with pytest.raises(CommandRefused, match=r"procedure 1 is COMPLETE, not READY$"):
            procedure.start(force_start=force)
    late = procedure._send({"command": "start", "function": "main", "force": True})  # the end came at the same time
    with pytest.raises(ProcedureFailed, match="ended COMPLETE: the function was not called"):
        procedure.value_of(late, 60)


def test_an_abort_script_that_is_not_needed_ends(local: Cluster, tmp_path: Path) -> None:
    service = service_on(local, abort=Script.text(ABORT))
    procedure = ready(service, "def init(path): pass\ndef main(): pass", str(tmp_path))
    procedure.start()
    procedure.result(60)
    abort = procedure.abort
    assert abort is not None
    assert abort.wait(None, 60) == "STOPPED"
    assert not (tmp_path / "aborted").exists()


def test_a_start_warns_if_the_time_limit_is_near(
    service: ScriptExecutionService, caplog: pytest.LogCaptureFixture
) -> None:
    procedure = ready(service, "EXPECTED = 3600\ndef f(): pass\ndef main(): pass")
    procedure.run("f")
    assert "and its script expects to take 3600 s" in caplog.text


def test_a_procedure_that_nobody_starts_ends(local: Cluster) -> None:
    procedure = service_on(local, idle_timeout=0.3).prepare(Script.text("def main(): pass"))
    assert procedure.wait(None, 60) == "STOPPED"
    assert procedure.look().reason == "idle"


def test_a_job_that_is_cancelled_from_outside_is_a_procedure_that_is_stopped(
    service: ScriptExecutionService, tmp_path: Path
) -> None:
    procedure = ready(service)
    procedure.start("polite", str(tmp_path / "rested"))
    procedure.job.cancel()
    assert procedure.wait(None, 60) == "STOPPED"
    assert (tmp_path / "rested").exists()
    assert states(procedure) == [*HAPPY[:7], "STOPPED"]


def test_a_procedure_whose_preparer_has_died_is_submitted_by_who_lists(
    service: ScriptExecutionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(service)
    place, record = service.cluster.place, first.record.replace(key=new_key("procedure"))
    EarlyEvents.open(place, record)
    number = write_record(place, record)
    [found] = service.summarise([number])
    assert (found.state, found.key) == ("CREATING", record.key)
    monkeypatch.setattr(listing, "ABANDONED_SECONDS", 0.0)
    assert [each.state for each in service.summarise()] == ["CREATING", "READY"]
    service.procedure(number).wait("READY", 60)
    assert [each.id for each in service.summarise(state="READY")] == [2, 1]
    assert os.listdir(f"{service.cluster.place.store.root}/procedures").count(f"{number}.claim-1") == 1
    with pytest.raises(NoSuchProcedure, match="there is no procedure 9 in"):
        service.summarise([9])
    first.stop()
    remove(first.job.directory)  # as `slurm gc` does
    again = ScriptExecutionService(on=service.cluster)
    [removed] = again.summarise([1])
    assert (removed.state, removed.reason) == ("UNKNOWN", "its files were removed")
    with pytest.raises(ProcedureError, match="'SLEEPING' is no state of a procedure"):
        service.summarise(state="SLEEPING")


def fields_on_the_page(command: str) -> set[str]:
    """The names of the fields that `--json` of a command prints, as its page says."""
    row = re.search(rf"^\| `script {command}` \| an object \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert row is not None
    return set(re.findall(r"`(\w+)`", row[1]))


def test_the_command(service: ScriptExecutionService, tmp_path: Path) -> None:
    script = tmp_path / "observe.py"
    script.write_text(OBSERVE + "\nprint('loaded')\n")

    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(slurm, ["script", *words, "--on", service.cluster.url])
        assert done.exit_code == status, (done.output, done.exception)
        return done.output

    made = json.loads(run("prepare", str(script), "subarray_id=3", "--wait", "--grace", "1", "--json"))
    number = str(made["number"])
    assert run("start", number, "calibrate", "21", "--wait") == "42\n"
    assert run("publish", "operator.ready", "enabled=true", "by=ann") == ""
    assert json.loads(run("publish")) == {"operator.ready": {"enabled": True, "by": "ann"}}
    run("start", number, "listen")
    run("send", number, '"hello"')
    assert re.search(rf"NUMBER +STATE.*\n{number} +RUNNING", run("list"))
    assert run("stop", number) == "STOPPED\n"
    shown = json.loads(run("show", number, "--json"))
    assert (shown["state"], shown["calls"][0]["kwargs"]) == ("STOPPED", {"subarray_id": 3})
    assert "calibrate(21)" in run("show", number)
    assert run("logs", number) == "loaded\n"
    assert [json.loads(line)["event"] for line in run("events", number).splitlines()][-1] == "state"
    for words in (["stop", number], ["show", number], ["logs", number], ["release", "slot", "--yes"]):
        assert json.loads(run(*words, "--json")).keys() <= fields_on_the_page(words[0])
    assert json.loads(run("events", number, "--json"))[0]["state"] == "IDLE"
    assert "#SBATCH" in run(made["key"])
    assert "nobody has slot" in run("release", "slot", "--yes")
    run("publish", "operator.ready", "enabled", status=2)
