"""OpenSSHTransport: uses the system's `ssh`. If `ssh host` works, this works."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.protocol.directories import socket_base, socket_directory
from slurm.transports import ssh_advice as advice
from slurm.transports.remote import NOT_SENT, STATUS_SECONDS, RemoteTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.url import ClusterURL

_OPTIONS = (
    "LogLevel=ERROR",  # no banner among the errors
    *("RequestTTY=no", "RemoteCommand=none", "ClearAllForwardings=yes", "ForwardX11=no", "PermitLocalCommand=no"),
)
_PERSIST = "ControlPersist=600"
_UNATTENDED_SECONDS = 60
_SOCKETS = "ssh"
"""The name of the directory for the sockets of masters."""
_SOCKET = re.compile(rb"""[^\s%$"'\\]{1,86}""")
"""Valid socket paths. ssh expands other characters (ssh_config(5)), and appends 17 to the path; 104 is the limit."""
_EXPANDED = re.compile(rb"""/[^\s%$"'\\]+""")
_LOST = 255
"""The exit status of ssh for a failed connection."""
_PLAIN = {"StdinNull": "no", "SessionType": "default", "ForkAfterAuthentication": "no"}
"""Settings that a command needs. Versions of ssh before 8.7 do not have them, and reject unknown settings."""

_KNOWN: tuple[tuple[str, str], ...] = (
    ("IDENTIFICATION HAS CHANGED", advice.CHANGED_KEY),
    ("has changed and you have requested", advice.CHANGED_KEY),
    ("Host key verification failed", advice.UNKNOWN_KEY),
    ("UNPROTECTED PRIVATE KEY FILE", advice.LOOSE_KEY),
    ("Permission denied (", advice.DENIED),
    ("Too many authentication failures", advice.DENIED),
    ("Could not resolve hostname", advice.NO_NAME),
    ("Connection refused", advice.REFUSED),
    ("timed out", advice.SILENT),
    ("No route to host", advice.SILENT),
    ("Network is unreachable", advice.SILENT),
    ("Connection closed by", advice.SILENT),
    ("Connection reset by", advice.SILENT),
)
"""Messages of `ssh` and the advice for each; the first match counts."""


class OpenSSHTransport(RemoteTransport):
    """Runs commands by `ssh` over one connection, which the user's other programs share.

    A master process holds the connection and exits after ten idle minutes, so the user enters a second factor only
    once. All of ~/.ssh/config applies: aliases, jumps, agents, certificates. ssh asks questions at the terminal if
    there is one. A master that the user has started (ControlPath) is used while it lives.
    """

    def __init__(self, url: ClusterURL, *, login_shell: bool = False) -> None:
        super().__init__(url, login_shell=login_shell)
        config = os.environ.get(advice.CONFIG_VARIABLE)
        self._where = [
            *(["-F", config] if config else []),
            *(["-p", str(url.port)] if url.port else []),
            *(["-l", url.user] if url.user else []),
        ]
        name = hashlib.sha256("\0".join([*self._where, self.host]).encode()).hexdigest()[:16]
        self._directory = f"{socket_base()}/{_SOCKETS}"
        self._socket = self._own_socket = f"{self._directory}/{name}"
        self._settings: Mapping[str, str] | None = None

    def _ssh(self, *options: str) -> list[str]:
        alive = (f"ServerAliveInterval={self.alive_seconds}", "ServerAliveCountMax=3")
        settings = (f"ControlPath={self._socket}", *alive, *_OPTIONS, *options)
        return ["ssh", *(word for setting in settings for word in ("-o", setting)), *self._where]

    def _read_settings(self) -> Mapping[str, str]:
        """Read ssh's settings for the host, with names in lower case. Empty if ssh does not print them."""
        argv = ["ssh", *self._where, "-G", "--", self.host]
        printed = b""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_UNATTENDED_SECONDS, check=False
            )
            printed = done.stdout
        pairs = (line.partition(" ") for line in os.fsdecode(printed).splitlines())
        self._settings = {name.lower(): value for name, _, value in pairs}
        return self._settings

    def _alive(self) -> bool:
        """Whether a master accepts connections."""
        return _listens(self._socket)

    def _connect(self) -> None:
        """Start a master, which goes to the background once it is logged in. Only one program at a time does this."""
        from filelock import FileLock  # noqa: PLC0415 - only a new connection needs it

        self._own_directory()
        users_socket = self._read_settings().get("controlpath", "")
        with FileLock(f"{self._own_socket}.lock"):
            self._socket = self._own_socket
            if self._alive():
                return
            if _EXPANDED.fullmatch(os.fsencode(users_socket)) and _listens(users_socket):
                self._socket = users_socket
                if self._answers():
                    return
                self._socket = self._own_socket
            self._start_master()

    def _answers(self) -> bool:
        """Whether a test command ends: the connection of a master may be dead."""
        argv = self._session("exit")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.connect_seconds, check=False
            )
            return done.returncode != _LOST
        return False

    def _start_master(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket)  # a killed master leaves its socket
        attended = _attended()
        options = ["ControlMaster=yes", _PERSIST, *self._connect_timeout(attended=attended)]
        argv = [*self._ssh(*options, *([] if attended else ["BatchMode=yes"])), "-fNT", "--", self.host]
        # Errors go to a file: the master would keep a pipe open as long as it lives.
        with tempfile.TemporaryFile() as errors:
            try:
                status = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=None if attended else _UNATTENDED_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise self._failure("ssh: timed out") from None
            except OSError as error:
                raise TransportError(f"cannot run ssh: {error}") from error
            errors.seek(0)
            words = errors.read().decode(errors="replace")
        if status != 0:
            raise self._failure(words)

    def _failure(self, words: str) -> TransportError:
        found = next((meaning for text, meaning in _KNOWN if text in words), advice.OTHER)
        command = shlex.join(["ssh", *self._where, self.host])
        return advice.failure(self.host, found, words, command)

    def _connect_timeout(self, *, attended: bool) -> Sequence[str]:
        """Return the option ConnectTimeout, unless the user sets it, or may have to answer a jump host meanwhile."""
        settings = self._settings or {}
        jumps = any(settings.get(name, "none") != "none" for name in ("proxyjump", "proxycommand"))
        if settings.get("connecttimeout", "none") != "none" or (attended and jumps):
            return ()
        return (f"ConnectTimeout={self.connect_seconds}",)

    def attached(self, argv: Sequence[str], *, terminal: bool) -> Sequence[str]:
        """Return `ssh` over the master. The command is sent as base64: shells differ in how they parse line breaks."""
        shell = ["sh", "-lc", shlex.join(argv)] if self._login_shell else argv
        sent = base64.b64encode(f"exec {shlex.join(shell)}".encode()).decode()
        line = shlex.join(["sh", "-c", 'eval "$(printf %s "$0" | base64 -d)"', sent])
        return self._session(line, terminal=terminal)

    def _session(self, line: str, *, terminal: bool = False) -> list[str]:
        """Return the argv of a command over the master."""
        # Only over the master: a separate connection would ask for the second factor each time.
        options = ["ControlMaster=no", f"ProxyCommand=echo '{NOT_SENT}' >&2; exit 1", "BatchMode=yes"]
        settings = self._settings if self._settings is not None else self._read_settings()
        options += [f"{name}={value}" for name, value in _PLAIN.items() if settings.get(name.lower(), value) != value]
        return [*self._ssh(*options), "-t" if terminal else "-T", "--", self.host, line]

    def _start(self, line: str) -> _Process:
        return _Process(self._session(line))

    def close(self) -> None:
        """Tell the master to accept no more commands, and to exit after the running ones. A user's own master stays."""
        if self._socket != self._own_socket:
            return
        argv = [*self._ssh(), "-O", "stop", "--", self.host]
        with contextlib.suppress(OSError):
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)

    def _own_directory(self) -> None:
        if not _SOCKET.fullmatch(os.fsencode(self._socket)):
            raise TransportError(
                f"cannot keep an SSH socket in {self._directory}: set SLURMTASKS_LOCAL_DIR to a directory of at most "
                "65 characters, without blanks, quotes, %, $ and backslashes"
            )
        try:
            socket_directory(_SOCKETS)
        except OSError as error:
            raise TransportError(
                f"cannot keep an SSH socket in {self._directory}: {error.strerror or error}"
            ) from error


class _Process:
    """A running `ssh`.

    Its streams are sockets. The master keeps the other ends open even if `ssh` is killed; a socket, unlike a pipe, can
    be shut down from this side.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        self._process = subprocess.Popen(
            argv, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], start_new_session=True
        )
        for end in theirs:
            end.close()
        self.stdin = self._ours[0].makefile("wb")
        self.stdout, self.stderr = (end.makefile("rb") for end in self._ours[1:])

    def end_input(self) -> None:
        self._ours[0].shutdown(socket.SHUT_WR)

    def exit_status(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(STATUS_SECONDS)
        return None

    def kill(self) -> None:
        for end in self._ours:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self.stdin, self.stdout, self.stderr, *self._ours):
            with contextlib.suppress(OSError):
                stream.close()


def _listens(path: str) -> bool:
    """Whether a process accepts connections at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        return True
    return False


def _attended() -> bool:
    """Whether a person can answer a question of ssh."""
    return (sys.stdin is not None and sys.stdin.isatty()) or "SSH_ASKPASS" in os.environ
