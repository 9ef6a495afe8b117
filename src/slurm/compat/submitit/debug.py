"""The debug executor: calls run in this process, when their results are asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

from slurm.compat.submitit.base import Executor
from slurm.compat.submitit.core.utils import UncompletedJobError
from slurm.compat.submitit.job import Job
from slurm.compat.submitit.job_environment import debugged

if TYPE_CHECKING:
    from typing import Any

    from slurm.compat.submitit.core.utils import DelayedSubmission

R = TypeVar("R", covariant=True)


class DebugJob(Job[R]):
    """A call of this process. Its output goes to that of the program. An exception opens pdb on a terminal."""

    __module__ = "slurm.compat.submitit"

    def __init__(self, submission: DelayedSubmission) -> None:
        super().__init__()
        self._submission = submission
        self.cancelled = False

    @property
    def native(self) -> NoReturn:
        """Raises AttributeError."""
        raise AttributeError("a job of the debug executor runs in this process: it has no files and no logs")

    @property
    def job_id(self) -> str:
        """An id of its own."""
        return f"DEBUG_{id(self._submission)}"

    def submission(self) -> DelayedSubmission:
        """Return the call."""
        return self._submission

    def results(self) -> list[R]:
        """Make the call, if it has not been made; return its result. Raises what the function raises."""
        if self.cancelled:
            raise UncompletedJobError(f"{self!r} was cancelled")
        debugged.append(self.job_id)
        try:
            return [self._submission.result()]
        except Exception:  # the user's function
            if sys.stdin.isatty():
                import pdb  # noqa: PLC0415, T100 - it is what this executor is for

                pdb.post_mortem()
            raise
        finally:
            debugged.pop()

    def exception(self) -> BaseException | None:  # type: ignore[override]
        """Make the call; return what the function raises, unchanged."""
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
        """Make the call, because the program waits for it."""
        self.results()
        return True

    @property
    def state(self) -> str:
        """DONE, CANCELLED or QUEUED."""
        return "DONE" if self._submission.done() else "CANCELLED" if self.cancelled else "QUEUED"

    def get_info(self, mode: str = "force") -> dict[str, str]:  # noqa: ARG002 - as in submitit
        """Return its state."""
        return {"State": self.state}

    def cancel(self, check: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Make a later `results()` raise UncompletedJobError."""
        self.cancelled = True

    def stdout(self) -> None:
        """None: the output goes to that of the program."""

    stderr = stdout

    def __repr__(self) -> str:
        return f"DebugJob<job_id={self.job_id}, state={self.state}>"


class DebugExecutor(Executor):
    """Makes calls in this process. Takes all parameters and uses none."""

    __module__ = "slurm.compat.submitit"

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        return [DebugJob(submission) for submission in submissions]
