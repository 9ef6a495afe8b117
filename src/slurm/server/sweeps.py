"""The routes of sweeps: their progress, points and failures. The sweeps are in a directory on the server's machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from slurm.errors import SlurmError
from slurm.sanitize.redaction import redacted
from slurm.server.endpoints import Endpoint, Field
from slurm.server.problems import Problem
from slurm.sweeps.directory import names
from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep
from slurm.sweeps.views import errors_of, facts_of_point, recent_of, status_of, why_of

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.server.endpoints import Asked

_RECENT = 10
_STATES = tuple(map(str, State))


class SweepRoutes:
    """The routes of the sweeps in a directory. No request changes a sweep."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, Sweep] = {}
        self._lock = threading.Lock()
        """Held while a sweep is read. A sweep keeps what was read, so a repeated request succeeds after a slow one."""

    def endpoints(self) -> list[Endpoint]:
        """The table of the routes."""
        of_points = {
            "offset": Field("integer", "The number of points that are left out.", 0),
            "limit": Field("integer", "The most that are listed.", 100, 1, 5000),
            "state": Field("string", f"Points in this state: {', '.join(_STATES)}."),
        }
        return [
            Endpoint("GET", "/sweeps", self.list),
            Endpoint("GET", "/sweeps/{name}", self.show),
            Endpoint("GET", "/sweeps/{name}/points", self.points, of_points),
            Endpoint("GET", "/sweeps/{name}/points/{number:int}", self.point),
        ]

    def list(self, _: Asked) -> Any:
        """List the sweeps, with the number of points in each state and at each source."""
        return [self._status(name) for name in sorted(names(self._directory))]

    def show(self, asked: Asked) -> Any:
        """Show the progress of a sweep, its failures in groups, and the points that ended last."""
        name = self._name(asked)
        with self._lock:
            sweep = self._sweep(name)
            snapshot = sweep.snapshot()
            search = sweep.status().search if sweep.search else None
        return status_of(snapshot)._replace(search=search).to_json() | {
            "name": name,
            "errors": [{**group._asdict(), "points": list(group.points)} for group in errors_of(snapshot)],
            "recent": [facts_of_point(point) for point in recent_of(snapshot, _RECENT)],
        }

    def points(self, asked: Asked) -> Any:
        """List the points of a sweep: parameters, state, source, metrics, error."""
        name, state = self._name(asked), asked.given["state"]
        if state not in (None, *_STATES):
            raise Problem(422, f"{state!r} is not a state of points: write one of {', '.join(_STATES)}")
        with self._lock:
            found = [point for point in self._sweep(name).snapshot().points if state in (None, str(point.state))]
        some = found[asked.given["offset"] : asked.given["offset"] + asked.given["limit"]]
        return {"name": name, "count": len(found), "points": [facts_of_point(point) for point in some]}

    def point(self, asked: Asked) -> Any:
        """Explain the state of a point, and say what to do about it."""
        name, number = self._name(asked), int(asked.path["number"])
        with self._lock:
            snapshot = self._sweep(name).snapshot()
        if number >= len(snapshot.points):
            raise Problem(404, f"there is no point {number}: the sweep has {len(snapshot.points)}, from 0")
        return facts_of_point(snapshot.points[number]) | {"lines": why_of(snapshot, number, name).splitlines()}

    def _status(self, name: str) -> dict[str, Any]:
        try:
            with self._lock:
                return {"name": name} | self._sweep(name).status().to_json()
        except SlurmError as error:
            return {"name": name, "error": redacted(str(error))}

    def _name(self, asked: Asked) -> str:
        name = asked.path["name"]
        if name not in names(self._directory):
            raise Problem(404, f"there is no sweep {name!r} in {self._directory}")
        return name

    def _sweep(self, name: str) -> Sweep:
        if name not in self._open:
            self._open[name] = Sweep.open(name, directory=self._directory)
        return self._open[name]
