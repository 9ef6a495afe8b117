"""Keys: the names of submissions, which contain the task and the time."""

from __future__ import annotations

import os
import re
import time
from calendar import timegm
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_TIME = "%Y%m%dT%H%M%SZ"


def new_key(task: str) -> str:
    """Return a key for a new submission: the task's name, the time in UTC, and random digits."""
    return f"{task_directory_name(task)}/{time.strftime(_TIME, time.gmtime())}-{os.urandom(4).hex()}"


def submitted_at(key: str) -> float | None:
    """The time of submission that a key contains, in whole seconds by the client's clock; None for another form."""
    try:
        return timegm(time.strptime(key.rpartition("/")[2].partition("-")[0], _TIME))
    except ValueError:
        return None


def in_whole_seconds(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield parts of keys that are sorted by time: at least `size` keys first, then larger and larger parts.

    Keys of the same second are in the same part, because only the records contain the order of their submissions.
    """
    while keys:
        last = submitted_at(keys[:size][-1])
        while size < len(keys) and submitted_at(keys[size]) == last:
            size += 1
        yield keys[:size]
        keys, size = keys[size:], 2 * size


def of_task(keys: Sequence[str], pattern: str, *, whole: bool = False) -> list[str]:
    """Return the keys of the tasks whose names match a pattern such as "train*"; `*`, `?` and `[…]` as in a shell.

    A batch belongs to each of its functions; with `whole`, all its functions must match.
    """
    several = any(character in pattern for character in "*?[")
    wanted = re.sub(r"[^A-Za-z0-9_.*?\[\]!+-]+", "_", pattern) if several else task_directory_name(pattern)
    enough = all if whole else any

    def matches(name: str) -> bool:
        return fnmatchcase(name, wanted) or enough(fnmatchcase(part, wanted) for part in name.split("+"))

    return [key for key in keys if matches(key.partition("/")[0])]


def tasks_of(key: str) -> list[str]:
    """Return the names of the tasks in a key: several for a batch."""
    return key.partition("/")[0].split("+")


def name_of_batch(tasks: Iterable[str]) -> str:
    """Return the name of a batch of calls of these tasks, each named once: "load+fit"."""
    return "+".join(dict.fromkeys(map(_directory_name, tasks)))


def task_directory_name(task: str) -> str:
    """Return the name of the directory that holds the submissions of a task or a batch."""
    parts = task.split("+")
    return name_of_batch(parts) if all(parts) else _directory_name(task)


def _directory_name(task: str) -> str:
    return (re.sub(r"[^A-Za-z0-9_.-]+", "_", task).strip("._-") or "task")[:64]
