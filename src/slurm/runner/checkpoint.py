"""Checkpoints: what a task saves on its way, for the attempt after this one.

An attempt writes one of its own, replaced at each save. They are gone once there is a result.
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
    """Write a checkpoint, in place of this attempt's last one; of `who`: a call's index, or "<index>-<rank>"."""
    replace(_path(directory, who, attempt), data)


def restore(directory: str, who: str, attempt: int) -> Any:
    """What the last attempt that saved anything has saved; None if none has."""
    for path in _paths(directory, who, attempt):
        with contextlib.suppress(FileNotFoundError), open_own(path) as file:
            return Unpickler(file).load()
    return None


def remove(directory: str, who: str, attempt: int) -> None:
    """Remove the checkpoints of a call that has its result."""
    for path in _paths(directory, who, attempt):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _paths(directory: str, who: str, attempt: int) -> Iterable[str]:
    """The newest first."""
    return (_path(directory, who, number) for number in range(attempt, 0, -1))


def _path(directory: str, who: str, attempt: int) -> str:
    return f"{directory}/{RESULTS}/.{who}.{attempt}.checkpoint"
