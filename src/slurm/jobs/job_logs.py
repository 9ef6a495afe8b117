"""Job logs: the output of calls, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from slurm.jobs.handle import Handle
from slurm.jobs.rank_logs import ALL, check_alone, check_separate, checked, rank_logs
from slurm.storage.program_logs import with_programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.jobs.rank_logs import Rank
    from slurm.views.status import Part


class JobLogs(Handle):
    """The output of one call."""

    __slots__ = ()

    @overload
    def logs(self, rank: int = ..., *, stderr: bool = ..., follow: Literal[False] = ...) -> str: ...
    @overload
    def logs(self, rank: Literal["all"], *, stderr: bool = ..., follow: Literal[False] = ...) -> list[str]: ...
    @overload
    def logs(self, rank: Rank = ..., *, stderr: bool = ..., follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, rank: Rank = 0, *, stderr: bool = False, follow: bool = False) -> str | list[str] | Iterator[str]:
        """The output so far of the task or its program, and of the script around it; of one rank if there are several.

        With `rank="all"`, returns a list of the output of each rank. With `stderr`, returns standard error, for a task
        with the option `separate_stderr`. With `follow`, yields the output so far, then additions, until the job has
        ended. An addition may end in the middle of a line; for all ranks, yields whole lines that name the rank.
        """
        rank = checked(rank)
        if not follow:
            texts: str | list[str] = _read(self.parts, rank, stderr=stderr)[0]
            return texts
        from slurm.jobs.log_following import follow_lines, follow_text  # noqa: PLC0415 - imported at first use

        if stderr:
            check_separate(self.parts)
        if rank == ALL:
            return follow_lines(self.part, rank, stderr=stderr, indexed=False)
        return follow_text(self.part, rank, stderr=stderr)


class ArrayLogs(Handle):
    """The output of several calls."""

    __slots__ = ()

    @overload
    def logs(self, rank: int = ..., *, stderr: bool = ..., follow: Literal[False] = ...) -> list[str]: ...
    @overload
    def logs(self, rank: Literal["all"], *, stderr: bool = ..., follow: Literal[False] = ...) -> list[list[str]]: ...
    @overload
    def logs(self, rank: Rank = ..., *, stderr: bool = ..., follow: Literal[True]) -> Iterator[str]: ...
    def logs(
        self, rank: Rank = 0, *, stderr: bool = False, follow: bool = False
    ) -> list[str] | list[list[str]] | Iterator[str]:
        """The output so far of each call, in order, read together; of one rank, or of all, if there are several.

        `stderr` is as in `Job.logs`. With `follow`, yields the lines of all calls as they are printed, each after the
        index of its call in brackets, until all have ended.
        """
        rank = checked(rank)
        if not follow:
            texts: list[Any] = _read(self.parts, rank, stderr=stderr)
            return texts
        from slurm.jobs.log_following import follow_lines  # noqa: PLC0415 - imported at first use

        if stderr:
            check_separate(self.parts)
        return follow_lines(self.part, rank, stderr=stderr, indexed=True)


def _read(parts: Sequence[Part], rank: Rank, *, stderr: bool) -> list[Any]:
    """Read the logs of calls: a text of each, or a list of texts for all ranks."""
    found: list[Any] = []
    for part in parts:
        place, state, indices = part
        if state.server is not None:
            check_alone(part, rank, stderr=stderr)
            found += [state.server.output(index).decode(errors="replace") for index in indices]
            continue
        logs = rank_logs(part, rank, indices, stderr=stderr)
        calls = [index for index, ranks in zip(indices, logs, strict=True) for _ in ranks]
        directory = place.store.directory(state.key)
        texts = place.store.logs([f"{directory}/{log}" for ranks in logs for log in ranks.values()])
        if stderr and not any(texts):
            check_separate([part])
        read = iter(with_programs(place.store, state.key, calls, texts))
        for ranks in logs:
            of_ranks = [next(read) for _ in ranks]
            found.append(of_ranks if rank == ALL else of_ranks[0])
    return found
