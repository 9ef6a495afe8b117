"""Procedures on a real Slurm that is slow or loses a node, and on a server that dies before it runs `sbatch`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from served import client_of, serve
from slurm import Cluster
from slurm.procedures import CommandRefused, Script, ScriptExecutionService
from testbed import SlurmTestbed
from waiting import alive, until

pytestmark = pytest.mark.slurm

Start = Callable[..., SlurmTestbed]

REST = """
import os
from pathlib import Path
from slurm.procedures import procedure

def main(path):
    Path(path + ".new").write_text(f"{os.getpid()}")
    os.rename(path + ".new", path)
    procedure.sleep(300)
"""


def states(testbed: SlurmTestbed) -> dict[str, str]:
    """The state of each job in the queue, by its id."""
    words = testbed.run("squeue", "--noheader", "--format=%i %T").stdout.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def test_an_abort_script_runs_while_the_first_job_is_completing(start: Start, tmp_path: Path) -> None:
    """The nodes hang in Slurm's epilog. A job with a dependency would wait for the end of the epilog."""
    epilog, gate = tmp_path / "epilog", tmp_path / "gate"
    epilog.write_text(f"#!/bin/sh\nuntil [ -e '{gate}' ]; do sleep 0.1; done\n")
    epilog.chmod(0o755)
    testbed = start(settings={"Epilog": str(epilog)})
    abort = Script.text(f"from pathlib import Path\ndef main(): Path({str(tmp_path / 'rested')!r}).touch()", "rest.py")
    with Cluster("slurm", root=tmp_path / "root", options={"time": "10"}) as cluster:
        service = ScriptExecutionService(on=cluster, abort=abort, grace=0.5)
        procedure = service.prepare(Script.text(REST))
        procedure.wait("READY", 120)
        procedure.start("main", str(tmp_path / "pid"))
        until((tmp_path / "pid").exists)
        resting = procedure.abort
        assert resting is not None
        assert procedure.stop() == "STOPPED"
        until(lambda: states(testbed).get(str(procedure.job.job_id)) == "COMPLETING")
        assert resting.wait(None, 120) == "COMPLETE"
        assert (tmp_path / "rested").exists()
        assert states(testbed).get(str(procedure.job.job_id)) == "COMPLETING"
        gate.touch()
        until(lambda: not states(testbed))
        assert (procedure.state, resting.state) == ("STOPPED", "COMPLETE")


def test_a_slot_whose_holder_is_cut_off_with_its_node_is_kept(start: Start, tmp_path: Path) -> None:
    """Slurm has given up the node, but the script still runs there. Only a person can find that out."""
    testbed = start(speedup=20, settings={"SlurmdTimeout": "100"})
    with Cluster("slurm", root=tmp_path / "root") as cluster:
        first, second = (
            ScriptExecutionService(on=cluster, exclusive="dish", options={"time": "600", "nodelist": node}).prepare(
                Script.text(REST)
            )
            for node in ("n1", "n2")
        )
        for procedure in (first, second):
            procedure.wait("READY", 120)
        first.start("main", str(tmp_path / "first"))
        until((tmp_path / "first").exists)
        testbed.slurmd["n1"].kill()
        until(lambda: first.job.status().state == "NODE_FAIL")
        assert first.state == "FAILED"
        assert alive(int((tmp_path / "first").read_text()))
        with pytest.raises(CommandRefused, match=f"the slot 'dish' is held by {first.key}"):
            second.start("main", str(tmp_path / "second"))
        assert ScriptExecutionService(on=cluster).release("dish") == first.key
        second.start("main", str(tmp_path / "second"))
        until((tmp_path / "second").exists)
        assert second.stop() == "STOPPED"
        os.kill(next(event["pid"] for event in first.events() if event.get("pid")), signal.SIGKILL)


SOON = """
from slurm.cli.main import main
from slurm.procedures import listing
from slurm.server import procedure_events

listing.ABANDONED_SECONDS = 0.5
procedure_events._ATTENDED = (0.2, 0.5)
main()
"""


def test_a_server_that_was_killed_between_its_answer_and_sbatch_is_followed_by_another(
    slurm_env: SlurmTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, pid = tmp_path / "bin" / "sbatch", tmp_path / "pid"
    waits.parent.mkdir()
    waits.write_text(f"#!/bin/sh\necho $$ > '{pid}.new'\nmv '{pid}.new' '{pid}'\nexec sleep 600\n")
    waits.chmod(0o755)
    root = tmp_path / "root"
    words = ("--on", "slurm", "--dir", str(root), "--allow-text")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{waits.parent}{os.pathsep}{os.environ['PATH']}")
        with serve(*words) as (process, lines):
            client = client_of(lines)
            until(lambda: client.ask("GET", "/procedures").status == 200)  # 503 until it has read the root
            made = client.post("/procedures", script={"text": "def main(): pass"}, options={"time": "10"})
            assert made["state"] == "CREATING"
            until(pid.exists)
            process.kill()
            process.wait()
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert states(slurm_env) == {}
    with serve(*words, program=("-c", SOON)) as (_, lines):
        client, path = client_of(lines), f"/procedures/{made['number']}"
        until(lambda: (found := client.ask("GET", path)).status == 200 and found.data["state"] == "READY")
        assert client.get(path)["key"] == made["key"]
        assert list(states(slurm_env).values()) == ["RUNNING"]
        client.put(path, state="STOPPED")
        until(lambda: client.get(path)["state"] == "STOPPED")
