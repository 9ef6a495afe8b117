"""A server of a test, in a thread or as its process, and a client that is only the standard library."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from slurm import Cluster
from slurm.server.guard import Access
from slurm.server.serving import Address, hosts_of, listen, server

TOKEN, READING = "write-" + 40 * "w", "read-" + 40 * "r"
SECONDS = 120.0


class Answer(NamedTuple):
    """An answer, with the data of its JSON."""

    status: int
    headers: Mapping[str, str]
    data: Any


class Client:
    """Talks to a server. Each request has its own connection."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.port, self.token = port, token
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, by default with the token of the client."""
        token = self.token if token == "" else token
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, path, body, sent | dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = "json" in answer.headers.get("Content-Type", "") and text
        return Answer(answer.status, answer.headers, json.loads(text) if is_json else text.decode())  # type: ignore[arg-type]

    def get(self, path: str) -> Any:
        """The data at a path."""
        found = self.ask("GET", path)
        assert found.status == 200, found
        return found.data

    def post(self, path: str, **fields: Any) -> Any:
        """The data of the answer to a request."""
        found = self.ask("POST", path, body=json.dumps(fields).encode())
        assert found.status in {200, 201}, found
        return found.data

    def put(self, path: str, **fields: Any) -> Any:
        """The data of the answer to a request."""
        found = self.ask("PUT", path, body=json.dumps(fields).encode())
        assert found.status == 200, found
        return found.data

    @contextmanager
    def events(
        self, query: str = "", *, path: str = "/events", headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[tuple[str, Any]]]:
        """The events of a stream, as names and data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", path + query, headers={"Authorization": f"Bearer {self.token}", **(headers or {})})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()

        def read() -> Iterator[tuple[str, Any]]:
            event = ""
            for line in map(bytes.decode, iter(answer.readline, b"")):
                name, _, value = line.strip().partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)

        try:
            yield read()
        finally:
            connection.close()
            answer.close()


class CurlClient(Client):
    """A client that sends requests with curl."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request. The answer has only one header, its type."""
        token = self.token if token == "" else token
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        sent |= {"Content-Type": "application/json"} if body is not None else {}
        argv = ["curl", "--silent", "--show-error", "--globoff", "--path-as-is", "--max-time", str(SECONDS)]
        argv += ["--request", method, "--write-out", "\n%{http_code} %{content_type}"]
        argv += [
            word for name, value in (sent | dict(headers or {})).items() for word in ("--header", f"{name}: {value}")
        ]
        argv += ["--data-binary", "@-"] if body is not None else []
        done = subprocess.run([*argv, self.url + path], input=body or b"", capture_output=True, check=False)
        text, _, last = done.stdout.decode().rpartition("\n")
        status, _, kind = last.partition(" ")
        assert status != "000", done.stderr
        return Answer(int(status), {"Content-Type": kind}, json.loads(text) if "json" in kind and text else text)


CLIENTS: Mapping[str, type[Client]] = {"http.client": Client, "curl": CurlClient}


@contextmanager
def serve(*words: str, program: tuple[str, ...] = ("-m", "slurm")) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start a server; give the process and its first lines. `program` are the arguments of Python before `serve`."""
    argv = [sys.executable, *program, "serve", *words]
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


@contextmanager
def served(cluster: Cluster, **arguments: Any) -> Iterator[Client]:
    """Serve the jobs of a cluster."""
    address = Address("127.0.0.1", 0)
    listening = listen(address)
    running = server(
        cluster,
        Access(TOKEN, READING, hosts_of(address)),
        **{"everywhere": False, "sweeps": Path("sweeps"), **arguments},
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Client(listening.getsockname()[1])
    finally:
        running.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive(), "the server goes on"
