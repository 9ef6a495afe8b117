"""Target: a host of the user's SSH configuration, and how to authenticate to it with Paramiko."""

from __future__ import annotations

import base64
import contextlib
import getpass
import logging
import os
import re
import socket
import sys
from glob import glob
from typing import TYPE_CHECKING, Any

from slurm.errors import TransportError
from slurm.sanitize.terminal import for_terminal
from slurm.transports import ssh_advice as advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import paramiko

_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>\d+))?")
_TYPING_SECONDS = 86400
"""Seconds for a person to answer the server's questions. Paramiko needs a number."""
_WIRE = f"{__name__}.wire"
logging.getLogger(_WIRE).addHandler(logging.NullHandler())
"""The logger for Paramiko's messages, which include tracebacks of attempts that are retried."""


class Target:
    """A host with its settings in the configuration."""

    def __init__(self, config: paramiko.SSHConfig, host: str, user: str | None, port: int | None) -> None:
        found: Mapping[str, Any] = config.lookup(host)
        self._settings = found
        self._host = found.get("hostname", host)
        self._port = port or int(found.get("port", 22))
        self._user = user or found.get("user") or getpass.getuser()
        self.known_as = self._host if self._port == 22 else f"[{self._host}]:{self._port}"
        self.loose: list[str] = []
        """Private keys that other users can read. Like `ssh`, we do not use them."""

    def hops(self, config: paramiko.SSHConfig) -> list[Target]:
        """Return the hosts to connect through, in order (ProxyJump)."""
        jumps = self._settings.get("proxyjump", "none")
        found = []
        for jump in jumps.split(",") if jumps.lower() != "none" else []:
            parts = _HOP.fullmatch(jump.strip())
            if parts is None:
                raise TransportError(
                    f"ProxyJump {jump!r} in {advice.config_path()} is invalid: write [user@]host[:port]"
                )
            port = int(parts["port"]) if parts["port"] else None
            hop = Target(config, parts["host"].strip("[]"), parts["user"], port)
            found += [*hop.hops(config), hop]
        return found

    def connect(self, client: paramiko.SSHClient, through: paramiko.Transport | None, *, timeout: float) -> None:
        """Connect a client and authenticate. An unknown host key is an error."""
        import paramiko  # noqa: PLC0415 - as above

        client.set_log_channel(_WIRE)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for path in self._known_hosts():
            if os.path.isfile(path):
                client.load_system_host_keys(path)
        client.connect(
            self._host,
            self._port,
            self._user,
            sock=self._socket(through, timeout),
            timeout=timeout,
            banner_timeout=_TYPING_SECONDS if _attended() and self._has_proxy_command() else timeout,
            auth_strategy=self,  # type: ignore[arg-type]  # Paramiko calls only `authenticate`
        )

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Authenticate by keys, then by the server's questions, if a person can answer them."""
        import paramiko  # noqa: PLC0415 - as above

        for key in self._keys():
            try:
                if not transport.auth_publickey(self._user, key):
                    return
                break  # the key is accepted, and the server wants a second factor
            except paramiko.AuthenticationException:
                continue
        if not _attended():
            raise paramiko.AuthenticationException(
                f"{self._user}@{self._host} accepts none of the keys, and there is no terminal to ask for a password"
            )
        transport.auth_timeout = _TYPING_SECONDS  # the default is 30 seconds, and includes the typing
        try:
            transport.auth_interactive(self._user, _answers)
        except paramiko.BadAuthenticationType:
            transport.auth_password(self._user, getpass.getpass(f"{self._user}@{self._host}'s password: "))

    def _has_proxy_command(self) -> bool:
        return bool(self._settings.get("proxycommand", "none") != "none")

    def _socket(self, through: paramiko.Transport | None, timeout: float) -> Any:
        import paramiko  # noqa: PLC0415 - as above

        if through is not None:
            return through.open_channel("direct-tcpip", (self._host, self._port), ("127.0.0.1", 0), timeout=timeout)
        if self._has_proxy_command():
            return paramiko.ProxyCommand(self._settings["proxycommand"])
        made = socket.create_connection((self._host, self._port), timeout=timeout)
        # Otherwise each command waits 40 ms for the other side's acknowledgement (Nagle and delayed ACK).
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _known_hosts(self) -> list[str]:
        own = self._settings.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        sites = self._settings.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
        return [os.path.expanduser(path) for path in (*own.split(), *sites.split())]

    def _keys(self) -> Iterator[paramiko.PKey]:
        """Yield the keys of the agent, which need no passphrase, then the keys of files; configured keys come first.

        If there is a certificate beside the file of a key, the key with the certificate comes before the key alone.
        """
        import paramiko  # noqa: PLC0415 - as above

        named = self._settings.get("identityfile", [])
        paths = named or [os.path.expanduser(f"~/.ssh/id_{kind}") for kind in ("ed25519", "ecdsa", "rsa")]
        own = {public for path in paths for public in _public(path)}
        only = self._settings.get("identitiesonly", "no") == "yes"
        with contextlib.closing(paramiko.Agent()) as agent:
            keys = sorted(agent.get_keys(), key=lambda key: key.blob not in own)
            yield from (key for key in keys if key.blob in own or not only)
        for path in filter(os.path.isfile, paths):
            if path.endswith(".pub"):  # a public key: only the agent can have the private one
                continue
            if os.name == "posix" and os.stat(path).st_mode & 0o077:
                self.loose.append(f"{path} has mode {os.stat(path).st_mode & 0o777:04o}")
            elif key := _key(path):
                yield key
                if key.public_blob:
                    key.public_blob = None
                    yield key


def _public(path: str) -> Iterator[bytes]:
    """Yield the public keys and certificates beside a private key, or at its path."""
    for beside in (path, f"{path}.pub", f"{path}-cert.pub"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(beside, encoding="ascii") as file:
            yield base64.b64decode(file.readline().split()[1], validate=True)


def _key(path: str) -> paramiko.PKey | None:
    """Read a private key. None if it needs a passphrase and no person can give one, or if it is not a key."""
    import paramiko  # noqa: PLC0415 - as above

    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):  # it is encrypted
        if not _attended():
            return None
        return paramiko.PKey.from_path(path, getpass.getpass(f"Passphrase of {path}: ").encode())  # type: ignore[arg-type]  # as it must be
    except (ValueError, paramiko.SSHException):  # not a key that Paramiko knows
        return None


def configuration() -> paramiko.SSHConfig:
    """Read the user's configuration, including the files that it includes."""
    import paramiko  # noqa: PLC0415 - as above

    path = advice.config_path()
    try:
        return paramiko.SSHConfig.from_text("".join(_lines(path, depth=0)))
    except paramiko.ConfigParseError as error:
        raise TransportError(f"{path} cannot be read: {error}") from error


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


def _attended() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _answers(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
    """Ask the user at the terminal the questions of a server."""
    for text in (title, instructions):
        if text:
            print(for_terminal(text), file=sys.stderr)  # noqa: T201 - to the person
    questions = [(for_terminal(prompt), echo) for prompt, echo in prompts]
    return [input(prompt) if echo else getpass.getpass(prompt) for prompt, echo in questions]
