"""OpenAPI: the description of the routes, made from their table."""

from __future__ import annotations

import re
from inspect import getdoc
from typing import TYPE_CHECKING, Any

from slurm.server.endpoints import WITHOUT_BODY
from slurm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.server.endpoints import Endpoint

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of a GET: if that has changed since, the answer is 412 and nothing is done.",
    "schema": {"type": "string"},
}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def description(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of routes. A `key` in a path may contain `/`, with or without an escape."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})[endpoint.method.lower()] = _operation(endpoint)
    for methods in paths.values():
        if {"get", "put"} <= methods.keys():
            methods["put"]["parameters"].append(_IF_MATCH)
    problem = {
        "type": "object",
        "properties": {
            name: {"type": "integer" if name == "status" else "string"}
            for name in ("type", "title", "status", "detail", "instance", "error")
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "slurm-tasks", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Problem": problem},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    text = " ".join((getdoc(endpoint.answer) or "").split())
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if kind == "int" else "string"}}
        for name, kind in _PARAMETER.findall(endpoint.path)
    ]
    fields = {name: field.schema() for name, field in endpoint.fields.items()}
    body: dict[str, Any] = {}
    required = [name for name, field in endpoint.fields.items() if field.required]
    if endpoint.method in WITHOUT_BODY:
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    else:
        schema = {"type": "object", "properties": fields, "additionalProperties": False}
        schema |= {"required": required} if required else {}
        body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    media = "text/event-stream" if endpoint.path.endswith("/events") else "application/json"
    status = "201" if endpoint.location else "200"
    return {
        "summary": text.partition(". ")[0].rstrip("."),
        "description": text,
        "parameters": parameters,
        **body,
        "responses": {
            status: {"description": "the answer", "content": {media: {}}},
            "default": {"description": "an error", "content": {"application/problem+json": {"schema": _PROBLEM}}},
        },
    }
