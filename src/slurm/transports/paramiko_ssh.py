"""ParamikoTransport: SSH in pure Python, for machines without `ssh`, such as Windows. Paramiko is imported in use."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
import threading
import time
from glob import glob
from typing import IO, TYPE_CHECKING, Any

from slurm.errors import ConnectionLost, TransportError
from slurm.transports import ssh_advice as advice
from slurm.transports.remote import RemoteTransport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import paramiko

    from slurm.url import ClusterURL

_CONNECT_SECONDS = 15.0
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>\d+))?")


class ParamikoTransport(RemoteTransport):
    """Commands by Paramiko, over one connection of this process.

    Of ~/.ssh/config these count: Host, Match, Include, HostName, Port, User, IdentityFile, IdentitiesOnly, ProxyJump,
    ProxyCommand, UserKnownHostsFile. Keys are tried from there, the agent, and ~/.ssh; then it asks, if somebody is at
    the terminal.
    """

    def __init__(self, url: ClusterURL, *, login_shell: bool = False) -> None:
        super().__init__(url, login_shell=login_shell)
        self._clients: list[paramiko.SSHClient] = []
        """One for each hop, the host's own last."""
        self._process = os.getpid()

    def _alive(self) -> bool:
        if self._process != os.getpid():  # the child of a fork has none of its threads
            self._clients, self._process = [], os.getpid()
        return bool(self._clients) and _transport(self._clients[-1]).is_active()

    def _connect(self) -> None:
        import paramiko  # noqa: PLC0415 - costs more than all the rest

        self.close()
        try:
            config = _config()
            target = _Target(config, self.host, self.url.user, self.url.port)
            for hop in [*target.hops(config), target]:
                through = _transport(self._clients[-1]) if self._clients else None
                self._clients.append(paramiko.SSHClient())
                hop.connect(self._clients[-1], through)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise self._failure(error, target) from error
        living = (_transport(self._clients[-1]), self.alive_seconds)
        threading.Thread(target=_keep_alive, args=living, daemon=True).start()

    def _failure(self, error: Exception, target: _Target) -> TransportError:
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
        elif meaning == advice.OTHER and any(said in str(error) for said in ("banner", "EOF", "Timeout", "reset")):
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
            channel = _transport(self._clients[-1]).open_session(timeout=_CONNECT_SECONDS)
            channel.exec_command(line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            message = f"the connection to {self.host} broke: {error}"
            raise ConnectionLost(message) from error
        return _Command(channel)

    def close(self) -> None:
        """Close the connection; commands under way are cut off."""
        clients, self._clients = self._clients, []
        for client in reversed(clients):
            client.close()


class _Target:
    """A host as the configuration has it."""

    def __init__(self, config: paramiko.SSHConfig, host: str, user: str | None, port: int | None) -> None:
        found: Mapping[str, Any] = config.lookup(host)
        self._settings = found
        self._host = found.get("hostname", host)
        self._port = port or int(found.get("port", 22))
        self._user = user or found.get("user") or getpass.getuser()
        self.known_as = self._host if self._port == 22 else f"[{self._host}]:{self._port}"
        self.loose: list[str] = []
        """Private keys that others can read: they aren't used, as `ssh` doesn't."""

    def hops(self, config: paramiko.SSHConfig) -> list[_Target]:
        """The hosts to go through, in order (ProxyJump)."""
        jumps = self._settings.get("proxyjump", "none")
        found = []
        for jump in jumps.split(",") if jumps.lower() != "none" else []:
            parts = _HOP.fullmatch(jump.strip())
            if parts is None:
                message = f"ProxyJump {jump!r} in {advice.config_path()} is not [user@]host[:port]"
                raise TransportError(message)
            port = int(parts["port"]) if parts["port"] else None
            hop = _Target(config, parts["host"].strip("[]"), parts["user"], port)
            found += [*hop.hops(config), hop]
        return found

    def connect(self, client: paramiko.SSHClient, through: paramiko.Transport | None) -> None:
        """Connect a client and be let in; an unknown host key is refused."""
        import paramiko  # noqa: PLC0415 - as above

        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for path in self._known_hosts():
            if os.path.isfile(path):
                client.load_system_host_keys(path)
        client.connect(
            self._host,
            self._port,
            self._user,
            sock=self._socket(through),
            timeout=_CONNECT_SECONDS,
            banner_timeout=_CONNECT_SECONDS,
            auth_strategy=self,  # type: ignore[arg-type]  # it is asked for `authenticate` only
        )

    def authenticate(self, transport: paramiko.Transport) -> None:
        """By keys, then by what the server asks for, if somebody is there to answer."""
        import paramiko  # noqa: PLC0415 - as above

        for key in self._keys():
            try:
                if not transport.auth_publickey(self._user, key):
                    return
                break  # this was right, and the server wants a second factor
            except paramiko.AuthenticationException:
                continue
        if not _attended():
            message = f"{self._user}@{self._host} accepts none of the keys, and nobody is there to be asked"
            raise paramiko.AuthenticationException(message)
        try:
            transport.auth_interactive(self._user, _answers)
        except paramiko.BadAuthenticationType:
            transport.auth_password(self._user, getpass.getpass(f"{self._user}@{self._host}'s password: "))

    def _socket(self, through: paramiko.Transport | None) -> Any:
        import paramiko  # noqa: PLC0415 - as above

        if through is not None:
            return through.open_channel(
                "direct-tcpip", (self._host, self._port), ("127.0.0.1", 0), timeout=_CONNECT_SECONDS
            )
        if self._settings.get("proxycommand", "none") != "none":
            return paramiko.ProxyCommand(self._settings["proxycommand"])
        made = socket.create_connection((self._host, self._port), timeout=_CONNECT_SECONDS)
        # Without it each command waits 40 ms for the other side's acknowledgement (Nagle and delayed ACK).
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _known_hosts(self) -> list[str]:
        own = self._settings.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        sites = self._settings.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
        return [os.path.expanduser(path) for path in (*own.split(), *sites.split())]

    def _keys(self) -> Iterator[paramiko.PKey]:
        import paramiko  # noqa: PLC0415 - as above

        named = self._settings.get("identityfile", [])
        paths = named or [os.path.expanduser(f"~/.ssh/id_{kind}") for kind in ("ed25519", "ecdsa", "rsa")]
        for path in filter(os.path.isfile, paths):
            if os.name == "posix" and os.stat(path).st_mode & 0o077:
                self.loose.append(f"{path} has mode {os.stat(path).st_mode & 0o777:04o}")
            elif key := _key(path):
                yield key
        if self._settings.get("identitiesonly", "no") != "yes":
            yield from paramiko.Agent().get_keys()


class _Command:
    """A command under way."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self.stdin: IO[bytes] = channel.makefile_stdin("wb")  # type: ignore[assignment]  # Paramiko's own files
        self.stdout: IO[bytes] = channel.makefile("rb")  # type: ignore[assignment]
        self.stderr: IO[bytes] = channel.makefile_stderr("rb")  # type: ignore[assignment]

    def end_input(self) -> None:
        self._channel.shutdown_write()

    def kill(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # it tells the other side, which may be gone
            self._channel.close()

    def close(self) -> None:
        self.kill()


def _key(path: str) -> paramiko.PKey | None:
    """A private key; None if it can't be had without a passphrase, and nobody is there to be asked."""
    import paramiko  # noqa: PLC0415 - as above

    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):  # it is encrypted
        if not _attended():
            return None
        return paramiko.PKey.from_path(path, getpass.getpass(f"Passphrase of {path}: ").encode())  # type: ignore[arg-type]  # as it must be
    except (ValueError, paramiko.SSHException):  # not a key that Paramiko knows
        return None


def _config() -> paramiko.SSHConfig:
    """The user's configuration, with what it includes put in."""
    import paramiko  # noqa: PLC0415 - as above

    path = advice.config_path()
    try:
        return paramiko.SSHConfig.from_text("".join(_lines(path, depth=0)))
    except paramiko.ConfigParseError as error:
        message = f"{path} can't be read: {error}"
        raise TransportError(message) from error


def _lines(path: str, *, depth: int) -> Iterator[str]:
    if not os.path.isfile(path) or depth > 16:  # ssh_config(5): as deep as OpenSSH goes
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
            if word.lower() != "include":
                yield line if line.endswith("\n") else f"{line}\n"
                continue
            for pattern in rest.split():
                full = os.path.join(os.path.expanduser("~/.ssh"), os.path.expanduser(pattern.strip('"')))
                for found in sorted(glob(full)):
                    yield from _lines(found, depth=depth + 1)


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    found = client.get_transport()
    if found is None:
        message = "the connection was closed"
        raise ConnectionLost(message)
    return found


def _keep_alive(transport: paramiko.Transport, seconds: float) -> None:
    """Ask for a sign of life from time to time; end the connection if none comes."""
    while transport.is_active():
        fuse = threading.Timer(3 * seconds, transport.close)
        fuse.daemon = True
        fuse.start()
        transport.global_request("keepalive@openssh.com", wait=True)
        fuse.cancel()
        time.sleep(seconds)


def _attended() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _answers(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
    """What the person at the terminal answers to a server's questions."""
    for text in (title, instructions):
        if text:
            print(text, file=sys.stderr)  # noqa: T201 - to the person
    return [input(prompt) if echo else getpass.getpass(prompt) for prompt, echo in prompts]
