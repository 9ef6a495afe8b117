"""Planning: find out what a run of a sweep would submit. Makes, writes and queues nothing, on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.clusters import environment_cache
from slurm.errors import SlurmError
from slurm.jobs.plan import Plan
from slurm.options.values import seconds as seconds_of
from slurm.schedulers.base import ntasks
from slurm.storage.keys import new_key
from slurm.storage.runner_zip import without_writing
from slurm.submission.requests import chunk_size
from slurm.sweeps.spreading import Share, spread
from slurm.sweeps.submitting import Ready, draft_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.options import Options
    from slurm.sweeps.sources import Source
    from slurm.sweeps.submitting import Unit


class SourcePlan(NamedTuple):
    """The part of a plan for one source."""

    source: str
    points: int
    elements: int
    slots: int | None
    cpu_hours: float | None
    """The CPU-hours that the elements ask for, by their time limit; None without a time limit."""
    plan: Plan[Any] | None
    """The plan of the submission; None if the source cannot be asked, or gets no points."""
    trouble: str = ""
    """Why the source cannot be asked; empty if it can."""


class SweepPlan(NamedTuple):
    """What a run would submit, by source; `str()` shows a few lines, and the first script of each source."""

    points: int
    sources: tuple[SourcePlan, ...]

    def __str__(self) -> str:
        scripts = [f"\n--- script at {each.source}\n{each.plan.script}" for each in self.sources if each.plan]
        return "\n".join([self.summary, *scripts])

    @property
    def summary(self) -> str:
        """The plan as text, without the scripts."""
        rows = [("source", "points", "elements", "at once", "CPU-hours asked for")]
        for each in self.sources:
            hours = "" if each.cpu_hours is None else f"{each.cpu_hours:.1f}"
            at_once = "all" if each.slots is None else str(each.slots)
            rows.append((each.source, str(each.points), str(each.elements), at_once, each.trouble or hours))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([f"{self.points} points", *lines])


def plan_points(
    unit: Unit,
    sources: Sequence[Source],
    params: Sequence[Mapping[str, Any]],
    *,
    options: Options,
    strategy: str,
    sweep: str,
) -> SweepPlan:
    """Plan the submission of points. Probes each source; a source that cannot be asked has its error in the plan."""
    chunks = [chunk_size(settings_of(unit, source, options).options) for source in sources]
    shares = [Share(source.slots) for source in sources]
    parts = spread(range(len(params)), shares, strategy=strategy, chunk=max(chunks))
    with without_writing():
        found = [
            _planned(unit, source, [params[number] for number in part], options, sweep)
            for source, part in zip(sources, parts, strict=True)
        ]
    return SweepPlan(len(params), tuple(found))


def _planned(
    unit: Unit, source: Source, params: Sequence[Mapping[str, Any]], options: Options, sweep: str
) -> SourcePlan:
    place, settings = source.cluster.place, settings_of(unit, source, options)
    elements = -(-len(params) // chunk_size(settings.options))
    hours = _cpu_hours(settings.options, elements)
    plan, trouble = None, ""
    try:
        environment = environment_cache.planned(place, settings.environment or (), for_program=unit.command)
        code, uploads = unit.code(environment, at=source.name)
        ready = Ready(source, source.spec, code, uploads, settings, environment)
        if params:
            draft = draft_of(ready, new_key(code.task), params, slots=source.slots, sweep=sweep)
            plan = Plan[Any](place, draft, offline=None, submit=_refuse)
    except SlurmError as error:
        trouble = str(error).splitlines()[0]
    return SourcePlan(source.name, len(params), elements, source.slots, hours, plan, trouble)


def _refuse(_: object) -> Any:
    raise NotImplementedError("the parts of a plan of a sweep are submitted by Sweep.run")


def _cpu_hours(options: Options, elements: int) -> float | None:
    """Return the CPU-hours that `elements` elements ask for; None without a time limit."""
    limit = seconds_of(str(options.get("time"))) if options.get("time") else None
    if not limit:
        return None
    cpus = int(options.get("cpus_per_task") or 1) * ntasks(options.get)
    return elements * cpus * limit / 3600
