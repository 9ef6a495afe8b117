"""Call: the function that a job of the façade runs on the node; it also requeues callables that have `checkpoint`."""

from __future__ import annotations

from slurm.compat.submitit.core.utils import UncompletedJobError
from slurm.runner.job_context import current_job, stop_signal

TYPE_CHECKING = False  # a node imports this module

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from slurm.compat.submitit.core.utils import DelayedSubmission
    from slurm.runner.job_context import JobContext

    Checkpoint = Callable[..., DelayedSubmission | None]

SIGNAL = "USR2"
"""The signal that is sent before the time limit, as in submitit. SIGTERM announces a preemption."""


def checkpoint_method(function: Callable[..., Any]) -> Checkpoint | None:
    """Return the `checkpoint` method of a callable, which makes the call of the next attempt; None if it has none."""
    found: Checkpoint | None = getattr(function, "__submitit_checkpoint__", None) or getattr(
        function, "checkpoint", None
    )
    return found


class Call:
    """The function of the task: makes the submitted call, or the call that an earlier attempt has left.

    `timeouts` is how often a call may reach its time limit and continue; preemptions do not count.
    """

    def __init__(self, name: str, timeouts: int) -> None:
        self.__name__ = name
        self.timeouts = timeouts

    def __call__(self, submission: DelayedSubmission) -> Any:
        """Make the call."""
        if checkpoint_method(submission.function) is None:
            return submission.result()
        context = current_job()
        # Only rank 0 has saved a checkpoint; all ranks continue from it.
        left = context.replace(rank=0).restored
        current, timeouts = left or (submission, 0)
        context.on_stop(lambda: self._stop(context, current, timeouts))
        return current.result()

    def _stop(self, context: JobContext, current: DelayedSubmission, timeouts: int) -> None:
        """Save the call of the next attempt, and end this one. Raises UncompletedJobError if no attempt may follow."""
        timeouts += stop_signal() == SIGNAL
        if timeouts > self.timeouts:
            raise UncompletedJobError(f"Job not requeued because: timed-out too many times ({timeouts}).")
        if context.rank:
            context.checkpoint(None)
        checkpoint = checkpoint_method(current.function)
        following = checkpoint(*current.args, **current.kwargs) if checkpoint else None
        if following is None:
            raise UncompletedJobError("Job not requeued because: checkpoint function returned None.")
        context.checkpoint((following, timeouts))
