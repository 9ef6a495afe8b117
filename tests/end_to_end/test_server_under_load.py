"""`slurm serve` with many clients: readers that are slow, streams that are open when it ends, and no forks."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path
from typing import Any

from served import Client, client_of, serve
from slurm import Cluster
from waiting import until

WAIT = 120.0
READERS = 100
SIZE, EVENTS = 100_000, 200
LOUD = f"""
from slurm.procedures import procedure

def main():
    for number in range({EVENTS}):
        procedure.report("x" * {SIZE}, number=number)
"""


def accepts(client: Client) -> None:
    """Wait until the server has read the root for the first time: before, it answers 503."""
    until(lambda: client.ask("GET", "/procedures").status == 200, WAIT)


def prepared(client: Client, text: str, **fields: Any) -> str:
    """The path of a procedure that is READY."""
    path = f"/procedures/{client.post('/procedures', script={'text': text}, **fields)['number']}"
    until(lambda: client.get(path)["state"] == "READY", WAIT)
    return path


def peak(pid: int) -> int:
    """The largest memory that a process has had, in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_hundred_readers_that_do_not_read_cost_little_memory(local: Cluster) -> None:
    """The server sends events from the file, so it need not keep them for a client that does not read."""
    with serve("--on", str(local.url), "--allow-text") as (process, lines), contextlib.ExitStack() as readers:
        client = client_of(lines)
        accepts(client)
        path = prepared(client, LOUD)
        request = f"GET {path}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.token}\r\n\r\n"
        for _ in range(READERS):
            reader = readers.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(request.encode())
            assert reader.recv(15) == b"HTTP/1.1 200 OK"
        before = peak(process.pid)
        client.ask("PUT", path, body=b'{"state": "RUNNING"}')  # 503 if it takes too long
        with client.events(path=f"{path}/events") as events:
            *seen, (name, last) = events
        assert (name, last["state"]) == ("end", "COMPLETE")
        texts = [event["text"] for _, event in seen if event["event"] == "report"]
        assert [len(text) for text in texts] == [SIZE] * EVENTS
        assert peak(process.pid) - before < READERS * SIZE * EVENTS / 3, "it keeps the events for each reader"


def test_a_server_that_is_terminated_ends_its_streams(local: Cluster) -> None:
    with serve("--on", str(local.url), "--allow-text") as (process, lines), contextlib.ExitStack() as streams:
        client = client_of(lines)
        accepts(client)
        path = prepared(client, "def main(): pass")
        paths = ["/events"] * 10 + [f"{path}/events"] * 10
        found = [streams.enter_context(client.events(path=each)) for each in paths]
        for stream in found:
            next(stream)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) in {0, -signal.SIGTERM}
        for stream in found:
            assert "end" not in [name for name, _ in stream]


NOTES = """
import json, sys

def note(event, arguments):
    if event in ("os.fork", "os.forkpty"):
        with open({path!r}, "a") as file:
            file.write(event + "\\n")
    elif event == "subprocess.Popen":
        with open({path!r}, "a") as file:
            file.write("program\\n")

sys.addaudithook(note)
from slurm.cli.main import main
main()
"""


def test_a_server_starts_programs_and_never_forks(local: Cluster, tmp_path: Path) -> None:
    """The server has threads. After a fork, a lock that another thread held would never be released."""
    notes = tmp_path / "notes"
    program = ("-c", NOTES.format(path=str(notes)))
    with serve("--on", str(local.url), "--allow-text", program=program) as (_, lines):
        client = client_of(lines)
        accepts(client)
        path = prepared(client, "def main(): pass", abort={"text": "def main(): pass"})
        with client.events(path=f"{path}/events") as events:
            client.ask("PUT", path, body=b'{"state": "RUNNING"}')  # 503 if it takes too long
            assert [name for name, _ in events][-1] == "end"
        job = client.get(path)["key"]
        assert client.post(f"/jobs/{job}/cancel")["cancelled"] is not None
        assert client.get("/environments") == []
    assert set(notes.read_text().split()) == {"program"}
