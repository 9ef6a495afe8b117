"""The helpers of submitit: callables with checkpoints, sequences of calls, and functions that wait for jobs."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.compat.submitit.core.utils import CommandFunction, DelayedSubmission, environment_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Self

    from slurm.compat.submitit.job import Job

R = TypeVar("R")

__all__ = [
    "Checkpointable",
    "CommandFunction",
    "DelayedSubmission",
    "FunctionSequence",
    "TorchDistributedEnvironment",
    "as_completed",
    "clean_env",
    "environment_variables",
    "monitor_jobs",
]

_JOB_VARIABLES = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SLURMTASKS_JOB")
_RANK_VARIABLES = frozenset({"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})


class Checkpointable:
    """A base class for callables that continue with their state after a time limit or a preemption."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Raise TypeError for a class that is not callable."""
        if not callable(found := super().__new__(cls)):
            raise TypeError(f"{cls.__name__} is Checkpointable and needs a method __call__")
        return found

    def checkpoint(self, *args: Any, **kwargs: Any) -> DelayedSubmission:
        """Return the call of the next attempt: this object with its present state, and the same arguments."""
        return DelayedSubmission(self, *args, **kwargs)  # type: ignore[arg-type]


class FunctionSequence(Checkpointable):
    """Makes calls one after the other, and returns the list of their results.

    After a stop, the next attempt continues with the call that was not finished.
    """

    def __init__(self, verbose: bool = False) -> None:  # noqa: FBT001, FBT002 - as in submitit
        self.verbose = verbose
        self.delayed_functions: list[DelayedSubmission] = []

    def add(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Add a call."""
        self.delayed_functions.append(DelayedSubmission(func, *args, **kwargs))

    def __len__(self) -> int:
        return len(self.delayed_functions)

    def __iter__(self) -> Iterator[DelayedSubmission]:
        return iter(self.delayed_functions)

    def __call__(self) -> list[Any]:
        """Make the calls that were not made yet; return the results of all calls."""
        if self.verbose:
            print(f"Starting from {sum(call.done() for call in self)}/{len(self)}", flush=True)
        return [call.result() for call in self]


def as_completed(
    jobs: Sequence[Job[R]],
    timeout: float | None = None,
    poll_frequency: float = 10,  # noqa: ARG001 - as in submitit
) -> Iterator[Job[R]]:
    """Yield the jobs as they end. `timeout` is in seconds; raises TimeoutError. `poll_frequency` has no effect."""
    from slurm.jobs.waiting import as_completed as completed  # noqa: PLC0415 - a node imports this module

    there = {job.native: job for job in jobs if hasattr(job, "native")}
    for job in jobs:
        if not hasattr(job, "native") and job.done():  # a job of the debug executor
            yield job
    yield from (there[native] for native in completed(list(there), timeout))


def monitor_jobs(
    jobs: Sequence[Job[R]],
    poll_frequency: float = 30,
    test_mode: bool = False,  # noqa: ARG001, FBT001, FBT002 - as in submitit
) -> None:
    """Print how many jobs are in each state, every `poll_frequency` seconds, until all have ended."""
    while True:
        ended = [job.done() for job in jobs]
        states = Counter(job.state for job in jobs)
        print(f"{sum(ended)}/{len(jobs)} jobs done:", ", ".join(f"{n} {state}" for state, n in sorted(states.items())))
        if all(ended):
            return
        time.sleep(poll_frequency)


@contextmanager
def clean_env(extra_names: Sequence[str] = ()) -> Iterator[None]:
    """Remove the environment variables of a job within the block."""
    names = [
        name for name in os.environ if name.startswith(_JOB_VARIABLES) or name in _RANK_VARIABLES or name in extra_names
    ]
    removed = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(removed)


class TorchDistributedEnvironment:
    """The environment variables of torch.distributed. This library sets them for each task, so `export` keeps them."""

    def __init__(self) -> None:
        self.master_addr, self.master_port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.local_rank, self.local_world_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])

    def export(self, set_cuda_visible_devices: bool = True, overwrite: bool = False) -> Self:  # noqa: ARG002, FBT001, FBT002 - as in submitit
        """Make only the GPU of its rank visible to this process, unless `set_cuda_visible_devices` is false."""
        if set_cuda_visible_devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(self.local_rank)
        return self


def __getattr__(name: str) -> Any:
    if name == "RsyncSnapshot":
        raise AttributeError("there is no RsyncSnapshot: environment=Wheel() of a task sends a project as it is now")
    raise AttributeError(f"slurm.compat.submitit.helpers has no {name!r}")
