"""Job logs: the output of one call, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from slurm.jobs.handle import Handle
from slurm.sanitize.numbers import whole
from slurm.storage.program_logs import with_programs

if TYPE_CHECKING:
    from collections.abc import Iterator


class JobLogs(Handle):
    """The output of one call."""

    __slots__ = ()

    @overload
    def logs(self, rank: int = ..., *, follow: Literal[False] = ...) -> str: ...
    @overload
    def logs(self, rank: int = ..., *, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, rank: int = 0, *, follow: bool = False) -> str | Iterator[str]:
        """The output of the task or its program, and of the script around it, so far; of one of several ranks.

        With `follow`, yields the output so far, then what is added, until the job has ended. A pause of the output may
        be in the middle of a line.
        """
        place, state, indices = self.part
        whole(rank, "rank")
        if follow:
            from slurm.jobs.log_following import follow_text  # noqa: PLC0415 - imported at first use

            return follow_text(self.part, rank)
        texts = place.store.logs([place.log_path(state, index, rank) for index in indices])
        return with_programs(place.store, state.key, indices, texts)[0]
