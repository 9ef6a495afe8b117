"""ParamikoTransport: SSH in Python, for machines without `ssh`. Paramiko is imported at the first connection."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING

from slurm.errors import ConnectionLost
from slurm.transports import ssh_advice as advice
from slurm.transports.paramiko_target import Target, configuration
from slurm.transports.remote import STATUS_SECONDS, RemoteTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

    from slurm.errors import TransportError
    from slurm.url import ClusterURL

_NETWORK_FAILURES = ("banner", "EOF", "Timeout", "reset", "No existing session")
"""Messages of Paramiko for a network failure during a connection. Paramiko has no separate exception type for it."""


class ParamikoTransport(RemoteTransport):
    """Runs commands by Paramiko, over one connection of this process.

    It supports these settings of ~/.ssh/config: Host, Match, Include, HostName, Port, User, IdentityFile,
    IdentitiesOnly, ProxyJump, ProxyCommand, UserKnownHostsFile. It tries the keys of the agent, of IdentityFile, and of
    ~/.ssh; then it asks for a password at the terminal, if there is one.
    """

    def __init__(self, url: ClusterURL, *, login_shell: bool = False) -> None:
        super().__init__(url, login_shell=login_shell)
        self._clients: list[paramiko.SSHClient] = []
        """One client for each hop; the last is the host's."""
        self._process = os.getpid()

    def _alive(self) -> bool:
        if self._process != os.getpid():  # the child of a fork does not have the client's threads
            self._clients, self._process = [], os.getpid()
        return bool(self._clients) and _transport(self._clients[-1]).is_active()

    def _connect(self) -> None:
        import paramiko  # noqa: PLC0415 - a slow import

        self.close()
        try:
            config = configuration()
            target = Target(config, self.host, self.url.user, self.url.port)
            for hop in [*target.hops(config), target]:
                through = _transport(self._clients[-1]) if self._clients else None
                self._clients.append(paramiko.SSHClient())
                hop.connect(self._clients[-1], through, timeout=self.connect_seconds)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise self._failure(error, target) from error
        living = (_transport(self._clients[-1]), self.alive_seconds)
        threading.Thread(target=_keep_alive, args=living, daemon=True).start()

    def _failure(self, error: Exception, target: Target) -> TransportError:
        import paramiko  # noqa: PLC0415 - as above

        kinds: Sequence[tuple[type[Exception], str]] = (
            (paramiko.BadHostKeyException, advice.CHANGED_KEY),
            (paramiko.AuthenticationException, advice.LOOSE_KEY if target.loose else advice.DENIED),
            (socket.gaierror, advice.NO_NAME),
            (ConnectionRefusedError, advice.REFUSED),
            (paramiko.ssh_exception.NoValidConnectionsError, advice.REFUSED),
            (OSError, advice.SILENT),
            (EOFError, advice.SILENT),
        )
        meaning = next((found for kind, found in kinds if isinstance(error, kind)), advice.OTHER)
        if "not found in known_hosts" in str(error):
            meaning = advice.UNKNOWN_KEY
        elif meaning == advice.OTHER and any(said in str(error) for said in _NETWORK_FAILURES):
            meaning = advice.SILENT
        words = "\n".join([str(error) or type(error).__name__, *target.loose])
        port = f" -p {self.url.port}" if self.url.port else ""
        user = f"{self.url.user}@" if self.url.user else ""
        return advice.failure(
            self.host, meaning, words, f"paramiko, as `ssh{port} {user}{self.host}`", known_as=target.known_as
        )

    def _start(self, line: str) -> _Command:
        import paramiko  # noqa: PLC0415 - as above

        try:
            channel = _opened(_transport(self._clients[-1]), self.connect_seconds)
            channel.exec_command(line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(f"the connection to {self.host} broke: {error}") from error
        return _Command(channel)

    def close(self) -> None:
        """Close the connection. Running commands are cut off."""
        clients, self._clients = self._clients, []
        for client in reversed(clients):
            client.close()


class _Command:
    """A running command."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.stdin: IO[bytes] = channel.makefile_stdin("wb")  # type: ignore[assignment]  # Paramiko's own files
        self.stdout: IO[bytes] = channel.makefile("rb")  # type: ignore[assignment]
        self.stderr: IO[bytes] = channel.makefile_stderr("rb")  # type: ignore[assignment]

    def end_input(self) -> None:
        self._channel.shutdown_write()

    def exit_status(self) -> int | None:
        self._channel.status_event.wait(STATUS_SECONDS)
        return self._channel.exit_status

    def kill(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # sends a message, and the connection may be lost
            self._channel.close()

    def close(self) -> None:
        self.kill()


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    found = client.get_transport()
    if found is None:
        raise ConnectionLost("the connection was closed")
    return found


def _opened(transport: paramiko.Transport, seconds: float) -> paramiko.Channel:
    """Open a session in a separate thread, which closes it if an interrupt ends the wait.

    Otherwise Paramiko would forget the session, but sshd would keep it, and accept no more after a few (MaxSessions).
    """
    opened: Future[paramiko.Channel] = Future()

    def open_session() -> None:
        try:
            opened.set_result(transport.open_session(timeout=seconds))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            opened.set_exception(error)

    try:
        threading.Thread(target=open_session, daemon=True).start()
        return opened.result()
    except BaseException:  # an interrupt ends the wait, too
        opened.add_done_callback(_close)
        raise


def _close(opened: Future[paramiko.Channel]) -> None:
    if opened.exception() is None:
        opened.result().close()


def _keep_alive(transport: paramiko.Transport, seconds: float) -> None:
    """Send keep-alive messages; close the connection if one is not answered."""
    while transport.is_active():
        fuse = threading.Timer(3 * seconds, transport.close)
        fuse.daemon = True
        fuse.start()
        transport.global_request("keepalive@openssh.com", wait=True)
        fuse.cancel()
        time.sleep(seconds)
