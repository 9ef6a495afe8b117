"""The application: all routes, behind the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from slurm.errors import SlurmError
from slurm.server.endpoints import Endpoint, routes
from slurm.server.events import EVENTS, Events
from slurm.server.guard import Guard
from slurm.server.jobs import JobRoutes
from slurm.server.openapi import description
from slurm.server.overview import JobsOverview
from slurm.server.page import show_page
from slurm.server.pool import ThreadPool
from slurm.server.problems import Problem, on_defect, on_http_error, on_library_error, on_problem
from slurm.server.sweeps import SweepRoutes
from slurm.sweeps.directory import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.places.place import Place
    from slurm.server.guard import Access

_THREADS = 8


def application(place: Place, access: Access, *, everywhere: bool = False, sweeps: Path = OUTPUTS) -> Starlette:
    """The server of the jobs of a place, as an ASGI application. With `everywhere`, of any scheduler under its root.

    `sweeps` is the directory of the sweeps. Its `state.events` has the streams, which are to be closed at the end.
    """
    pool = ThreadPool("slurm-serve", _THREADS)
    overview = JobsOverview(place, everywhere=everywhere)
    events = Events(overview, pool)
    endpoints = [*JobRoutes(overview).endpoints(), *SweepRoutes(sweeps).endpoints()]
    document = description([*endpoints, EVENTS])
    endpoints.append(Endpoint("GET", "/openapi.json", lambda _: document))

    app = Starlette(
        routes=[
            Route("/", show_page, methods=["GET"]),
            Route(EVENTS.path, events.respond, methods=["GET"]),
            *routes(endpoints, pool, events.hurry),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_error,
            SlurmError: on_library_error,
            Exception: on_defect,
        },
    )
    app.state.events = events
    return app
