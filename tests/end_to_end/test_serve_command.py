"""`slurm serve`: the process that a user starts, kills and starts again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from served import Client
from slurm import Cluster, task
from slurm.procedures import ScriptExecutionService
from slurm.procedures.facts import facts_of
from waiting import until

WAIT = 120.0


@task
def work(x: int) -> int:
    print("working")
    return x


@contextmanager
def serve(*words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines that it prints first."""
    argv = [sys.executable, "-m", "slurm", "serve", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()


def client_of(lines: list[str]) -> Client:
    """A client of the server that has printed these lines."""
    page = re.fullmatch(r"page: +http://127\.0\.0\.1:(\d+)/#(\S+)\n", lines[0])
    assert page, lines
    return Client(int(page[1]), page[2])


def test_a_server_that_was_killed_is_started_again_and_nothing_is_lost(cluster: Cluster) -> None:
    job = work(1)
    assert job.result(WAIT) == 1
    tokens = set()
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        with serve("--on", str(cluster.url)) as (process, lines):
            client = client_of(lines)
            assert f"ssh -N -L {client.port}:127.0.0.1:{client.port} " in lines[2]
            tokens.add(client.token)
            assert client.get(f"/jobs/{job.key}/logs")["text"] == "working\n"
            assert [each["key"] for each in client.get("/overview")["jobs"]] == [job.key]
            process.send_signal(how)
            assert process.wait(WAIT) in {status, -how}
            assert process.stdout is not None
            assert process.stdout.read() == ""  # no access log, no traceback
    assert len(tokens) == 1


OBSERVE = """
from slurm.procedures import procedure

def init(subarray_id):
    pass

def main(count):
    for number in range(count):
        procedure.report("step", number=number)
    procedure.sleep(600)
"""


def test_procedures_outlive_a_server_that_is_killed_and_no_event_is_lost(local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "observe.py").write_text(OBSERVE)
    (tmp_path / "rest.py").write_text("def main(): pass\n")
    words = ("--on", str(local.url), "--allow-folder", str(tmp_path))
    seen: list[dict[str, Any]] = []
    with serve(*words) as (process, lines):
        client = client_of(lines)
        until(lambda: client.ask("GET", "/procedures").status == 200, WAIT)  # 503 until it has looked at the place
        script, abort = {"file": "observe.py"}, {"file": "rest.py"}
        made = client.post("/procedures", script=script, abort=abort, kwargs={"subarray_id": 1})
        path = f"/procedures/{made['number']}"
        until(lambda: client.get(path)["state"] == "READY", WAIT)
        client.ask("PUT", path, body=b'{"state": "RUNNING", "kwargs": {"count": 100}}')  # 503 if it takes too long
        with client.events(path=f"{path}/events") as events:
            while not any(event["event"] == "report" for event in seen):
                seen.append(next(events)[1])
            process.kill()
            process.wait(WAIT)
    with serve(*words) as (_, lines):
        client = client_of(lines)
        until(lambda: client.ask("GET", "/procedures").status == 200, WAIT)
        assert [each["state"] for each in client.get("/procedures")["procedures"]][-1] == "RUNNING"
        with client.events(path=f"{path}/events", headers={"Last-Event-ID": str(seen[-1]["offset"])}) as events:
            assert client.put(path, state="STOPPED", abort=True)["pending"] in {"stop", None}
            *rest, (name, last) = events
        assert (name, last["state"]) == ("end", "STOPPED")
        procedure = ScriptExecutionService(on=local).procedure(made["number"])
        assert seen + [event for _, event in rest] == list(procedure.events())
        assert [event["values"]["number"] for event in procedure.events() if event["event"] == "report"] == [
            *range(100)
        ]
        assert client.get(path) == facts_of(procedure.look())
        assert procedure.abort is not None
        assert procedure.abort.wait(None, WAIT) == "COMPLETE"
        assert client.get(f"/procedures/{procedure.abort.number}")["aborts"] == made["key"]
        assert client.get(f"/jobs/{made['key']}")["states"] == {"CANCELLED": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid:0"),
        (["--on", "nothing://"], "nothing"),
        (["--port", "70000"], "70000"),
        (["--allow-folder", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_bad_arguments_are_one_error(words: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "slurm", "serve", *words], capture_output=True, text=True, check=False)
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert "Traceback" not in done.stderr
