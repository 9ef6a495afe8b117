"""Checkpoints: values that a task saves for the next attempt.

Each attempt has its own file, and each save replaces this file. The files are removed when the call has a result.
`who` is the call's index, or "<index>-<rank>".
"""

from __future__ import annotations

import contextlib
import os
from _pickle import Unpickler

from slurm.protocol import RESULTS
from slurm.protocol.files import open_own, replace
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def save(directory: str, who: str, attempt: int, data: bytes) -> None:
    """Write a checkpoint, replacing the attempt's previous one."""
    replace(_path(directory, who, attempt), data)


def restore(directory: str, who: str, attempt: int) -> Any:
    """Load the newest checkpoint of any attempt; None if there is none."""
    for path in _paths(directory, who, attempt):
        with contextlib.suppress(FileNotFoundError), open_own(path) as file:
            return Unpickler(file).load()
    return None


def remove(directory: str, who: str, attempt: int) -> None:
    """Remove all checkpoints of a call."""
    for path in _paths(directory, who, attempt):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _paths(directory: str, who: str, attempt: int) -> Iterable[str]:
    """Return the files of all attempts, newest first."""
    return (_path(directory, who, number) for number in range(attempt, 0, -1))


def _path(directory: str, who: str, attempt: int) -> str:
    return f"{directory}/{RESULTS}/.{who}.{attempt}.checkpoint"
