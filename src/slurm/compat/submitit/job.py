"""Job: a job of this library with the methods of submitit's `Job`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from slurm.compat.submitit.core.utils import FailedJobError, UncompletedJobError
from slurm.compat.submitit.job_environment import debugged
from slurm.errors import JobError, ProtocolError, TaskExited, TaskFailed, TransportError
from slurm.protocol import SCRIPT, stderr_log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from slurm.compat.submitit.core.utils import DelayedSubmission
    from slurm.jobs.job import Job as Native

R = TypeVar("R", covariant=True)


class JobPaths:
    """The paths of a job's files, on the cluster."""

    def __init__(self, directory: str, log: str, task: int, *, separate: bool) -> None:
        rank = f"{log.removesuffix('.log')}.{task}.log" if task else log
        self.folder = Path(directory)
        self.submission_file = self.folder / SCRIPT
        self.stdout = Path(rank)
        self.stderr = Path(stderr_log(rank)) if separate else self.stdout

    def __getattr__(self, name: str) -> Path:
        if name in {"result_pickle", "submitted_pickle"}:
            raise AttributeError(f"a job has no {name} here: job.result() and job.submission() read its files")
        raise AttributeError(f"the paths of a job have no {name!r}")

    def __repr__(self) -> str:
        return f"JobPaths({str(self.folder)!r})"


class Job(Generic[R]):
    """A submitted call. A call within a batch gets a job of the cluster when the batch is submitted.

    `tasks` is the number of processes that run the call; `task` is the process that `job.task(i)` represents.
    """

    __module__ = "slurm.compat.submitit"

    def __init__(
        self,
        native: Native[Any] | None = None,
        *,
        tasks: int = 1,
        separate: bool = True,
        task: int | None = None,
        submit: Callable[[], object] | None = None,
    ) -> None:
        self._native = native
        self._submit = submit
        self._tasks, self._separate, self._task = tasks, separate, task
        self._cancel_at_deletion = False

    @property
    def native(self) -> Native[Any]:
        """The job of this library. Raises AttributeError within a batch that is not submitted yet."""
        if self._native is None and self._submit:
            self._submit()
        if self._native is None:
            raise AttributeError("a job has no attributes within 'with executor.batch()': it is submitted at its end")
        return self._native

    def become(self, other: Job[Any]) -> None:
        """Represent the job that a batch has submitted for this call."""
        vars(self).update(vars(other))
        self._submit = None
        self.__class__ = type(other)

    @property
    def job_id(self) -> str | None:
        """The scheduler's id, such as "1234_0"; None while the queue has no room for the job."""
        return self.native.job_id

    @property
    def paths(self) -> JobPaths:
        """The paths of the job's logs."""
        return JobPaths(self.native.directory, self.native.log_path, self._task or 0, separate=self._separate)

    @property
    def num_tasks(self) -> int:
        """The number of processes that run the call."""
        return self._tasks if self._task is None else 1

    @property
    def task_id(self) -> int | None:
        """The number of the process that this object represents; None if it represents all of several processes."""
        return 0 if self._tasks == 1 else self._task

    def task(self, task_id: int) -> Job[R]:
        """Return the job for one of the processes. Raises ValueError if there is no such process."""
        if not 0 <= task_id < self.num_tasks:
            raise ValueError(f"task_id {task_id} must be between 0 and {self.num_tasks - 1}")
        if self.num_tasks == 1:
            return self
        return Job(self.native, tasks=self._tasks, separate=self._separate, task=task_id)

    def submission(self) -> DelayedSubmission:
        """Return the submitted call, which is read from the cluster."""
        found: DelayedSubmission = self.native.arguments()["submission"]
        return found

    def wait(self) -> None:
        """Wait for the end."""
        self.native.exception()

    def done(self, force_check: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Whether the job has ended. Asks each time."""
        return self.native.done()

    def exception(self) -> UncompletedJobError | None:
        """Wait for the end; return a FailedJobError if the function raised, an UncompletedJobError for other failures.

        Returns None after a success. Raises TransportError and ProtocolError if the outcome cannot be read now.
        """
        error = self.native.exception()
        if error is None:
            return None
        if isinstance(error, (TransportError, ProtocolError)):
            raise error
        outside = isinstance(error, JobError) and (isinstance(error, TaskExited) or not isinstance(error, TaskFailed))
        kind = UncompletedJobError if outside else FailedJobError
        lines = "".join(traceback.format_exception(type(error), error.with_traceback(None), None))
        found = kind(f"Job {self.native.key} failed:\n{lines}Its output is in {self.paths.stdout}")
        found.__cause__ = error
        return found

    def results(self) -> list[R]:
        """Wait for the end; return the result of each process. Raises the error that `exception` returns."""
        error = self.exception()
        if error is not None:
            raise error
        found: Any = self.native.result()
        if self._tasks == 1:
            return [found]
        results: list[R] = found if self._task is None else [found[self._task]]
        return results

    def result(self) -> R:
        """Wait; return the result. Raises the error that `exception` returns, and ValueError for several processes."""
        if self.num_tasks > 1:
            raise ValueError(f"the job runs {self.num_tasks} processes: use results()")
        return self.results()[0]

    @property
    def state(self) -> str:
        """The state, as Slurm names it. Asks the scheduler, unless the job has ended."""
        return self.native.status().state.value

    def get_info(self, mode: str = "force") -> dict[str, str]:  # noqa: ARG002 - as in submitit
        """Return the id, the state and the node. Asks the scheduler, unless the job has ended."""
        status = self.native.status()
        return {"JobID": self.job_id or "", "State": status.state.value, "NodeList": status.node or ""}

    def stdout(self) -> str | None:
        """Return the standard output so far; None if the job has not begun."""
        return self._log(stderr=False)

    def stderr(self) -> str | None:
        """Return the standard error so far; None if the job has not begun, or with `stderr_to_stdout`."""
        return self._log(stderr=True) if self._separate else None

    def _log(self, *, stderr: bool) -> str | None:
        ranks = range(self._tasks) if self._task is None else [self._task]
        text = "\n".join(self.native.logs(rank, stderr=stderr) for rank in ranks)
        return text if text.strip("\n") or self.done() else None

    def cancel(self, check: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Cancel the job, unless it has ended."""
        self.native.cancel()

    def cancel_at_deletion(self, value: bool = True) -> Job[R]:  # noqa: FBT001, FBT002 - as in submitit
        """Cancel the job when this object is deleted, or with `value=False` do not. Returns this object."""
        self._cancel_at_deletion = value
        return self

    def awaitable(self) -> AsyncJobProxy[R]:
        """Return a proxy of the job with methods for asyncio."""
        return AsyncJobProxy(self)

    def __repr__(self) -> str:
        return f"Job<{self._native!r}, task_id={self.task_id}>"

    def __del__(self) -> None:
        if getattr(self, "_cancel_at_deletion", False) and self._native and not self._native.known_to_have_ended:
            self._native.cancel()


class DebugJob(Job[R]):
    """A call in this process, which prints to the program's own output. On a terminal, an exception opens pdb."""

    __module__ = "slurm.compat.submitit"

    def __init__(self, submission: DelayedSubmission) -> None:
        super().__init__()
        self._submission = submission
        self.cancelled = False

    @property
    def native(self) -> NoReturn:
        """Raise AttributeError: a job of the debug executor has no job of this library."""
        raise AttributeError("a job of the debug executor runs in this process: it has no files and no logs")

    @property
    def job_id(self) -> str:
        """The id of this call in this process."""
        return f"DEBUG_{id(self._submission)}"

    def submission(self) -> DelayedSubmission:
        """Return the call."""
        return self._submission

    def results(self) -> list[R]:
        """Make the call, if it was not made yet; return its result. Raises the error of the function."""
        if self.cancelled:
            raise UncompletedJobError(f"{self!r} was cancelled")
        debugged.append(self.job_id)
        try:
            return [self._submission.result()]
        except Exception:  # the user's function may raise anything
            if sys.stdin.isatty():
                import pdb  # noqa: PLC0415, T100 - it is what this executor is for

                pdb.post_mortem()
            raise
        finally:
            debugged.pop()

    def exception(self) -> BaseException | None:  # type: ignore[override]
        """Make the call; return the exception that the function raises, or None."""
        try:
            self.results()
        except UncompletedJobError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's function
            return error
        return None

    def wait(self) -> None:
        """Make the call."""
        self.results()

    def done(self, force_check: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Make the call, because nothing else makes it; return True."""
        self.results()
        return True

    @property
    def state(self) -> str:
        """DONE, CANCELLED or QUEUED."""
        return "DONE" if self._submission.done() else "CANCELLED" if self.cancelled else "QUEUED"

    def get_info(self, mode: str = "force") -> dict[str, str]:  # noqa: ARG002 - as in submitit
        """Return the state of the job."""
        return {"State": self.state}

    def cancel(self, check: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Make a later `results()` raise UncompletedJobError."""
        self.cancelled = True

    def stdout(self) -> None:
        """Return None: the call prints to the program's own output."""

    stderr = stdout

    def __repr__(self) -> str:
        return f"DebugJob<job_id={self.job_id}, state={self.state}>"


class AsyncJobProxy(Generic[R]):
    """A job for asyncio. Results arrive as soon as they exist; `poll_interval` has no effect."""

    def __init__(self, job: Job[R]) -> None:
        self.job = job

    async def wait(self, poll_interval: float = 1) -> None:  # noqa: ARG002 - as in submitit
        """Wait for the end."""
        import asyncio  # noqa: PLC0415 - it is slow to import

        if not isinstance(self.job, DebugJob):  # a job of the debug executor runs when its result is requested
            await asyncio.gather(self.job.native, return_exceptions=True)

    async def result(self, poll_interval: float = 1) -> R:
        """Wait for the result."""
        await self.wait(poll_interval)
        return self.job.result()

    async def results(self, poll_interval: float = 1) -> list[R]:
        """Wait for the results of all processes."""
        await self.wait(poll_interval)
        return self.job.results()

    def results_as_completed(self, poll_interval: float = 1) -> Iterator[asyncio.Future[R]]:
        """Yield an awaitable for the result of each process."""
        import asyncio  # noqa: PLC0415 - as above

        for task in range(self.job.num_tasks):
            yield asyncio.ensure_future(self.job.task(task).awaitable().result(poll_interval))
