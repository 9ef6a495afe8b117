"""JobContext: what a task may know of the job that it runs in."""

from __future__ import annotations

import os

from slurm.protocol import JOBS, SUBMISSION, WORK, Submission
from slurm.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_current: list[JobContext] = []
_moved_to: list[int] = []


class JobContext(Record):
    """The job that a task runs in: give a parameter this annotation, or call `slurm.current_job()`.

    The values come from the submission and from the variables that Slurm documents in sbatch(1), OUTPUT ENVIRONMENT
    VARIABLES. Attributes are plain values; methods may touch files.
    """

    root: str
    key: str
    """The submission, by its path under `<root>/jobs/`."""
    index: int
    """This call's place in the submission, from 0."""
    job_id: str | None = None
    """The scheduler's id, such as "1234_7"."""
    attempt: int = 1
    """1, and one more after each requeue."""
    cpus: int = 1
    """Processors that this task may use on this node; for one of an element's `workers`, its share of them."""
    host: str = ""

    @classmethod
    def from_environment(cls, root: str, key: str, index: int, environ: Mapping[str, str]) -> JobContext:
        """The context of element `index`, as the scheduler's variables tell it."""
        job_id = environ.get("SLURM_ARRAY_JOB_ID")
        task = environ.get("SLURM_ARRAY_TASK_ID")
        return cls(
            root=root,
            key=key,
            index=index,
            job_id=f"{job_id}_{task}" if job_id and task else environ.get("SLURM_JOB_ID"),
            attempt=int(environ.get("SLURM_RESTART_COUNT") or 0) + 1,
            cpus=int(environ.get("SLURM_CPUS_PER_TASK") or environ.get("SLURM_CPUS_ON_NODE") or 1),
            host=environ.get("SLURMD_NODENAME") or os.uname().nodename,
        )

    @property
    def directory(self) -> str:
        """The submission's directory."""
        return f"{self.root}/{JOBS}/{self.key}"

    def submission(self) -> Submission:
        """What was asked for: the number of calls, the options, the environment. Reads a file."""
        path = f"{self.directory}/{SUBMISSION}"
        with open(path, "rb") as file:
            return Submission.loads(file.read(), where=path)

    def output_directory(self) -> Path:
        """A directory for this call's own files, kept with the job; made if it isn't there."""
        from pathlib import Path  # noqa: PLC0415 - most tasks never ask

        path = Path(self.directory, WORK, str(self.index))
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


def current_job() -> JobContext:
    """The context of the job that this code runs in. Raises RuntimeError outside of a job."""
    if not _current:
        raise RuntimeError("current_job() is for code that runs in a job: call it from a task, on the node")
    return _current[-1].replace(index=_moved_to[-1]) if _moved_to else _current[-1]


def enter(context: JobContext) -> None:
    """Make `context` the one that `current_job()` gives in this process."""
    _current.append(context)


def move_to(index: int) -> None:
    """Make `current_job()` tell of another call of the same element."""
    _moved_to[:] = [index]
