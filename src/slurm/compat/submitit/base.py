"""Executor: what all executors of the façade share."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.compat.submitit.core.utils import DelayedSubmission
from slurm.compat.submitit.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

R = TypeVar("R")


class Executor:
    """What all executors share. `parameters` has those that were set, in the words of this executor."""

    __module__ = "slurm.compat.submitit"

    prefix = "debug"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.parameters: dict[str, Any] = {}
        self._batch: list[tuple[Job[Any], DelayedSubmission]] | None = None
        self._implicit = False

    @classmethod
    def name(cls) -> str:
        """The name of this kind of executor."""
        return cls.__name__.removesuffix("Executor").lower()

    def update_parameters(self, **parameters: Any) -> None:
        """Set parameters of later jobs. Raises OptionError, and RuntimeError in a batch."""
        if self._batch is not None:
            raise RuntimeError("parameters cannot change within 'with executor.batch()'")
        self._update(parameters)

    def submit(self, fn: Callable[..., R], *args: Any, **kwargs: Any) -> Job[R]:
        """Submit one call. Raises FailedSubmissionError."""
        submission = DelayedSubmission(fn, *args, **kwargs)
        if self._batch is None:
            return self._submit([submission])[0]
        job: Job[R] = Job(submit=self._submit_implicitly)
        self._batch.append((job, submission))
        return job

    def map_array(self, fn: Callable[..., R], *iterable: Iterable[Any]) -> list[Job[R]]:
        """Submit a call for each item, as one array; several iterables are zipped. Raises FailedSubmissionError."""
        return self._submit_array([DelayedSubmission(fn, *args) for args in zip(*iterable)])  # noqa: B905 - as submitit

    def submit_array(self, fns: Sequence[Callable[[], R]]) -> list[Job[R]]:
        """Submit functions without arguments, as one array. Raises FailedSubmissionError."""
        return self._submit_array([DelayedSubmission(fn) for fn in fns])

    @contextmanager
    def batch(self, allow_implicit_submissions: bool = False) -> Iterator[None]:  # noqa: FBT001, FBT002 - as in submitit
        """Submit the calls of the block as one array, at its end, or when a job of it is used if that is allowed."""
        if self._batch is not None:
            raise RuntimeError("'with executor.batch()' cannot be nested")
        self._batch, self._implicit = [], allow_implicit_submissions
        try:
            yield
            if not self._batch and not self._implicit:
                warnings.warn("nothing was submitted in 'with executor.batch()'", RuntimeWarning, stacklevel=3)
            self._submit_batch()
        finally:
            self._batch, self._implicit = None, False

    def _submit_implicitly(self) -> None:
        if self._implicit:
            self._submit_batch()

    def _submit_batch(self) -> None:
        calls, self._batch = self._batch or [], []
        for (job, _), native in zip(calls, self._submit([call for _, call in calls]) if calls else (), strict=True):
            job.become(native)

    def _submit_array(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        if not submissions:
            warnings.warn("Received an empty job array", stacklevel=3)
            return []
        return self._submit(submissions)

    def _update(self, parameters: dict[str, Any]) -> None:
        self.parameters.update(parameters)

    def _submit(self, submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        raise NotImplementedError
