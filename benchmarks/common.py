"""What all topics share: rows of the table, runs in turns, medians and ratios."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Times = Mapping[str, Sequence[float]]

_MANY = 10

PASS = (sys.executable, "-c", "pass")
"""Bare Python, which everything is compared with."""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    budget: str = "–"
    verdict: str = "for comparison"


def judged(what: str, measured: str, *, budget: str, kept: bool) -> Row:
    """A row of something that has a budget."""
    return Row(what, measured, budget, "kept" if kept else "**missed**")


def unmeasured(what: str, why: str, budget: str = "–") -> Row:
    """A row of something that can't be measured here."""
    return Row(what, why, budget, "not measured")


class Settings(NamedTuple):
    """How to measure: `rounds` and `arrays` are how many times to run a process, and an array of 200."""

    workspace: Path
    rounds: int
    calls: int
    arrays: int
    slurm_sdk_python: str | None
    peers_python: str | None


def in_turns(subjects: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = True) -> Times:
    """Run every subject once a round, each round in another order; what is slow for a while then is so for all.

    `warm` runs each once before that, uncounted.
    """
    if warm:
        for run in subjects.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in subjects}
    order = list(subjects)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(subjects[name]())
    return times


def ratio(times: Times, name: str, base: str) -> float:
    """The median of what a round's run took, over what the base took in the same round."""
    return median(one / other for one, other in zip(times[name], times[base], strict=True))


def excess(times: Times, name: str, base: str) -> float:
    """How many seconds more than the base it took, in the mean."""
    return fmean(times[name]) - fmean(times[base])


def ratio_words(times: Times, name: str, base: str) -> str:
    """A ratio, and the medians behind it; of few rounds also the smallest and the largest ratio."""
    words = " against ".join(_seconds(median(times[each])) for each in (name, base))
    quotients = [one / other for one, other in zip(times[name], times[base], strict=True)]
    if 1 < len(quotients) < _MANY:
        words += f"; {min(quotients):.2f} to {max(quotients):.2f}"
    return f"{median(quotients):.2f} × ({words})"


def excess_words(times: Times, name: str, base: str) -> str:
    """A difference, its standard error, and the means behind it."""
    words = " against ".join(_seconds(fmean(times[each])) for each in (name, base))
    differences = [one - other for one, other in zip(times[name], times[base], strict=True)]
    error = stdev(differences) / len(differences) ** 0.5
    return f"{excess(times, name, base):+.2f} ± {error:.2f} s ({words})"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def process(
    argv: Sequence[str], *, environ: Mapping[str, str] | None = None, before: Callable[[], object] = lambda: None
) -> Callable[[], float]:
    """What runs a command, after `before`, and returns how long it took from start to end, in seconds."""
    variables = {**os.environ, **(environ or {})}
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]

    def run() -> float:
        before()
        begin = time.perf_counter()
        child = os.posix_spawn(argv[0], list(argv), variables, file_actions=quiet)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        elapsed = time.perf_counter() - begin
        if status:
            raise subprocess.CalledProcessError(status, argv)
        return elapsed

    return run


def timed(call: Callable[[], object]) -> float:
    """How long a call took, in seconds."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Markdown."""
    yield "| what | measured | budget | verdict |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
