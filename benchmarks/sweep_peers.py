"""The points of a sweep stored, looked at and planned: by this library and by other tools, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from common import Row, timed, unmeasured
from record_tasks import known

from slurm import Cluster
from slurm.sweeps import State, Sweep, grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Settings

COUNT, HYDRA_COUNT = 2_000, 100
STORE = f"{COUNT:,} points of a sweep stored and submitted"
TOOLS = (
    ("hydra", HYDRA_COUNT, f"{HYDRA_COUNT} points run by hydra's multirun, whose function does nothing"),
    ("signac", COUNT, f"{COUNT:,} points stored by signac, nothing submitted"),
    ("signac-missing", COUNT, f"which of {COUNT:,} points are missing, by signac in the process that has stored them"),
    ("snakemake", COUNT, f"{COUNT:,} points planned by `snakemake --dry-run`"),
)
_AT_MOST = 300
"""Seconds, for one tool."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    sweeps, root = settings.workspace / "sweep-peers", settings.workspace / "sweep-peers-root"
    (name,) = known.signature.parameters
    with Cluster("local", root=root) as cluster:
        known.with_options(reuse=None).map(range(1)).results(60)  # the first look, and the scheduler, are there

        def submit(count: int, which: str) -> Sweep:
            return Sweep(known, grid(**{name: range(count)}), name=which, directory=sweeps).run(
                on=(cluster, 2), chunk=max(1, count // 20)
            )

        seconds = timed(lambda: submit(COUNT, "many"))
        files = sum(len(names) for at in (sweeps, root / "jobs") for _, _, names in os.walk(at))
        yield Row(f"{STORE} (this library)", f"{seconds:.2f} s; {files} files, those of the job included")
        sweep = Sweep.open("many", directory=sweeps)
        sweep.drive()
        seconds = timed(lambda: _look(sweeps))
        yield Row(f"which of {COUNT:,} points are missing (this library)", f"{seconds:.2f} s")
        seconds = timed(lambda: submit(HYDRA_COUNT, "few").drive())
        yield Row(f"{HYDRA_COUNT} points run in 20 elements on `local` (this library)", f"{seconds:.2f} s")
    for tool, count, what in TOOLS:
        yield _of_tool(what, tool, count, settings)


def _look(sweeps: Path) -> None:
    assert Sweep.open("many", directory=sweeps).snapshot().counts == {State.DONE: COUNT}


def _of_tool(what: str, tool: str, count: int, settings: Settings) -> Row:
    if not settings.peers_python:
        return unmeasured(what, "no `--peers-python` given")
    program = Path(__file__).with_name("sweep_peers_program.py")
    with tempfile.TemporaryDirectory(dir=settings.workspace) as folder:
        environ = {**os.environ, "HOME": folder}
        argv = [settings.peers_python, program, tool, folder, str(count)]
        try:
            done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=_AT_MOST, check=False)
        except subprocess.TimeoutExpired:
            return unmeasured(what, f"not done after {_AT_MOST} s")
    if done.returncode:
        sys.stderr.write(done.stderr)
        return unmeasured(what, f"it failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, files, peak, version = json.loads(done.stdout.splitlines()[-1])
    return Row(f"{what} ({version})", f"{seconds:.2f} s; {files} files; {peak / 1e6:.0f} MB")
