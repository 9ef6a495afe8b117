"""JobItem: an item of the result of a job, `job["loss"]`, for the arguments of other calls."""

from __future__ import annotations

from typing import Any

from slurm.jobs.operators import OneResult
from slurm.runner.items import item
from slurm.runner.placeholder_resolver import UpstreamFailed


class WithItems(OneResult):
    """Base class of objects with items: a job whose result is a dict, a list or a tuple, and its items."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """An item of the result, as an argument of other calls. Does not check whether the result has this item."""
        return JobItem(self, (key,))


class JobItem(WithItems):
    """An item of a job's result, which may be a dict, list or tuple: `evaluate(job["model"], job["history"][0])`.

    As an argument, at any depth, it stands for the item, and the call waits for the job. If the item is missing, the
    call ends as DependencyFailed, with the names of the items that exist.
    """

    __slots__ = ("job", "path")

    def __init__(self, job: Any, path: tuple[Any, ...]) -> None:
        self.job, self.path = job, path

    def __getitem__(self, key: Any) -> Any:
        """An item of this item."""
        return JobItem(self.job, (*self.path, key))

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job, and return the item. Raises as `job.result()` does, and KeyError for a missing item."""
        value = self.job.result(timeout)
        try:
            return item(value, self.path)
        except UpstreamFailed as error:
            raise KeyError(str(error)) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return item, (self.job, self.path)

    def __eq__(self, other: object) -> bool:
        return (self.job, self.path) == (other.job, other.path) if isinstance(other, JobItem) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.job, self.path))

    def __repr__(self) -> str:
        return f"<{self.job.key}{''.join(f'[{key!r}]' for key in self.path)}>"
