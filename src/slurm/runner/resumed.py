"""Resumed: the directory of a new attempt begins with the files that an earlier attempt left."""

from __future__ import annotations

import os
from contextlib import suppress

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.attempt_directory import LOGS_OF_PROGRAM
from slurm.runner.job_context import print_to_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.runner.linked_files import LinkedFile


def take_over(source: str, directory: str, files: Sequence[LinkedFile], *, attempt: int, copied: bool) -> None:
    """Move or copy the files of an earlier attempt to a new, empty directory, except its logs and the sent files.

    The files are moved by one rename, or copied if the earlier attempt may still run. If `attempt` is not the first of
    this job, it gets a copy of the files of the attempt before it, whose node may be lost. Raises OSError.
    """
    if attempt > 1:
        source, copied = f"{os.path.dirname(directory)}/attempt-{attempt - 1}", True
    try:
        copied = copied or not _moved(source, directory)
        if copied:
            from shutil import copytree  # noqa: PLC0415 - few attempts are resumed

            copytree(source, directory, symlinks=True, dirs_exist_ok=True)
    except FileNotFoundError:
        print_to_log(f"{source} is not there: this attempt begins without the files of an earlier one\n")
        return
    for name in LOGS_OF_PROGRAM:
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}") if copied else os.rename(f"{directory}/{name}", f"{source}/{name}")
    for file in files:
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{file.name}")
    print_to_log(f"the files of {source} were {'copied' if copied else 'moved'} here\n")


def _moved(source: str, directory: str) -> bool:
    """Rename `source` over an empty directory, and make an empty `source`. Return False on another file system."""
    try:
        os.rename(source, directory)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    os.mkdir(source, 0o700)
    return True
