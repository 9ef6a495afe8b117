"""Rank logs: which logs calls have: one for each rank, and another if standard error has a separate log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from slurm.errors import ConfigurationError
from slurm.protocol import LOGS, stderr_log
from slurm.sanitize.numbers import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.views.status import Part

ALL: Literal["all"] = "all"
"""Stands for all ranks."""
Rank: TypeAlias = "int | Literal['all']"
_OF_A_RANK = re.compile(r"(.+)\.(\d+)(?:\.err)?\.log")


def checked(rank: Rank) -> Rank:
    """Return a rank, or `ALL`. Raises ValueError for anything else."""
    if isinstance(rank, str):
        if rank != ALL:
            raise ValueError(f'rank={rank!r}: expected a whole number from 0, or "all"')
        return ALL
    return whole(rank, "rank")


def rank_logs(part: Part, rank: Rank, indices: Iterable[int], *, stderr: bool = False) -> list[dict[int, str]]:
    """Return the logs of each call by rank: paths in the submission's directory. For all ranks, lists a directory."""
    place, state, _ = part
    highest: dict[str, int] = {}
    if rank == ALL:
        directory = f"{place.store.directory(state.key)}/{LOGS}"
        for name in map(_OF_A_RANK.fullmatch, place.transport.list([directory])[directory]):
            if name:
                highest[name[1]] = max(int(name[2]), highest.get(name[1], 0))
    found = []
    for index in indices:
        own = state.log(index).removeprefix(f"{LOGS}/").removesuffix(".log")
        ranks = range(highest.get(own, 0) + 1) if rank == ALL else (rank,)
        found.append({each: stderr_log(log) if stderr else log for each in ranks if (log := state.log(index, each))})
    return found


def check_separate(parts: Sequence[Part]) -> None:
    """Raise ConfigurationError if the standard error of a submission goes to its log. Reads the record of each."""
    for part in parts:
        place, state, _ = part
        check_alone(part, 0, stderr=True)
        if not place.store.records(state.key).submission.options.get("separate_stderr"):
            raise ConfigurationError(
                f"the standard error of {state.key} is in its log, which logs() reads: to have it in one of its own, "
                "submit with separate_stderr=True"
            )


def check_alone(part: Part, rank: Rank, *, stderr: bool) -> None:
    """Raise ConfigurationError for a rank or standard error of calls of a pool: each call has only one log."""
    if part.state.server is not None and (rank or stderr):
        raise ConfigurationError(f"a call of a pool, such as {part.state.key}, has one log: leave out rank and stderr")
