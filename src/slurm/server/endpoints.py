"""Endpoints: the routes as a table, how their parameters and bodies are checked, and how their answers are sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

from slurm.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from slurm.server.pool import ThreadPool

_MOST_BYTES = 1 << 20
"""The size of the largest body of a request."""
_SECONDS = 10.0
"""How long a request may take."""
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "number": (int, float),
    "any": object,
}
WITHOUT_BODY = ("GET", "DELETE")
"""Methods whose parameters are in the query."""
_BOOLEANS = {"true": True, "false": False}


class Field(NamedTuple):
    """A parameter in the query, or a member of the body: its JSON type (or "any") and its meaning."""

    kind: str
    meaning: str
    default: Any = None
    least: int = 0
    most: int | None = None
    required: bool = False
    choice: tuple[str, ...] = ()
    """The possible texts; empty if every text is possible."""

    def of_text(self, name: str, text: str) -> Any:
        """Convert the text of a parameter in a query to its value. Raises Problem."""
        if self.kind == "integer":
            return self.of_value(name, int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else text)
        if self.kind == "boolean":
            return self.of_value(name, _BOOLEANS.get(text, text))
        return text

    def of_value(self, name: str, value: Any) -> Any:
        """Check the value of a member of a body, and return it. Raises Problem."""
        if self.kind == "integer":
            high = math.inf if self.most is None else self.most
            if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= high:
                bounds = f"from {self.least}" + ("" if self.most is None else f" to {self.most}")
                raise Problem(422, f"{name}={value!r} is not a whole number {bounds}")
        elif not isinstance(value, _KINDS[self.kind]) or (self.kind == "number" and isinstance(value, bool)):
            raise Problem(422, f"{name}={value!r} is not of the type {self.kind}")
        elif self.choice and value not in self.choice:
            raise Problem(422, f"{name}={value!r} is not one of {', '.join(self.choice)}")
        return value

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the parameter."""
        bounds = {"minimum": self.least} if self.kind == "integer" else {}
        bounds |= {} if self.most is None else {"maximum": self.most}
        default = {} if self.default is None else {"default": self.default}
        kind: dict[str, Any] = {} if self.kind == "any" else {"type": self.kind}
        choice = {"enum": list(self.choice)} if self.choice else {}
        return kind | {"description": self.meaning} | choice | bounds | default


class Asked(NamedTuple):
    """What a request asks for: the parameters of its path, query and body, checked."""

    path: Mapping[str, str]
    given: Mapping[str, Any]
    """The parameters of the query or body. A parameter that was not given has its default."""


class Endpoint(NamedTuple):
    """A route. Its function `answer` runs in a thread, and returns data for JSON."""

    method: str
    path: str
    answer: Callable[[Asked], Any]
    fields: Mapping[str, Field] = {}
    """The parameters: in the query of a GET or DELETE, or in the body of another method."""
    location: Callable[[Any], str] | None = None
    """Returns the path of what the answer has made. The path is then sent with the status 201."""


class Pools(NamedTuple):
    """Threads for requests. Requests that change something have their own threads: they may take long to finish."""

    reading: ThreadPool
    writing: ThreadPool


def routes(endpoints: Sequence[Endpoint], pools: Pools, changed: Callable[[], None]) -> list[Route]:
    """The routes of endpoints, run by threads. `changed` is called after a request that may have changed something."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [Route(path, _handler(methods, pools, changed), methods=list(methods)) for path, methods in paths.items()]


def _handler(methods: Mapping[str, Endpoint], pools: Pools, changed: Callable[[], None]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        endpoint = methods["GET" if request.method == "HEAD" else request.method]
        given = query_of(request, endpoint) if endpoint.method in WITHOUT_BODY else await _body(request, endpoint)
        asked = Asked(request.path_params, given)
        pool = pools.reading if endpoint.method == "GET" else pools.writing
        wanted = request.headers.getlist("if-match") if endpoint.method == "PUT" else []
        check = _precondition(methods["GET"], request, ",".join(wanted)) if wanted and "GET" in methods else _no_check
        call = asyncio.create_task(pool.run(lambda: _answered(endpoint, asked, check)))
        done, _ = await asyncio.wait([call], timeout=_SECONDS)
        if not done:
            call.cancel()
            raise Problem(
                503,
                f"there is no answer yet after {_SECONDS:.0f} s: the cluster or its file system is slow",
                {"Retry-After": "10"},
            )
        if endpoint.method != "GET":
            changed()
        return _response(request, *call.result())

    return handle


def _no_check() -> None:
    """Accept a change whatever the state is."""


def _precondition(shown: Endpoint, request: Request, wanted: str) -> Callable[[], None]:
    """Return a function that raises Problem unless the answer of a GET has one of the wanted tags now; "*" is any."""
    tags = {each.strip() for each in wanted.split(",")}
    asked = Asked(request.path_params, _defaults(shown))

    def check() -> None:
        if "*" not in tags and _tag(encoded(shown.answer(asked))) not in tags:
            path = request.url.path
            raise Problem(412, f"{path} is not in the state that If-Match names, and nothing has changed: get it again")

    return check


def _tag(body: bytes) -> str:
    """The ETag of an answer."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _answered(endpoint: Endpoint, asked: Asked, check: Callable[[], None]) -> tuple[bytes, str | None]:
    """Run an endpoint. Returns the body of the answer, and the path of what the request has made, or None."""
    check()
    data = endpoint.answer(asked)
    return encoded(data), endpoint.location(data) if endpoint.location else None


def _response(request: Request, body: bytes, location: str | None) -> Response:
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if request.method in ("GET", "HEAD"):
        headers["ETag"] = tag = _tag(body)
        known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        if tag in known:
            return Response(status_code=304, headers=headers)
    if location is not None:
        headers["Location"] = location
        return Response(body, 201, headers=headers, media_type="application/json")
    return Response(body, headers=headers, media_type="application/json")


def encoded(data: Any) -> bytes:
    """Data as JSON in ASCII. Numbers that JSON does not have, such as NaN, are null."""
    try:
        return json.dumps(data, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(data)).encode()


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, (list, tuple)) else data


def query_of(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """The parameters of a query. A parameter that was not given has its default. Raises Problem."""
    pairs = request.query_params.multi_items()
    _check_names([name for name, _ in pairs], endpoint, "parameter")
    return _defaults(endpoint) | {name: endpoint.fields[name].of_text(name, text) for name, text in pairs}


def _defaults(endpoint: Endpoint) -> dict[str, Any]:
    return {name: field.default for name, field in endpoint.fields.items()}


async def _body(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """The members of the body; an empty body has none. Raises Problem."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send the body as `Content-Type: application/json`")
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > _MOST_BYTES:
            raise Problem(413, f"the body has more than {_MOST_BYTES} bytes")
    try:
        members = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise Problem(422, "the body is not a JSON object")
    _check_names(list(members), endpoint, "field")
    return _defaults(endpoint) | values_of(members, endpoint.fields)


def values_of(members: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The values of the members of an object, checked. Raises Problem."""
    return {name: fields[name].of_value(name, value) for name, value in members.items()}


def _check_names(names: Sequence[str], endpoint: Endpoint, what: str) -> None:
    known = f"there are: {', '.join(endpoint.fields)}" if endpoint.fields else "there are none"
    for name in names:
        if name not in endpoint.fields:
            raise Problem(422, f"{endpoint.method} {endpoint.path} has no {what} {name!r}; {known}")
        if names.count(name) > 1:
            raise Problem(422, f"the {what} {name!r} is given twice")
    for name, field in endpoint.fields.items():
        if field.required and name not in names:
            raise Problem(422, f"{endpoint.method} {endpoint.path} needs the {what} {name!r}: {field.meaning}")
