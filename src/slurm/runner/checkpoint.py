"""Checkpoints: what a task saves on its way, for the attempt after this one.

An attempt writes one of its own, replaced at each save. They are gone once there is a result.
"""

from __future__ import annotations

import contextlib
import os
from _pickle import Unpickler

from slurm.files import open_own, replace
from slurm.protocol import RESULTS
from slurm.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def save(directory: str, index: int, attempt: int, data: bytes) -> None:
    """Write a checkpoint of call `index`, in place of this attempt's last one."""
    replace(_path(directory, index, attempt), data)


def restore(directory: str, index: int, attempt: int) -> Any:
    """What the last attempt that saved anything has saved; None if none has."""
    for path in _paths(directory, index, attempt):
        with contextlib.suppress(FileNotFoundError), open_own(path) as file:
            return Unpickler(file).load()
    return None


def remove(directory: str, index: int, attempt: int) -> None:
    """Remove the checkpoints of a call that has its result."""
    for path in _paths(directory, index, attempt):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _paths(directory: str, index: int, attempt: int) -> Iterable[str]:
    """The newest first."""
    return (_path(directory, index, number) for number in range(attempt, 0, -1))


def _path(directory: str, index: int, attempt: int) -> str:
    return f"{directory}/{RESULTS}/.{index}.{attempt}.checkpoint"
