"""What a node spends on one call that does nothing: the runner's whole process, against bare Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import noop
import noop_task
from common import PASS, Row, in_turns, judged, process, ratio, ratio_words, unmeasured

from slurm import Cluster, task
from slurm.protocol.boot import BOOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from common import Settings

    from slurm import Task

BY_REFERENCE, BY_VALUE, SUBMITIT = "by reference", "by value", "submitit"
BUDGETS = {BY_REFERENCE: 2.5, BY_VALUE: 4.5}
MODULES = 120
BANNED = ("paramiko", "rich", "click", "yaml", "asyncio", "ssl")


@task
def nothing() -> None:
    """Do nothing; this module isn't installed, so it goes by value."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    root = settings.workspace / "runner"
    elements = {BY_REFERENCE: Element(root, noop_task.nothing), BY_VALUE: Element(root, nothing)}
    subjects: dict[str, Callable[[], float]] = {"pass": process(PASS)}
    subjects |= {name: process(element.argv(), before=element.forget) for name, element in elements.items()}
    if find_spec("submitit"):
        subjects[SUBMITIT] = submitit_element(settings.workspace / "submitit")
    times = in_turns(subjects, settings.rounds)
    for name, budget in BUDGETS.items():
        what, kept = f"a no-op call in the runner, {name}", ratio(times, name, "pass") <= budget
        yield judged(what, ratio_words(times, name, "pass"), budget=f"≤ {budget} ×", kept=kept)
    if SUBMITIT in times:
        yield Row("a no-op call in submitit's runner", ratio_words(times, SUBMITIT, "pass"))
    else:
        yield unmeasured("a no-op call in submitit's runner", "submitit is not installed")
    yield modules(elements[BY_REFERENCE])


class Element:
    """A copy of a finished job of one call, whose process can be run again.

    A copy, for the job's own script may not have ended yet when its result is there; it would miss the outcome.
    """

    def __init__(self, root: Path, of: Task[..., Any]) -> None:
        with Cluster("local", root=root):
            job = of()
            job.result(60)
        self._directory = Path(shutil.copytree(job.directory, f"{job.directory}-again"))
        runner, tag = next(root.glob("blobs/*-runner.zip")), "{}.{}".format(*sys.version_info)
        self._arguments = (runner, "slurm.runner.main", root, f"{job.key}-again", 0, tag)

    def argv(self, boot: str = BOOT) -> list[str]:
        """The command that the job's script runs."""
        return [sys.executable, "-c", boot, *map(str, self._arguments)]

    def forget(self) -> None:
        """Remove the outcome and the result, so that the call is made anew."""
        for path in (*self._directory.glob("outcomes/*.json"), *self._directory.glob("results/*.pkl")):
            path.unlink()


def modules(element: Element) -> Row:
    """How many modules the process has loaded at its end, and whether one of the banned is among them."""
    element.forget()
    boot = BOOT.replace("sys.exit(boot(*sys.argv[1:]))", "boot(*sys.argv[1:]); print(*sys.modules)")
    loaded = subprocess.run(element.argv(boot), capture_output=True, text=True, check=True).stdout.split()
    banned = [name for name in BANNED if name in loaded]
    measured = f"{len(loaded)}, {', '.join(banned) or 'none of these'}"
    kept = len(loaded) < MODULES and not banned
    budget = f"< {MODULES}, none of {', '.join(BANNED)}"
    return judged("modules that the runner has loaded at the end of that call", measured, budget=budget, kept=kept)


def submitit_element(folder: Path) -> Callable[[], float]:
    """The process that submitit's script runs for a call."""
    from submitit.core.utils import DelayedSubmission  # noqa: PLC0415 - it may not be installed

    folder.mkdir()
    DelayedSubmission(noop.nothing).dump(folder / "1_submitted.pkl")
    environ = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}
    environ |= {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": os.uname().nodename}
    argv = [sys.executable, "-u", "-m", "submitit.core._submit", str(folder)]
    run = process(argv, environ=environ, before=lambda: (folder / "1_0_result.pkl").unlink(missing_ok=True))
    run()
    if not (folder / "1_0_result.pkl").exists():
        raise FileNotFoundError(f"submitit left no result in {os.listdir(folder)}")
    return run
