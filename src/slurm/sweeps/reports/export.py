"""Export: write a sweep as a tree of plain files, for people and for programs that do not use this package.

The tree is derived from a snapshot, written completely, and never read back. It is the same from every source, except
for times, hosts, ids and the names of sources.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import yaml

from slurm.errors import ConfigurationError, SlurmError
from slurm.options import Options
from slurm.protocol import SCRIPT
from slurm.submission.script import Lines
from slurm.sweeps.failures import message
from slurm.sweeps.reports.files import write_reports
from slurm.sweeps.reports.numbers import parameter_levels, performance_of
from slurm.sweeps.snapshot import State
from slurm.sweeps.views import errors_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from slurm.protocol import Submission
    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.sources import Places
    from slurm.sweeps.sweep_point import SweepPoint

MOST_TASKS = 5000
"""The largest number of points for which every point has a directory in `tasks/`."""

_BESIDE = frozenset({"stdout.log", "stderr.log", "metrics.json"})
"""Names of files of programs that are not results: the export writes them beside the results."""

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Export:
    """Writes the tree of a sweep. `point` returns a point of a snapshot with access to its files."""

    def __init__(
        self,
        directory: SweepDirectory,
        places: Places,
        point: Callable[[Point], SweepPoint],
        search: Search | None = None,
    ) -> None:
        self._directory, self._places, self._point, self._search = directory, places, point, search

    def write(self, snapshot: Snapshot, to: Path, *, everything: bool = False) -> list[str]:
        """Write the tree into a directory, in place of an older one; return a line for each file that is unreadable.

        `tasks/` has a directory for each point. If there are more than 5 000 points, only points that failed or left
        files have a directory; with `everything`, all points have one.
        """
        hidden = to / f".export.{os.urandom(4).hex()}"
        hidden.mkdir(parents=True)
        try:
            problems = [*self._write_tasks(snapshot, hidden, everything=everything)]
            _yaml(hidden / "sweep_metadata.yaml", self._metadata(snapshot))
            self._write_logs(snapshot, hidden / "logs")
            problems += self._write_scripts(snapshot, hidden / "scripts")
            write_reports(self._directory.path.name, snapshot, hidden / "reports", self._search)
            costs = performance_of(snapshot, parameter_levels(snapshot)).to_json()
            _yaml(hidden / "reports" / "performance_analysis.yaml", costs)
            for entry in sorted(hidden.iterdir()):
                _replace(entry, to / entry.name)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        return problems

    def _write_tasks(self, snapshot: Snapshot, root: Path, *, everything: bool) -> Iterator[str]:
        """Write the directories of points, and a list of their paths; yield a line for each file that is unreadable."""
        (root / "tasks").mkdir()
        width, mapping = max(3, len(str(len(snapshot.points)))), dict[str, Any]()
        all_ = everything or len(snapshot.points) <= MOST_TASKS
        for known in snapshot.points:
            name, point = f"task_{known.number + 1:0{width}}", self._point(known)
            where = {"params": dict(known.params), "source": known.source, "status": str(known.state)}
            if all_ or known.state is State.FAILED or (point.files_are_here and _results(point)):
                yield from _write_task(point, root / "tasks" / name)
                where["directory"] = f"tasks/{name}"
            mapping[name] = where
        _yaml(root / "task_mapping.yaml", mapping)

    def _metadata(self, snapshot: Snapshot) -> dict[str, Any]:
        record, status = self._directory.record, status_of(snapshot)
        return {
            "sweep_id": record.id,
            "task": record.task,
            "created": _time(record.created),
            "total_tasks": status.total,
            "status": {str(state): number for state, number in status.counts.items()},
            "sources": {name: dict(counts) for name, counts in status.sources.items()},
        }

    def _write_logs(self, snapshot: Snapshot, directory: Path) -> None:
        """Write a log of the events of the sweep, from its records, and the failures."""
        (directory / "sources").mkdir(parents=True)
        status, record = status_of(snapshot, self._search), self._directory.record
        shards = sorted(snapshot.shards.items())
        lines = [f"{_time(record.created)} created with {record.count} points"]
        lines += [f"shard {n}: {len(shard.numbers)} points to {shard.source} ({shard.why})" for n, shard in shards]
        _lines(directory / "sweep.log", [*lines, *str(status).splitlines()])
        collections = sorted(self._directory.collected().items())
        _lines(directory / "engine.log", [f"collection {n}: {len(some)} outcomes" for n, some in collections])
        for source in dict.fromkeys(shard.source for _, shard in shards):
            own = {n: shard for n, shard in shards if shard.source == source}
            words = [f"shard {n}: {len(s.numbers)} points as {s.key} at {s.url} ({s.why})" for n, s in own.items()]
            counts = status.sources.get(source, {})
            words.append(", ".join(f"{number} {name}" for name, number in counts.items()) or "no points")
            silent = {s.url: snapshot.troubles[s.url] for s in own.values() if s.url in snapshot.troubles}
            words += [f"{url} does not answer: {why}" for url, why in silent.items()]
            _lines(directory / "sources" / f"{_file_name(source)}.log", words)
        _write_errors(snapshot, directory / "errors")

    def _write_scripts(self, snapshot: Snapshot, directory: Path) -> Iterator[str]:
        """Write the batch script of each shard, and its setup, if any; yield a line for each one that is unreadable."""
        jobs, setups = directory / "job_scripts", directory / "setup_scripts"
        jobs.mkdir(parents=True)
        for number, shard in sorted(snapshot.shards.items()):
            place = self._places.of(shard.cluster)
            path = f"{place.store.directory(shard.key)}/{SCRIPT}"
            try:
                found = place.transport.get([path], private=True)
                setup = _setup(place.store.records(shard.key).submission) if path in found else ()
            except SlurmError as error:
                yield f"the script of shard {number}: {error}"
                continue
            if path not in found:
                yield f"the script of shard {number}: {path} was removed"
                continue
            (jobs / f"shard_{number:03}.sh").write_bytes(found[path])
            if setup:
                setups.mkdir(exist_ok=True)
                (setups / f"shard_{number:03}.sh").write_text("\n".join(["#!/bin/bash", *setup, ""]), encoding="utf-8")


def _setup(submission: Submission) -> Sequence[str]:
    """Return the lines of bash that run before the Python of a job, from its cluster, environment and options."""
    return (*submission.environment.setup, *Lines.of(Options.parse(submission.options)).setup)


def _write_task(point: SweepPoint, directory: Path) -> Iterator[str]:
    """Write the files of one point; yield a line for each file that is unreadable."""
    directory.mkdir(parents=True)
    _yaml(directory / "params.yaml", point.params)
    _yaml(directory / "status.yaml", _status(point.known))
    if point.metrics:
        text = json.dumps(point.metrics, indent=2)
        (directory / "metrics.json").write_text(text + "\n", encoding="utf-8")
    if point.known.ended is None:
        return
    try:
        (directory / "stdout.log").write_text(point.logs(), encoding="utf-8")
        with suppress(ConfigurationError):  # the two streams may be in one log
            (directory / "stderr.log").write_text(point.logs(stderr=True), encoding="utf-8")
    except SlurmError as error:
        yield f"the log of point {point.number}: {error}"
    try:
        _write_results(point, directory)
    except SlurmError as error:
        yield f"files of point {point.number}: {error}"


def _write_results(point: SweepPoint, directory: Path) -> None:
    """Copy the files of the attempt that counts, without its logs and metrics, which are written separately."""
    results = _results(point)
    if results:
        fetched = directory / ".files"
        point.fetch(to=fetched)
        for name, path in results.items():
            target = directory / "results" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (fetched / path).rename(target)
        shutil.rmtree(fetched)


def _results(point: SweepPoint) -> dict[str, str]:
    """Return the files of the attempt that counts, by their names in its directory."""
    attempt = point.known.ended.directory if point.known.ended else None
    top = f"{attempt}/" if attempt else ""
    found = {file.name.removeprefix(top): file.name for file in point.files() if file.name.startswith(top)}
    return {name: path for name, path in found.items() if name not in _BESIDE}


def _status(point: Point) -> dict[str, Any]:
    ended = point.ended
    found: dict[str, Any] = {"status": str(point.state), "source": point.source, "attempts": point.attempts}
    if ended is not None:
        found |= {
            "host": ended.host,
            "job_id": ended.job_id,
            "start_time": ended.started and _time(ended.started),
            "end_time": ended.ended and _time(ended.ended),
            "duration_seconds": ended.seconds,
            "peak_memory_bytes": ended.peak_memory,
            "exit_code": ended.exit_code,
            "error": None if ended.succeeded else message(ended),
        }
    return found


def _write_errors(snapshot: Snapshot, directory: Path) -> None:
    """Write each failure, and the groups of failures of the same kind."""
    directory.mkdir()
    failed = {
        point.number + 1: {"params": dict(point.params), "error": message(point.ended)}
        for point in snapshot.points
        if point.state is State.FAILED and point.ended is not None
    }
    _yaml(directory / "failed_tasks.yaml", failed)
    groups = [
        {
            "pattern": one.pattern,
            "where": one.where,
            "count": len(one.points),
            "tasks": [number + 1 for number in one.points],
            "example": one.example,
            "suggestion": one.suggestion,
        }
        for one in errors_of(snapshot)
    ]
    _yaml(directory / "error_patterns.yaml", groups)


def _replace(new: Path, old: Path) -> None:
    """Move a new file or tree to the path of an older one, which is removed."""
    trash = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(trash)
    new.rename(old)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="seconds")


def _yaml(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(value, file, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1 << 30)


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _file_name(source: str) -> str:
    """Return the name of a source as a file name."""
    return "".join(c if c.isalnum() or c in "-_.@:" else "_" for c in source)
