"""From submitting to results in hand, on the test Slurm: one call, and an array of 200, against a bare sbatch."""

from __future__ import annotations

import itertools
import logging
import os
import time
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import noop
import noop_task
from bare_slurm import Bare
from common import (
    Row,
    excess,
    excess_words,
    in_turns,
    judged,
    ratio,
    ratio_words,
    timed,
    unmeasured,
)

from slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from common import (
        Settings,
    )

COUNT = 200
CALL_BUDGET, ARRAY_BUDGET = 0.25, 1.15
OURS, SUBMITIT, BARE = "slurm-tasks", "submitit", "bare sbatch"
CALL = "one no-op call, submit to result in hand, over a bare sbatch"
ARRAY = f"an array of {COUNT} no-op calls, to all results, against a bare `sbatch --array` of `python -c pass`"


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    bare = Bare(settings.workspace / "bare")
    submitit = Submitit(settings.workspace / "submitit-slurm") if find_spec("submitit") else None
    with Cluster("slurm", root=settings.workspace / "slurm"):
        yield from _calls(settings, bare, submitit)
        yield from _arrays(settings, bare, submitit)


def _calls(settings: Settings, bare: Bare, submitit: Submitit | None) -> Iterator[Row]:
    calls: dict[str, Callable[[], Any]] = {BARE: bare.call, OURS: lambda: noop_task.nothing().result(60)}
    if submitit:
        calls[SUBMITIT] = submitit.call
    times = in_turns({name: at_any_moment(call) for name, call in calls.items()}, settings.calls)
    kept = excess(times, OURS, BARE) <= CALL_BUDGET
    yield judged(CALL, excess_words(times, OURS, BARE), budget=f"≤ {CALL_BUDGET} s more", kept=kept)
    yield _of_submitit(CALL, excess_words(times, SUBMITIT, BARE) if submitit else None)


def _arrays(settings: Settings, bare: Bare, submitit: Submitit | None) -> Iterator[Row]:
    arrays: dict[str, Callable[[], Any]] = {
        BARE: partial(bare.array, COUNT),
        OURS: lambda: noop_task.nothing.map(range(COUNT)).results(120),
    }
    subjects = {name: partial(timed, array) for name, array in arrays.items()}
    noop_task.nothing.map(range(2)).results(60)
    times = in_turns(subjects, settings.arrays, warm=False)
    kept = ratio(times, OURS, BARE) <= ARRAY_BUDGET
    yield judged(ARRAY, ratio_words(times, OURS, BARE), budget=f"≤ {ARRAY_BUDGET} ×", kept=kept)
    if submitit:
        # Once is enough for a comparison, and it takes its time.
        once = {BARE: subjects[BARE], SUBMITIT: partial(timed, partial(submitit.array, COUNT))}
        times = in_turns(once, 1, warm=False)
    yield _of_submitit(ARRAY, ratio_words(times, SUBMITIT, BARE) if submitit else None)


def at_any_moment(call: Callable[[], object]) -> Callable[[], float]:
    """What times a call, each time at another moment within a second, evenly spread, the same ones for each call.

    slurmctld starts jobs once a second: calls one after the other would all be made just after it has, and all take a
    second, whatever they do in that time. Hence also means, not medians: a call that just misses the second counts.
    """
    number = itertools.count()

    def run() -> float:
        time.sleep(next(number) * _GOLDEN % 1)
        return timed(call)

    return run


_GOLDEN = 0.618034
"""Multiples of it, modulo 1, are spread evenly, however many there are."""


def _of_submitit(what: str, measured: str | None) -> Row:
    what = f"the same by submitit: {what.partition(',')[0]}"
    return Row(what, measured) if measured else unmeasured(what, "submitit is not installed")


class Submitit:
    """Submitit with its defaults, but for the limit on how many elements run at once, which this Slurm needn't."""

    def __init__(self, folder: Path) -> None:
        from submitit import AutoExecutor  # noqa: PLC0415 - it may not be installed

        logging.getLogger("submitit").setLevel(logging.CRITICAL)
        self._executor = AutoExecutor(folder, cluster="slurm")
        self._executor.update_parameters(slurm_array_parallelism=COUNT)

    def call(self) -> None:
        """One call, to its result."""
        with no_complaints():
            self._executor.submit(noop.nothing).result()

    def array(self, count: int) -> None:
        """An array, to all results."""
        with no_complaints():
            for job in self._executor.map_array(noop.nothing, range(count)):
                job.result()


@contextmanager
def no_complaints() -> Iterator[None]:
    """Leave out what sacct, which submitit asks all the time, says of a Slurm without accounting."""
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
