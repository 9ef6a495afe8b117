"""The application: all routes, behind the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from slurm.errors import SlurmError
from slurm.server.endpoints import Endpoint, Pools, routes
from slurm.server.events import EVENTS, Events
from slurm.server.guard import Guard
from slurm.server.jobs import JobRoutes
from slurm.server.openapi import description
from slurm.server.overview import JobsOverview
from slurm.server.page import show_page
from slurm.server.pool import ThreadPool
from slurm.server.problems import Problem, on_defect, on_http_error, on_library_error, on_problem
from slurm.server.procedure_events import EVENTS_OF_ONE, ProcedureEvents, procedures_attended
from slurm.server.procedures import ProcedureRoutes, Procedures
from slurm.server.scripts import ScriptRules
from slurm.server.sweeps import SweepRoutes
from slurm.sweeps.directory import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.server.guard import Access

_READING_THREADS, _WRITING_THREADS = 8, 4
_NO_SCRIPTS = ScriptRules()


def application(
    cluster: Cluster,
    access: Access,
    *,
    everywhere: bool = False,
    sweeps: Path = OUTPUTS,
    rules: ScriptRules = _NO_SCRIPTS,
) -> Starlette:
    """The server of the jobs and procedures of a cluster, as an ASGI application.

    With `everywhere`, the server shows the jobs of every scheduler under the root. `sweeps` is the directory of the
    sweeps, and `rules` say which scripts may be prepared. The attribute `state.streams` of the application holds the
    event streams: close them when the server ends.
    """
    pools = Pools(ThreadPool("slurm-serve", _READING_THREADS), ThreadPool("slurm-serve-write", _WRITING_THREADS))
    overview = JobsOverview(cluster.place, everywhere=everywhere)
    events = Events(overview, pools.reading)
    procedures = Procedures(cluster)
    events_of_one = ProcedureEvents(procedures, pools.reading)
    endpoints = [
        *JobRoutes(overview).endpoints(),
        *SweepRoutes(sweeps).endpoints(),
        *ProcedureRoutes(procedures, rules).endpoints(),
    ]
    document = description([*endpoints, EVENTS, EVENTS_OF_ONE])
    endpoints.append(Endpoint("GET", "/openapi.json", lambda _: document))

    app = Starlette(
        routes=[
            Route("/", show_page, methods=["GET"]),
            Route(EVENTS.path, events.respond, methods=["GET"]),
            Route(EVENTS_OF_ONE.path, events_of_one.respond, methods=["GET"]),
            *routes(endpoints, pools, events.hurry),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_error,
            SlurmError: on_library_error,
            Exception: on_defect,
        },
        lifespan=lambda _: procedures_attended(procedures, pools.writing),
    )
    app.state.streams = (events, events_of_one)
    return app
