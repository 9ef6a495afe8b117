"""JobContext: the job that a task runs in, and the state of the current job in this process."""

from __future__ import annotations

import os
import sys

from slurm.protocol import EVENTS, JOBS, SUBMISSION, WORK, Submission
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[[], object])

_current: list[JobContext] = []
_current_index: list[int] = []
_stop: list[str] = []
_interrupting: list[bool] = []
_stop_functions: list[Callable[[], object]] = []
"""The functions of `on_stop`."""
_reported: dict[tuple[str, int], tuple[float, float]] = {}
"""The time and the value of the last progress report of each call, by the key of its submission and its index."""
pruned: dict[tuple[str, int], float] = {}
"""The progress of each call at the time when `should_stop` told the call to return early."""

PROGRESS_SECONDS = 0.5
"""The minimum time in seconds between two progress events of a call. The last event is always written."""


class Stopped(BaseException):
    """The task has saved a checkpoint and must end: unwinds the task up to the runner."""


class Ended(BaseException):
    """The call ends because its user has asked it to: its outcome has the state CANCELLED, with this as the reason."""


class JobContext(Record):
    """The job that a task runs in. To get it, give a parameter this annotation, or call `slurm.current_job()`.

    The values come from the submission and from the variables that Slurm documents in sbatch(1), OUTPUT ENVIRONMENT
    VARIABLES. Attributes are plain values; methods may touch files.
    """

    root: str
    key: str
    """The submission, by its path under `<root>/jobs/`."""
    index: int
    """The call's index in the submission, from 0."""
    job_id: str | None = None
    """The scheduler's id, such as "1234_7"."""
    attempt: int = 1
    """1, plus one for each requeue, retry, or stop at a checkpoint."""
    cpus: int = 1
    """The number of processors for this task on this node; with the option `workers`, the share of this worker."""
    host: str = ""
    hosts: tuple[str, ...] = ()
    """The job's nodes, in Slurm's order."""
    rank: int = 0
    """The rank of this process among those that run the call together; 0 for a single process."""
    world_size: int = 1
    """The number of processes that run the call together."""
    local_rank: int = 0
    local_world_size: int = 1
    """The rank and number among the processes on this node."""
    node_rank: int = 0
    """The index of this node in `hosts`."""

    @classmethod
    def from_environment(
        cls, root: str, key: str, index: int, environ: Mapping[str, str], attempt: int | None = None
    ) -> JobContext:
        """Create the context of call `index` from the scheduler's variables."""
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
        """Return the submission: number of calls, options, environment. Reads a file."""
        path = f"{self.directory}/{SUBMISSION}"
        with open_own(path) as file:
            return Submission.loads(file.read(), where=path)

    def output_directory(self) -> Path:
        """Return a directory for this call's own files, which is kept with the job. Creates it if it is missing."""
        from pathlib import Path  # noqa: PLC0415 - most tasks don't call this

        from slurm.protocol.directories import make_private  # noqa: PLC0415

        path = Path(self.directory, WORK, str(self.index))
        make_private(str(path))
        return path

    @property
    def should_stop(self) -> bool:
        """Whether the job must end soon: it received its stop signal, `signal_lead` before its limit, or SIGTERM.

        Also true for a call that reports its `progress`, if a driver of its sweep has found it worse than other calls.
        The call then returns what it has. For this, such a call lists its inbox, at most twice a second. If the call
        has several ranks, only rank 0 learns this.
        """
        return bool(_stop) or ((self.key, self.index) in _reported and self._shall_return())

    def _shall_return(self) -> bool:
        """Whether a message asks this call to return early."""
        from slurm.runner.inbox import inbox_of  # noqa: PLC0415 - most tasks do not report progress

        call = self.key, self.index
        if call not in pruned:
            try:
                if inbox_of(self.directory, self.index, print_to_log).asks_to_stop(PROGRESS_SECONDS):
                    pruned[call] = _reported[call][1]
            except OSError:
                return False  # the next look may find it
        return call in pruned

    def checkpoint(self, value: Any) -> None:
        """Save `value` for the next attempt, which reads it from `restored`. Does not return if the job should stop.

        The job then continues in another attempt: requeued, or as a new job if the site does not allow requeues. An
        attempt after a failure reads the value, too. Raises any error of pickling or of the disk; the previous
        checkpoint then stays.
        """
        from slurm.runner import checkpoint  # noqa: PLC0415 - most tasks save no checkpoint
        from slurm.runner.pickling import pickled  # noqa: PLC0415

        checkpoint.save(self.directory, self._who, self.attempt, pickled(value))
        if _stop:
            raise Stopped(_stop[-1])

    def on_stop(self, function: F) -> F:
        """Call `function()` when the job receives its stop signal; for code that cannot poll `should_stop`.

        The function runs in the main thread, from the signal handler, between two steps of what the task does. It may
        call `checkpoint`, which does not return. If the function returns, the task goes on; an error that it raises is
        raised in the task. It is called once: immediately if the signal has come already, and not after the call has
        ended. Returns `function`, so that this method is a decorator, too.
        """
        _stop_functions.append(function)
        if _stop:
            _call_stop_functions()
        return function

    @property
    def restored(self) -> Any:
        """The last checkpoint of an earlier attempt; None if there is none. Read at first use."""
        if "_restored" not in self.__dict__:
            from slurm.runner import checkpoint  # noqa: PLC0415 - as above

            self.__dict__["_restored"] = checkpoint.restore(self.directory, self._who, self.attempt)
        return self.__dict__["_restored"]

    def messages(self, wait: float = 0.0) -> list[Any]:
        """Return the messages that `job.send` has sent to this call since the last time, in order.

        If there are none, waits for one, at most `wait` seconds, and at most until `should_stop`. Each attempt gets all
        messages from the first one on, and so does each rank. Lists a directory, at most 20 times a second. Raises
        OSError.
        """
        from slurm.runner.inbox import inbox_of  # noqa: PLC0415 - most tasks read no messages

        return inbox_of(self.directory, self.index, print_to_log).wait(wait, lambda: bool(_stop))

    @property
    def _who(self) -> str:
        """The owner of a checkpoint, as in its file name."""
        return f"{self.index}" if self.world_size == 1 else f"{self.index}-{self.rank}"

    def progress(self, done: float, total: float | None = None, **metrics: Any) -> None:
        """Report progress: `done` of `total`, in any unit, and further numbers or texts (`loss=0.1`).

        Writes the report as a line of JSON to `events/<index>.jsonl`, at most twice a second, and always when `done` is
        `total`. If the call has several ranks, only rank 0 writes.
        """
        if self.rank:
            return
        import time  # noqa: PLC0415 - as above

        now = time.monotonic()
        before = _reported.get((self.key, self.index))
        if before and now - before[0] < PROGRESS_SECONDS and done != total:
            return
        _reported[self.key, self.index] = now, done
        write_event(self, {"event": "progress", "done": done, "total": total, "metrics": metrics})


def write_event(context: JobContext, event: Mapping[str, Any]) -> None:
    """Append a line to a call's `events/<index>.jsonl`. Raises OSError."""
    import json  # noqa: PLC0415 - most tasks write no events
    import time  # noqa: PLC0415

    line = {"time": time.time(), "attempt": context.attempt, **event}
    directory = f"{context.directory}/{EVENTS}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor = os.open(f"{directory}/{context.index}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "ab") as file:
        file.write(json.dumps(line, default=_plain).encode() + b"\n")


def _plain(value: Any) -> Any:
    """Convert a value for JSON: scalars of numpy and torch to numbers, everything else to text."""
    try:
        number = value.item()
    except (AttributeError, RuntimeError, TypeError, ValueError):  # arrays have `item`, too
        return str(value)
    return number if isinstance(number, (int, float)) else str(value)


def print_to_log(text: str) -> None:
    """Print to the job's log. Ignores errors: the task may have closed standard error or its descriptor."""
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


def forget_progress(key: str, index: int) -> None:
    """Forget the progress that a call has reported, because the call has ended."""
    _reported.pop((key, index), None)
    pruned.pop((key, index), None)


def drop_checkpoints(context: JobContext, index: int) -> None:
    """Remove the checkpoints of a call that has its result."""
    if "slurm.runner.checkpoint" in sys.modules:  # otherwise the task has neither saved nor read a checkpoint
        sys.modules["slurm.runner.checkpoint"].remove(context.directory, f"{index}", context.attempt)


def current_job() -> JobContext:
    """Return the context of the job that this code runs in. Raises RuntimeError outside of a job."""
    if not _current:
        raise RuntimeError("current_job() works only in a job: call it from a task, on the node")
    return _current[-1].replace(index=_current_index[-1]) if _current_index else _current[-1]


def stop_signal() -> str | None:
    """Return the name of the received stop signal, which makes `should_stop` true, or None."""
    return _stop[-1] if _stop else None


def request_stop(signal: str) -> None:
    """Make `should_stop` true, because of `signal`, and call the functions of `on_stop`.

    Raises Stopped while `interrupt_on_stop` is in effect, and the exceptions of these functions.
    """
    _stop.append(signal)
    _call_stop_functions()
    if _interrupting and len(_stop) == 1:
        raise Stopped(signal)


def _call_stop_functions() -> None:
    functions = _stop_functions[:]
    drop_stop_functions()
    for function in functions:
        function()


def drop_stop_functions() -> None:
    """Forget the functions of `on_stop`: they belong to one call, which has ended."""
    _stop_functions.clear()


def interrupt_on_stop() -> None:
    """Make a stop signal raise Stopped at once, wherever the code is; also a signal that was received already."""
    _interrupting.append(True)
    if _stop:
        raise Stopped(_stop[-1])


def defer_stop() -> None:
    """End the effect of `interrupt_on_stop`: a stop signal only makes `should_stop` true."""
    _interrupting.clear()


def set_current(context: JobContext) -> None:
    """Make `current_job()` return `context` in this process."""
    _current[:] = [context]


def set_current_index(index: int) -> None:
    """Make `current_job()` return the context of another call of the same element."""
    _current_index[:] = [index]
