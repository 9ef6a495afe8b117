"""Many short calls on the test Slurm, with this library and others: a first map, a second map, and one more call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bare_slurm import counted
from common import Row, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common import Settings

COUNT = 2_000
OURS, POOL = "slurm-tasks", "slurm-tasks-pool"
NAMES = {OURS: "this library, in 8 elements", POOL: "a pool of this library"}
TOOLS = ("dask-jobqueue", "parsl", "executorlib")
WHAT = f"{COUNT:,} no-op calls from nothing to all results; {COUNT:,} more; one more"
LAG = "from the end of a call until its result is in hand, on Slurm"
NO_PEERS = "no `--peers-python` given, or it has no such tool"
_SHORT = 0.1
_AT_MOST = 300
"""Seconds, for one tool."""


class Failed(Exception):
    """A tool could not be measured. The text is the reason."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    yield from _many(settings)
    yield from _lags(settings)


def _many(settings: Settings) -> Iterator[Row]:
    found: dict[str, list[Sequence[float]]] = {tool: [] for tool in (OURS, POOL, *TOOLS)}
    commands: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for number in range(settings.arrays):
        for tool, runs in found.items():
            if tool in reasons:
                continue
            try:
                with counted(settings.workspace / f"peers-{tool}-{number}") as log:
                    runs.append(measured(tool, settings, str(COUNT)))
                    commands[tool] = commands_of(log)
            except Failed as failed:
                reasons[tool] = str(failed)
    for tool, runs in found.items():
        what = f"{WHAT}: {NAMES.get(tool, tool)}"
        if tool in reasons:
            yield unmeasured(what, reasons[tool])
            continue
        *times, memory = ([run[column] for run in runs] for column in range(4))
        steps = zip(times, ([run[column] for run in found[OURS]] for column in range(3)), strict=True)
        words = [_against(taken, None if tool == OURS else ours) for taken, ours in steps]
        yield Row(what, f"{'; '.join(words)}; client {median(memory):.0f} MB; {commands[tool]}")


def commands_of(log: Path) -> str:
    """The Slurm commands in a log of `counted`, with how often each ran."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(log.read_text().split()).items()))


def _against(times: Sequence[float], ours: Sequence[float] | None) -> str:
    """The median of times, and the ratio to those of this library in the same rounds, with their extremes."""
    taken = median(times)
    words = f"{1000 * taken:.0f} ms" if taken < _SHORT else f"{taken:.2f} s"
    values = [one / other for one, other in zip(times, ours, strict=True)] if ours else times
    spread = f"{min(values):.2g} to {max(values):.2g}"
    if ours:
        words += f" = {median(values):.2g} ×"
    return f"{words} ({spread})" if len(values) > 1 else words


def _lags(settings: Settings) -> Iterator[Row]:
    for tool in (OURS, POOL, "submitit", *TOOLS):
        what = f"{LAG}: {NAMES.get(tool, tool).removesuffix(', in 8 elements')}"
        try:
            lags = measured(tool, settings, "lag")
        except Failed as failed:
            yield unmeasured(what, str(failed))
            continue
        yield Row(what, f"{median(lags):.3f} s ({min(lags):.3f} to {max(lags):.3f}, {len(lags)} calls)")


def measured(tool: str, settings: Settings, *arguments: str) -> Sequence[float]:
    """Measure one tool, in the Python where it is installed. Raises Failed."""
    python = sys.executable if tool in NAMES else settings.peers_python
    if not python:
        raise Failed(NO_PEERS)
    with tempfile.TemporaryDirectory(dir=settings.workspace) as folder:
        return _measured(python, tool, folder, *arguments)


def _measured(python: str, tool: str, folder: str, *arguments: str) -> Sequence[float]:
    program = Path(__file__).with_name("peers_program.py")
    environ = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}", "HOME": folder}
    argv = [python, program, tool, folder, *arguments]
    try:
        done = subprocess.run(
            argv, env=environ, cwd=folder, capture_output=True, text=True, timeout=_AT_MOST, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {_AT_MOST} s") from None
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise Failed(f"it failed: {done.stderr.strip().splitlines()[-1]}")
    numbers: Sequence[float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def of_tool(what: str, tool: str, settings: Settings, *, count: int) -> Row:
    """The row of another tool, with the seconds of each single step."""
    try:
        *times, _ = measured(tool, settings, str(count))
    except Failed as failed:
        return unmeasured(what, str(failed))
    return Row(what, seconds(times))


def seconds(times: Sequence[float]) -> str:
    """Times as text."""
    return "; ".join(f"{time:.2f} s" for time in times)
