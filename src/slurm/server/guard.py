"""Guard: refuses requests from other pages, to other host names and without a token, before any route sees them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import Headers

from slurm.server.problems import Problem, problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_READING = ("GET", "HEAD")
MAY = "slurm.may"
"""The entry of a request's scope that says what its token may do: "write" or "read"."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Access(NamedTuple):
    """Who may use the server: the tokens, and the host names that browsers may use for it."""

    token: str
    reading_token: str
    """The token that allows reading only."""
    hosts: tuple[str, ...] = LOOPBACK
    """Host names without a port, because tunnels change the port."""


class Guard:
    """ASGI middleware that checks Host, Origin and token. The page at / has no data, and needs no token.

    The check of Host prevents DNS rebinding, in which the host name of a foreign page resolves to 127.0.0.1. The check
    of Origin refuses requests that a foreign page sends.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with a problem."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await problem_response(problem, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or _without_port(host) not in self._access.hosts:
            names = ", ".join(self._access.hosts)
            return Problem(403, f"the host name {host!r} is not one of this server: {names}")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return Problem(403, f"requests of pages of {origin!r} are not accepted")
        if scope["path"] == "/" and scope["method"] in _READING:
            return None
        return self._token_problem(headers, scope)

    def _token_problem(self, headers: Headers, scope: Scope) -> Problem | None:
        ask = {"WWW-Authenticate": "Bearer"}
        tokens = (self._access.token, self._access.reading_token)
        query = scope["query_string"].decode("latin-1")
        if any(token in query for token in tokens) or "token=" in query:
            return Problem(401, "a token in a URL ends in logs: send it as `Authorization: Bearer TOKEN`", ask)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip().encode()
        may_write, may_read = (secrets.compare_digest(sent, token.encode()) for token in tokens)
        if scheme.lower() != "bearer" or not (may_write or may_read):
            return Problem(401, "send the token that `slurm serve` has printed: `Authorization: Bearer TOKEN`", ask)
        if not may_write and scope["method"] not in _READING:
            return Problem(403, "this token may only read")
        scope[MAY] = "write" if may_write else "read"
        return None


def _without_port(host: str) -> str:
    """The name in a Host header, in lower case: "[::1]:8000" is "[::1]"."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
