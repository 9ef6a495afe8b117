"""Attempts: the files of a run's jobs, in the run directory.

`attempts/<stage>.<n>` is the directory of the n-th job of a stage, and `output/<stage>` is the output of the last job.
Both are links if this machine can see the job's directory. If not, they are copies, which exist after `fetch`. The
link `output/<stage>` is broken until the job has succeeded.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol import WORK
from slurm.protocol.states import JobState
from slurm.tools.errors import ToolError
from slurm.tools.stage import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slurm.jobs.job import Job
    from slurm.runner.finished import Finished

ATTEMPTS = "attempts"
_ATTEMPT = re.compile(r"attempt-(\d+)[^/]*")
_MAY_STILL_RUN = (JobState.NODE_FAIL, JobState.LOST, JobState.UNKNOWN)


class Left(NamedTuple):
    """The directory that an attempt has left at the cluster."""

    path: str
    copied: bool
    """Whether the next attempt copies the files, because the earlier attempt may still write there."""


def link(run_dir: Path, stage: str, number: int, job: Job[Finished]) -> None:
    """Link a new job's directory, if this machine can see it, and remove the link to the output of an earlier job.

    Raises OSError.
    """
    output = run_dir / OUTPUT / stage
    if output.is_symlink():
        output.unlink()
    if not os.path.isdir(job.directory):
        return
    work = f"{job.directory}/{WORK}/{job.index}"
    replace_link(run_dir / ATTEMPTS / f"{stage}.{number}", work)
    replace_link(output, f"{work}/{OUTPUT}")


def replace_link(path: Path, target: str) -> None:
    """Make a link, or replace an earlier one, atomically. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    draft.symlink_to(target)
    draft.replace(path)


def fetch(run_dir: Path, stage: str, number: int, job: Job[Finished], patterns: Sequence[str]) -> list[Path]:
    """Copy files of a job, by default all, to `attempts/<stage>.<number>`; return the paths of the copies.

    Links the output if the job has succeeded. Raises TransportError.
    """
    target, output = run_dir / ATTEMPTS / f"{stage}.{number}", run_dir / OUTPUT / stage
    if target.is_symlink():
        target.unlink()
    found = job.fetch(*patterns, to=target, wait=False)
    outcome = job.status().outcome
    if outcome and outcome.succeeded and outcome.outputs:
        own = outcome.outputs[0]
        record = {"directory": own.directory, "products": [product.to_json() for product in own.products]}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (run_dir / ATTEMPTS / f"{stage}.{number}.json").write_text(text, encoding="utf-8")
        replace_link(output, f"../{ATTEMPTS}/{stage}.{number}/{own.directory}")
    return found


def left_by(stage: str, job: Job[Finished]) -> Left:
    """Return the directory of a job's last attempt, for a resume. Raises ToolError if there is nothing to resume."""
    status = job.status()
    if not status.state.final:
        raise ToolError(
            f"stage {stage} cannot be resumed while its job {job.key} is {status.state}: wait for its end, or cancel it"
        )
    if status.state is JobState.COMPLETED:
        raise ToolError(f"stage {stage} has succeeded, so there is nothing to resume: again=True starts it anew")
    found = {match[0]: int(match[1]) for file in job.files() if (match := _ATTEMPT.match(file.name))}
    if not found:
        raise ToolError(f"job {job.key} of stage {stage} has left no files to resume from: again=True starts it anew")
    name = max(found, key=lambda each: (found[each], each))
    fenced = status.outcome is not None and status.outcome.fence is not None
    return Left(f"{job.directory}/{WORK}/{job.index}/{name}", fenced or status.state in _MAY_STILL_RUN)
