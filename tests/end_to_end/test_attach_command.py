"""`slurm debug --attach`: an editor debugs a running call by the protocol of debuggers (DAP)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SLURM = os.fspath(Path(sys.executable).with_name("slurm"))


@task
def count(path: str) -> int:
    number = 0
    while not Path(path).exists():
        Path(f"{path}.begun").touch()
        number += 1  # the breakpoint
        time.sleep(0.05)
    return number


BREAKPOINT = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the breakpoint" in line)


class Editor:
    """Speaks the Debug Adapter Protocol, as far as an editor does to stop at a line."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=100)
        self._file: IO[bytes] = self._connection.makefile("rb")
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def request(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self._number

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else length
        found: dict[str, Any] = json.loads(self._file.read(length))
        return found

    def event(self, name: str) -> dict[str, Any]:
        while not (found := [event for event in self._events if event.get("event") == name]):
            self._events.append(self._read())
        self._events.remove(found[0])
        body: dict[str, Any] = found[0].get("body", {})
        return body

    def answer(self, command: str, **arguments: Any) -> dict[str, Any]:
        number = self.request(command, **arguments)
        while True:
            message = self._read()
            if message.get("request_seq") == number and message["type"] == "response":
                assert message["success"], message
                body: dict[str, Any] = message.get("body", {})
                return body
            self._events.append(message)

    def close(self) -> None:
        self._file.close()
        self._connection.close()


@contextmanager
def attached(on: str, key: str, *more: str) -> Iterator[dict[str, Any]]:
    command = [SLURM, "debug", key, "--on", on, "--attach", "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.rstrip() == "}":
                break
        try:
            yield json.loads("".join(lines))
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path that ends the jobs of a test."""
    monkeypatch.chdir(tmp_path)
    yield str(tmp_path / "go")
    (tmp_path / "go").touch()


def test_an_editor_stops_a_running_call_at_a_line(cluster: Cluster, go: str) -> None:
    if "paramiko" in cluster.url:
        pytest.skip("Paramiko has no command whose streams are those of another process")
    job = count(go)
    until(Path(f"{go}.begun").exists)
    for _ in range(2):  # the second time, debugpy listens already
        with attached(cluster.url, job.key) as where:
            assert (where["key"], where["host"]) == (job.key, "127.0.0.1")
            editor = Editor(where["port"])
            editor.answer("initialize", adapterID="debugpy", pathFormat="path")
            editor.request("attach", justMyCode=False)
            editor.event("initialized")
            lines = editor.answer("setBreakpoints", source={"path": __file__}, breakpoints=[{"line": BREAKPOINT}])
            assert [point["verified"] for point in lines["breakpoints"]] == [True]
            editor.answer("configurationDone")
            thread = editor.event("stopped")["threadId"]
            (frame, *_) = editor.answer("stackTrace", threadId=thread)["stackFrames"]
            assert (frame["name"], frame["line"]) == ("count", BREAKPOINT)
            found = editor.answer("evaluate", expression="number + 1000", frameId=frame["id"])
            assert int(found["result"]) >= 1000
            editor.answer("disconnect", terminateDebuggee=False)
            editor.close()
    Path(go).touch()
    assert job.result(60) > 0


def test_what_cannot_be_attached_says_why(local: Cluster, go: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [SLURM, "debug", job.key, "--on", local.url, "--attach", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    without = Path(go).with_name("debugpy.py")
    without.write_text("raise ImportError('there is no debugpy')")
    job = count.with_options(env={"PYTHONPATH": os.fspath(without.parent)})(go)
    until(Path(f"{go}.begun").exists)
    refused = attach()
    assert refused.returncode == 1
    assert "debugpy does not start in process" in refused.stderr
    assert "ImportError: there is no debugpy" in refused.stderr
    assert "pip install 'slurm-tasks[debug]'" in refused.stderr
    other = attach("--process", "1")
    assert "no process 1 of the call on " in other.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = attach("--port", str(taken.getsockname()[1]))
        assert busy.returncode == 1
    monkeypatch.undo()
    assert subprocess.run([SLURM, "debug", job.key, "--port", "80"], check=False, capture_output=True).returncode == 2
    Path(go).touch()
    assert job.result(60) > 0
