"""Table: the arguments of calls, and how the calls ended, as rows for a data frame or a printout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.jobs.fetch import ArrayFiles, JobFiles
from slurm.tracking.result_reader import ResultReader
from slurm.views.status import error_of, peak_memory, statuses, took

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from slurm.submission.status import JobStatus
    from slurm.views.status import Part


class JobArguments(JobFiles):
    """The arguments of one call."""

    __slots__ = ()

    def arguments(self) -> dict[str, Any]:
        """The arguments of the call, by the names of the parameters, in any process. Unpickles the arguments.

        Jobs among them are jobs here, too. If the function cannot be loaded here (its module is missing), positional
        arguments are named "0", "1" and so on. Takes one command. Raises NoSuchJob if the calls were removed, and what
        unpickling raises.
        """
        from slurm.jobs.arguments import arguments  # noqa: PLC0415 - it imports the classes of jobs

        return arguments(self.part)[0]


class ArrayTable(ArrayFiles):
    """The arguments of several calls, and how the calls ended."""

    __slots__ = ()

    def arguments(self) -> list[dict[str, Any]]:
        """The arguments of each call, as `Job.arguments`, read together."""
        from slurm.jobs.arguments import arguments  # noqa: PLC0415 - as above

        return [named for part in self.parts for named in arguments(part)]

    def table(self) -> list[dict[str, Any]]:
        """A row for each call, in order: its parameters, then `state`, `result`, `error`, `node`, `seconds`, `memory`.

        In a batch of several functions, `task` is before `state`. Values that are not known yet are None. `memory` is
        the peak of the call's element in bytes, `seconds` the duration. If a parameter has the name of one of these
        columns, "_" is appended to the column's name. Queries the scheduler about unfinished calls. Reads arguments,
        outcomes and results together. Raises as `Job.arguments`.
        """
        return list(_rows(self.parts))

    def to_pandas(self) -> pd.DataFrame:
        """`table()` as a data frame. Raises ImportError without pandas."""
        try:
            from pandas import DataFrame  # noqa: PLC0415 - not a dependency
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: install it here, or use table()") from error
        return DataFrame(self.table())


def _rows(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    from slurm.jobs.arguments import arguments  # noqa: PLC0415 - as above

    for part, found in zip(parts, statuses(parts), strict=True):
        for named, ours in zip(arguments(part), _columns(part, found), strict=True):
            yield named | {f"{name}_" if name in named else name: value for name, value in ours.items()}


def _columns(part: Part, found: Sequence[JobStatus]) -> Iterator[dict[str, Any]]:
    """The columns after the arguments, for each call: how it ended."""
    place, state, indices = part
    succeeded = [i for i, status in zip(indices, found, strict=True) if status.outcome and status.outcome.succeeded]
    results = ResultReader(place.store, place.tracker, state, succeeded, source=place.outcomes)
    wanted = frozenset(succeeded)
    for index, status in zip(indices, found, strict=True):
        result, error = results.of(index) if index in wanted else (None, None)
        yield {
            **({"task": state.functions.of(index)} if state.functions else {}),
            "state": status.state.value,
            "result": result,
            "error": (f"{type(error).__name__}: {error}" if error else error_of(status)) or None,
            "node": status.node,
            "seconds": took([status]),
            "memory": peak_memory([status]),
        }
