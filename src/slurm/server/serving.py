"""Serving: the socket, the tokens, and the process of `slurm serve`."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn

from slurm.client_cache import cached
from slurm.errors import ConfigurationError
from slurm.protocol.directories import make_private
from slurm.server.app import application
from slurm.server.guard import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.server.guard import Access

_GRACE = 1
"""Seconds that open requests get when the server ends."""
_TOKENS = ("token", "reading-token")


class Address(NamedTuple):
    """Where to listen: at a host and a port (0 for a free port), or at a Unix socket."""

    host: str
    port: int
    socket: str | None = None


def tokens() -> tuple[str, str]:
    """The two tokens of this user on this machine: the first allows everything, the second allows reading only.

    The first call makes a file of mode 0600 for each. Raises ConfigurationError if another user could read a token.
    """
    directory = cached("server", socket.gethostname())
    try:
        make_private(str(directory))
        full, reading = (_token(directory / name) for name in _TOKENS)
    except OSError as error:
        raise ConfigurationError(f"cannot keep a token in {directory}: {error.strerror or error}") from error
    return full, reading


def _token(path: Path) -> str:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    except FileExistsError:
        pass
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"{path} is not a private file: remove it, and a new token is made")
    token = path.read_text().strip()
    if len(token) < 32:
        raise ConfigurationError(f"{path} holds no token: remove it, and a new one is made")
    return token


def listen(address: Address) -> socket.socket:
    """The socket to listen at. Raises ConfigurationError if the address cannot be used."""
    try:
        if address.socket:
            return _bound(socket.AF_UNIX, _free_path(address.socket))
        family, *_, name = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return _bound(family, name)
    except (OSError, OverflowError) as error:
        where = address.socket or f"{address.host}:{address.port}"
        raise ConfigurationError(f"cannot listen at {where}: {getattr(error, 'strerror', None) or error}") from error


def _bound(family: int, name: Any) -> socket.socket:
    # asyncio sets TCP_NODELAY only if the socket names its protocol. Without it, each answer waits 40 ms for an ACK.
    protocol = 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP
    listening = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(name)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _free_path(path: str) -> str:
    """A path for a socket in a directory that only the user may enter. Removes a socket that a dead server has left."""
    directory = os.path.dirname(os.path.abspath(path))
    make_private(directory)
    status = os.stat(directory)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"{directory} must be a directory of yours with mode 0700, to hold a socket")
    if os.path.exists(path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            if other.connect_ex(path) == 0:
                raise ConfigurationError(f"another server listens at {path}")
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ConfigurationError(f"{path} is no socket: name another path")
        os.unlink(path)
    return path


class Server(uvicorn.Server):
    """A server that ends its streams before it waits for open requests."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all streams, then the server."""
        for streams in self.config.app.state.streams:  # type: ignore[union-attr] # `application` has set it
            await streams.close()
        await super().shutdown(sockets)


def server(cluster: Cluster, access: Access, **choices: Any) -> Server:
    """The server of `application`; `run(sockets=[…])` serves until SIGINT or SIGTERM."""
    logging.getLogger("asyncio").addFilter(is_about_the_server)
    config = uvicorn.Config(
        application(cluster, access, **choices),
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE,
    )
    return Server(config)


def is_about_the_server(record: logging.LogRecord) -> bool:
    """Whether asyncio's log record is more than a client that has left while its answer was written."""
    return record.msg != "socket.send() raised exception."


def hosts_of(address: Address) -> tuple[str, ...]:
    """The host names that browsers may use for the server."""
    host = f"[{address.host}]" if ":" in address.host else address.host.lower()
    return (*LOOPBACK, host) if host not in LOOPBACK else LOOPBACK
