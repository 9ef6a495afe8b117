"""JobContext: what a task may know of the job that it runs in."""

from __future__ import annotations

import os
import sys

from slurm.protocol import EVENTS, JOBS, SUBMISSION, WORK, Submission
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

_current: list[JobContext] = []
_moved_to: list[int] = []
_stop: list[str] = []
_at_once: list[bool] = []
_reported: dict[int, float] = {}

PROGRESS_SECONDS = 0.5
"""Progress that is told more often than this is not written down, but for the last."""


class Stopped(BaseException):
    """All that the next attempt needs is saved, and the time is over: unwinds the task up to the runner."""


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
    """1, and one more after each requeue, retry, or stop at a checkpoint."""
    cpus: int = 1
    """Processors that this task may use on this node; for one of an element's `workers`, its share of them."""
    host: str = ""
    hosts: tuple[str, ...] = ()
    """The job's nodes, in Slurm's order."""
    rank: int = 0
    """Which of the processes that make this call together this is; 0 where there is one."""
    world_size: int = 1
    """How many they are."""
    local_rank: int = 0
    local_world_size: int = 1
    """The same among those on this node."""
    node_rank: int = 0
    """This node's place among `hosts`."""

    @classmethod
    def from_environment(
        cls, root: str, key: str, index: int, environ: Mapping[str, str], attempt: int | None = None
    ) -> JobContext:
        """The context of call `index`, as the scheduler's variables tell it."""
        job_id = environ.get("SLURM_ARRAY_JOB_ID")
        task = environ.get("SLURM_ARRAY_TASK_ID")
        host = environ.get("SLURMD_NODENAME") or os.uname().nodename
        return cls(
            root=root,
            key=key,
            index=index,
            job_id=f"{job_id}_{task}" if job_id and task else environ.get("SLURM_JOB_ID"),
            attempt=attempt or int(environ.get("SLURM_RESTART_COUNT") or 0) + 1,
            cpus=int(environ.get("SLURM_CPUS_PER_TASK") or environ.get("SLURM_CPUS_ON_NODE") or 1),
            host=host,
            hosts=_expanded(environ.get("SLURM_JOB_NODELIST") or host),
        )

    @property
    def directory(self) -> str:
        """The submission's directory."""
        return f"{self.root}/{JOBS}/{self.key}"

    def submission(self) -> Submission:
        """What was asked for: the number of calls, the options, the environment. Reads a file."""
        path = f"{self.directory}/{SUBMISSION}"
        with open_own(path) as file:
            return Submission.loads(file.read(), where=path)

    def output_directory(self) -> Path:
        """A directory for this call's own files, kept with the job; made if it isn't there."""
        from pathlib import Path  # noqa: PLC0415 - most tasks never ask

        from slurm.protocol.directories import make_private  # noqa: PLC0415

        path = Path(self.directory, WORK, str(self.index))
        make_private(str(path))
        return path

    @property
    def should_stop(self) -> bool:
        """Whether the job is to end soon: its stop signal has come, `signal_lead` ahead of its limit, or SIGTERM."""
        return bool(_stop)

    def checkpoint(self, value: Any) -> None:
        """Save `value` for the next attempt, which finds it as `restored`. If the job should stop, this doesn't return.

        The job then goes on in another attempt: requeued, or, where the site refuses that, as a job that follows it.
        An attempt after a failure finds the value too. Raises what pickling or the disk raises; what was saved before
        stays.
        """
        from slurm.runner import checkpoint  # noqa: PLC0415 - most tasks save none
        from slurm.runner.pickling import pickled  # noqa: PLC0415

        checkpoint.save(self.directory, self._who, self.attempt, pickled(value))
        if _stop:
            raise Stopped(_stop[-1])

    @property
    def restored(self) -> Any:
        """What an earlier attempt gave to `checkpoint` last; None if there was none. Read when first asked for."""
        if "_restored" not in self.__dict__:
            from slurm.runner import checkpoint  # noqa: PLC0415 - as above

            self.__dict__["_restored"] = checkpoint.restore(self.directory, self._who, self.attempt)
        return self.__dict__["_restored"]

    @property
    def _who(self) -> str:
        """Whose checkpoint it is."""
        return f"{self.index}" if self.world_size == 1 else f"{self.index}-{self.rank}"

    def progress(self, done: float, total: float | None = None, **metrics: Any) -> None:
        """Tell how far the task is: `done` of `total`, in whatever unit, and numbers or texts besides (`loss=0.1`).

        Written as a line of JSON to `events/<index>.jsonl`, at most twice a second, and always when `done` is `total`.
        Of several ranks, what rank 0 tells is written.
        """
        if self.rank:
            return
        import time  # noqa: PLC0415 - as above

        now = time.monotonic()
        if now - _reported.get(self.index, -PROGRESS_SECONDS) < PROGRESS_SECONDS and done != total:
            return
        _reported[self.index] = now
        tell(self, {"event": "progress", "done": done, "total": total, "metrics": metrics})


def tell(context: JobContext, event: Mapping[str, Any]) -> None:
    """Add a line to a call's `events/<index>.jsonl`. Raises OSError."""
    import json  # noqa: PLC0415 - most tasks tell nothing
    import time  # noqa: PLC0415

    line = {"time": time.time(), "attempt": context.attempt, **event}
    directory = f"{context.directory}/{EVENTS}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor = os.open(f"{directory}/{context.index}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "ab") as file:
        file.write(json.dumps(line, default=_plain).encode() + b"\n")


def _plain(value: Any) -> Any:
    """What JSON has for a value: of numpy's and torch's scalars their number, of anything else its text."""
    try:
        number = value.item()
    except (AttributeError, RuntimeError, TypeError, ValueError):  # arrays have one, too
        return str(value)
    return number if isinstance(number, (int, float)) else str(value)


def say(text: str) -> None:
    """Print to the job's log. What the task did to the standard error, or to its descriptor, keeps nothing up."""
    try:
        print(text, end="", file=sys.stderr)
    except (AttributeError, OSError, ValueError):
        try:
            os.write(2, text.encode(errors="replace"))
        except OSError:
            pass


def _expanded(nodes: str) -> tuple[str, ...]:
    if "[" not in nodes and "," not in nodes:
        return (nodes,)
    from slurm.runner.nodelist import expand  # noqa: PLC0415 - most jobs have one node

    return expand(nodes)


def drop_checkpoints(context: JobContext, index: int) -> None:
    """Remove what a call has saved on its way, once it has its result."""
    if "slurm.runner.checkpoint" in sys.modules:  # the task has saved something, or has asked for it
        sys.modules["slurm.runner.checkpoint"].remove(context.directory, f"{index}", context.attempt)


def current_job() -> JobContext:
    """The context of the job that this code runs in. Raises RuntimeError outside of a job."""
    if not _current:
        raise RuntimeError("current_job() is for code that runs in a job: call it from a task, on the node")
    return _current[-1].replace(index=_moved_to[-1]) if _moved_to else _current[-1]


def stopping() -> str | None:
    """The signal that makes `should_stop` true, if one has come."""
    return _stop[-1] if _stop else None


def stop(signal: str) -> None:
    """Have `should_stop` be true from here on; `signal` is why."""
    _stop.append(signal)
    if _at_once and len(_stop) == 1:
        raise Stopped(signal)


def stop_at_once() -> None:
    """From here on a signal to stop, even one that has come already, ends what runs wherever it is."""
    _at_once.append(True)
    if _stop:
        raise Stopped(_stop[-1])


def stop_at_leisure() -> None:
    """From here on it doesn't any more."""
    _at_once.clear()


def enter(context: JobContext) -> None:
    """Make `context` the one that `current_job()` gives in this process."""
    _current.append(context)


def move_to(index: int) -> None:
    """Make `current_job()` tell of another call of the same element."""
    _moved_to[:] = [index]
