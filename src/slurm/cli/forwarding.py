"""Forwarding: connect a port of this machine to a port of a job's node, through a command in the job's allocation."""

from __future__ import annotations

import binascii
import contextlib
import json
import socket
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.output import show_json
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job

_MOST = 65536


def forward(job: Job[Any], pid: str, host: str, *, python: str, remote: int, port: int | None, as_json: bool) -> None:
    """Print where a debugger connects, and forward its connections to a port of the job's node, until Ctrl-C."""
    place = job.part.place
    words = [python, "-IS", "-c", program(__name__, "relay.py"), str(remote)]
    inside = place.queue.client.inside_command(str(job.job_id), words, terminal=False)
    argv = place.transport.attached(inside, terminal=False)
    if not argv:
        raise click.ClickException(
            f"{place.url} cannot forward a port: use an SSH URL that runs `ssh`, such as slurm+ssh://HOST"
        )
    with _listening(port, remote) as server:
        here = server.getsockname()[1]
        _say(job, pid, host, here, as_json=as_json)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=_carry, args=(connection, argv), daemon=True).start()


def _listening(port: int | None, remote: int) -> socket.socket:
    """Listen on `port`; by default on the port `remote`, or on any free port. Raises ClickException."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            server.bind(("127.0.0.1", port or remote))
        except OSError:
            if port:
                raise
            server.bind(("127.0.0.1", 0))
        server.listen()
    except OSError as error:
        server.close()
        raise click.ClickException(f"port {port}: {error.strerror}. Choose another one, or leave out --port") from None
    return server


def _say(job: Job[Any], pid: str, host: str, port: int, *, as_json: bool) -> None:
    where = {"host": "127.0.0.1", "port": port}
    if as_json:
        show_json({"key": job.key, "process": int(pid), "node": host, **where})
        return
    settings = {"name": job.key, "type": "debugpy", "request": "attach", "connect": where}
    output.show(f"debugpy listens in process {pid} on {host}; connect to 127.0.0.1:{port}. The job goes on.")
    output.show(f"launch.json of VS Code: {json.dumps(settings)}")
    output.show("Ctrl-C ends the forwarding.")


def _carry(connection: socket.socket, argv: Sequence[str]) -> None:
    """Forward one connection through a command, until either side ends it."""
    with connection, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as relay:
        incoming, outgoing = relay.stdout, relay.stdin
        if incoming is None or outgoing is None:
            return
        threading.Thread(target=_send, args=(connection, outgoing), daemon=True).start()
        with contextlib.suppress(OSError, binascii.Error):
            for line in incoming:
                connection.sendall(binascii.a2b_base64(line))
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _send(connection: socket.socket, outgoing: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError), outgoing:
        while data := connection.recv(_MOST):
            outgoing.write(data)
            outgoing.flush()
