"""The test Slurm, and what is done on it without this package: sbatch, and a look at the files that jobs touch."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from testbed import SlurmTestbed
from testbed.programs import without_slurm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL = 0.01
"""Seconds between two looks, as this package has it on a local file system."""

_PROBE = """\
#!/bin/sh
echo {name} >> {log}
PATH="${{PATH%%{directory}:*}}${{PATH#*{directory}:}}" exec {name} "$@"
"""
COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sacct")


@contextmanager
def test_slurm() -> Iterator[SlurmTestbed]:
    """The tests' Slurm, with this process pointed at it."""
    with SlurmTestbed() as testbed:
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(without_slurm(before) | testbed.env)
        try:
            yield testbed
        finally:
            os.environ.clear()
            os.environ.update(before)


class Bare:
    """`sbatch` of bare Python."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._number = 0
        self._script = directory / "script.sh"
        self._script.write_text(f'#!/bin/bash\n{shlex.join([sys.executable, "-c", "pass"])}\n: > "$1/$2$3"\n')
        self._array = directory / "array.sh"
        self._array.write_text(self._script.read_text().replace("$2$3", "$SLURM_ARRAY_TASK_ID"))

    def call(self) -> None:
        """Submit one job and wait until it has ended."""
        self._run(1, self._script, [])

    def array(self, count: int) -> None:
        """Submit an array and wait until all its tasks have ended."""
        self._run(count, self._array, [f"--array=0-{count - 1}"])

    def _run(self, count: int, script: Path, options: list[str]) -> None:
        self._number += 1
        ended = self._directory / str(self._number)
        ended.mkdir()
        logs = f"--output={self._directory}/%A_%a.log" if options else f"--output={self._directory}/%j.log"
        argv = ["sbatch", "--parsable", *options, logs, str(script), str(ended), "done"]
        subprocess.run(argv, capture_output=True, check=True)
        while len(os.listdir(ended)) < count:
            time.sleep(POLL)


@contextmanager
def counted(directory: Path) -> Iterator[Path]:
    """While it lasts, each Slurm command that is run adds its name, as a line, to the file that this gives."""
    directory.mkdir()
    log = directory / "log"
    log.touch()
    path = os.environ["PATH"]
    for name in COMMANDS:
        probe = directory / name
        probe.write_text(_PROBE.format(name=name, log=shlex.quote(str(log)), directory=shlex.quote(str(directory))))
        probe.chmod(0o700)
    os.environ["PATH"] = f"{directory}{os.pathsep}{path}"
    try:
        yield log
    finally:
        os.environ["PATH"] = path
