"""`slurm serve`: the process that a user starts, kills and starts again."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from served import Client, client_of, serve
from slurm import Cluster, task
from slurm.procedures import ScriptExecutionService
from waiting import until

WAIT = 120.0


@task
def work(x: int) -> int:
    print("working")
    return x


def test_a_server_that_was_killed_is_started_again_and_nothing_is_lost(cluster: Cluster) -> None:
    job = work(1)
    assert job.result(WAIT) == 1
    tokens = set()
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0), (signal.SIGINT, 0)):
        with serve("--on", str(cluster.url)) as (process, lines):
            client = client_of(lines)
            assert f"ssh -N -L {client.port}:127.0.0.1:{client.port} " in lines[2]
            tokens.add(client.token)
            assert client.get(f"/jobs/{job.key}/logs")["text"] == "working\n"
            assert [each["key"] for each in client.get("/overview")["jobs"]] == [job.key]
            process.send_signal(how)
            assert process.wait(WAIT) in ({0} if how == signal.SIGINT else {status, -how})
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
        assert client.get(path) == procedure.look().facts()
        assert procedure.abort is not None
        assert procedure.abort.wait(None, WAIT) == "COMPLETE"
        assert client.get(f"/procedures/{procedure.abort.number}")["aborts"] == made["key"]
        assert client.get(f"/jobs/{made['key']}")["states"] == {"CANCELLED": 1}


COUNT = """
from slurm.procedures import procedure

def main():
    number = 0
    while not procedure.messages():
        procedure.report("step", number=number)
        number += 1
        procedure.sleep(0.1)
    return number
"""


def read_on(client: Client, path: str, seen: list[tuple[str, Any]]) -> None:
    """Add the events of a stream, after those that were seen, until it is cut or ends. Half an event is left out."""
    known = {"Last-Event-ID": str(seen[-1][1]["offset"])} if seen else {}
    with (
        contextlib.suppress(OSError, http.client.HTTPException, ValueError),
        client.events(path=f"{path}/events", headers=known) as events,
    ):
        for event in events:
            seen.append(event)  # noqa: PERF402 - the test looks at it meanwhile


def test_twenty_streams_of_ten_procedures_go_on_when_the_server_is_killed(wide_local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNT)
    words = ("--on", str(wide_local.url), "--allow-folder", str(tmp_path))
    seen: list[list[tuple[str, Any]]] = [[] for _ in range(20)]

    def number_of(state: str) -> int:
        found = client.ask("GET", f"/procedures?state={state}")  # 503 until it has looked at the place
        return len(found.data["procedures"]) if found.status == 200 else -1

    with ThreadPoolExecutor(len(seen)) as pool:
        with serve(*words) as (process, lines):
            client = client_of(lines)
            until(lambda: number_of("READY") == 0, WAIT)
            made = [client.post("/procedures", script={"file": "count.py"})["number"] for _ in range(10)]
            paths = [f"/procedures/{number}" for number in made] * 2
            until(lambda: number_of("READY") == 10, WAIT)
            for path in paths[:10]:
                client.ask("PUT", path, body=b'{"state": "RUNNING"}')  # 503 if it takes too long
            until(lambda: number_of("RUNNING") == 10, WAIT)
            readers = [pool.submit(read_on, client, *each) for each in zip(paths, seen, strict=True)]
            until(lambda: all(any(event["event"] == "report" for _, event in each) for each in seen), WAIT)
            process.kill()
            assert process.wait(WAIT) == -signal.SIGKILL
            for reader in readers:
                reader.result(WAIT)
        before = [len(each) for each in seen]
        assert all(name == "event" for each in seen for name, _ in each)
        with serve(*words) as (_, lines):
            client = client_of(lines)
            until(lambda: number_of("RUNNING") == 10, WAIT)
            readers = [pool.submit(read_on, client, *each) for each in zip(paths, seen, strict=True)]
            until(lambda: all(len(each) > cut for each, cut in zip(seen, before, strict=True)), WAIT)
            for path in paths[:10]:
                client.post(f"{path}/messages", message="end")
            for reader in readers:
                reader.result(WAIT)
    service = ScriptExecutionService(on=wide_local)
    for number, one, other in zip(made, seen[:10], seen[10:], strict=True):
        procedure = service.procedure(number)
        events = [("event", event) for event in procedure.events()]
        assert one[:-1] == other[:-1] == events
        assert one[-1] == other[-1] == ("end", procedure.look().facts())
        assert [event["values"]["number"] for _, event in events if event["event"] == "report"] == [
            *range(procedure.result(WAIT))
        ]


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
