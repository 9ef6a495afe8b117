"""Efficiency: compare what calls have requested with what they have used, and find options that would fit."""

from __future__ import annotations

from math import ceil
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from slurm.options.values import megabytes
from slurm.options.values import seconds as seconds_of
from slurm.views.displays import duration, memory
from slurm.views.status import statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from slurm.protocol.outcomes import Outcome
    from slurm.views.status import Part

_ROOM = 1.25
"""Fitting options ask for a quarter more than the largest use, because other calls may need more."""


class Use(NamedTuple):
    """How much of a resource the elements have used: minimum, median and maximum; and how much each has requested."""

    resource: str
    least: float
    median: float
    most: float
    asked: float | None
    unit: str

    @property
    def share(self) -> float | None:
        """The largest use, as a fraction of what was requested."""
        return self.most / self.asked if self.asked else None

    def text(self, amount: float | None) -> str:
        """An amount of the resource as text."""
        if amount is None:
            return "-"
        shown: dict[str, Callable[[float], str]] = {"bytes": lambda n: memory(int(n)), "seconds": duration}
        return shown[self.unit](amount) if self.unit in shown else f"{amount:.2g}"


def uses(outcomes: Sequence[Outcome], options: Mapping[str, Any]) -> list[Use]:
    """Compare what elements have used with the options that they were submitted with.

    Memory is the largest resident set of a process, in bytes; time is in seconds; CPUs are CPU time over elapsed time.
    A resource that no outcome reports is left out.
    """
    took = [(o.ended - o.started, o.cpu_seconds) for o in outcomes if o.ended is not None and o.started is not None]
    limit = seconds_of(str(options["time"])) if options.get("time") else None
    several = [
        _use("memory", [o.peak_memory for o in outcomes if o.peak_memory], _bytes(options.get("mem")), "bytes"),
        _use("time", [seconds for seconds, _ in took], limit, "seconds"),
        _use("cpus", [used / max(s, 0.01) for s, used in took if used is not None], _cpus(options), "cpus"),
    ]
    return [use for use in several if use is not None]


def uses_of(part: Part) -> list[Use]:
    """Compare what the ended elements of some calls have used with their options. Reads their states and the record."""
    place, state, indices = part
    found = {state.element(i): status.outcome for i, status in zip(indices, statuses([part])[0], strict=True)}
    options = place.store.records(state.key).submission.options
    return uses([outcome for outcome in found.values() if outcome is not None], options)


def fitting(found: Sequence[Use]) -> dict[str, str | int]:
    """The options that would fit the largest use: memory, time and CPUs, each with some reserve."""
    most = {use.resource: use.most for use in found}
    options: dict[str, str | int] = {}
    if "memory" in most:
        options["mem"] = f"{max(1, ceil(most['memory'] * _ROOM / (100 << 20))) * 100}M"
    if "time" in most:
        options["time"] = _clock(max(60, ceil(most["time"] * _ROOM / 60) * 60))
    if most.get("cpus", 0) > 1.5:
        options["cpus_per_task"] = ceil(most["cpus"])
    return options


def _use(resource: str, amounts: Sequence[float], asked: float | None, unit: str) -> Use | None:
    if not amounts:
        return None
    return Use(resource, min(amounts), median(amounts), max(amounts), asked, unit)


def _bytes(mem: object) -> float | None:
    """The bytes of the option mem; None if it was not given, or asks for all memory of a node."""
    return megabytes(str(mem)) * (1 << 20) or None if mem else None


def _cpus(options: Mapping[str, Any]) -> float:
    """The number of CPUs that an element requested, according to the options."""
    return float(options.get("cpus_per_task") or 1) * float(options.get("ntasks") or 1)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
