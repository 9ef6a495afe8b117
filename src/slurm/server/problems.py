"""Problems: errors as JSON documents of RFC 9457, and the status of each error class."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

from slurm.errors import (
    ConfigurationError,
    EnvironmentInUse,
    JobEnded,
    NoSuchJob,
    SchedulerError,
    SlurmError,
    SubmissionError,
    TransportError,
)
from slurm.procedures.errors import CommandRefused, NoSuchProcedure, ProcedureError
from slurm.sanitize.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_OF_CLASSES: tuple[tuple[type[Exception], int], ...] = (
    (NoSuchJob, 404),
    (NoSuchProcedure, 404),
    (JobEnded, 409),
    (CommandRefused, 409),
    (EnvironmentInUse, 409),
    (ConfigurationError, 422),
    (SubmissionError, 422),
    (ProcedureError, 422),
    (SchedulerError, 502),
    (TransportError, 502),
    (SlurmError, 500),
)
"""The status of each error class; the first class that matches is used."""


class Problem(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def problem_response(problem: Problem, path: str, *, error: str | None = None) -> Response:
    """The problem document of a request for `path`; `error` is the name of the error class of the library, if any."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": redacted(problem.detail),
        "instance": path,
    } | ({"error": error} if error else {})
    return Response(
        json.dumps(document), problem.status, headers=problem.headers, media_type="application/problem+json"
    )


def on_problem(request: Request, error: Exception) -> Response:
    """Answer a request that raised a `Problem`."""
    assert isinstance(error, Problem)  # noqa: S101 - for type checkers: registered for this class
    return problem_response(error, request.url.path)


def on_http_error(request: Request, error: Exception) -> Response:
    """Answer a request that the router refused: it knows no such path, or the path does not allow the method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    detail = {404: "there is nothing at this path: /openapi.json lists the routes"}.get(error.status_code, error.detail)
    return problem_response(Problem(error.status_code, detail, error.headers), request.url.path)


def on_library_error(request: Request, error: Exception) -> Response:
    """Answer a request that raised an error of the library."""
    status = next(status for kind, status in _OF_CLASSES if isinstance(error, kind))
    return problem_response(Problem(status, str(error)), request.url.path, error=type(error).__name__)


def on_defect(request: Request, error: Exception) -> Response:
    """Answer a request that failed because of a defect of the library; the server's log has the traceback."""
    detail = f"the server has failed: {type(error).__name__}; its log has the traceback"
    return problem_response(Problem(500, detail), request.url.path)
