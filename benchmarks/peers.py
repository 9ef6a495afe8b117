"""Many short calls, which other tools keep processes waiting for: from nothing, and again, on the test Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import noop_task
from common import Row, timed, unmeasured

from slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common import Settings

COUNT, ELEMENTS = 2_000, 8
WHAT = f"{COUNT:,} no-op calls from nothing to all results; {COUNT:,} more; one more"
TOOLS = ("dask-jobqueue", "parsl", "executorlib")
_AT_MOST = 300
"""Seconds, for one tool."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    yield Row(f"{WHAT} (in {ELEMENTS} elements)", seconds(_ours(settings)), verdict="no budget")
    for tool in TOOLS:
        yield of_tool(f"the same by {tool}", tool, settings, count=COUNT)


def _ours(settings: Settings) -> Sequence[float]:
    chunk = COUNT // ELEMENTS
    with Cluster("slurm", root=settings.workspace / "peers"):
        many = [timed(lambda: noop_task.nothing.map(range(COUNT), chunk_size=chunk).results(120)) for _ in range(2)]
        return [*many, timed(lambda: noop_task.nothing().result(60))]


def of_tool(what: str, tool: str, settings: Settings, *, count: int) -> Row:
    """The row of another tool, which runs in the Python that has it."""
    if not settings.peers_python:
        return unmeasured(what, "no `--peers-python` given")
    with tempfile.TemporaryDirectory(dir=settings.workspace) as folder:
        return _of_tool(what, tool, settings.peers_python, folder, count)


def _of_tool(what: str, tool: str, python: str, folder: str, count: int) -> Row:
    program = Path(__file__).with_name("peers_program.py")
    environ = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}", "HOME": folder}
    argv = [python, program, tool, folder, str(count)]
    try:
        done = subprocess.run(
            argv, env=environ, cwd=folder, capture_output=True, text=True, timeout=_AT_MOST, check=False
        )
    except subprocess.TimeoutExpired:
        return unmeasured(what, f"not done after {_AT_MOST} s")
    if done.returncode:
        sys.stderr.write(done.stderr)
        return unmeasured(what, f"it failed: {done.stderr.strip().splitlines()[-1]}")
    return Row(what, seconds(json.loads(done.stdout.splitlines()[-1])))


def seconds(times: Sequence[float]) -> str:
    """Times as text."""
    return "; ".join(f"{time:.2f} s" for time in times)
