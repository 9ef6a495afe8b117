"""Run directories: the path of the files of one run of a tool, `<root>/<tool>/<taxonomy…>/<run_id>`."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from slurm.tools.errors import NotPrepared, RunDirectoryError, RunNotWritten

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

MANIFEST = "manifest.json"
"""The file that is written last: a run directory without it is not prepared."""

_NAME = re.compile(r"[A-Za-z0-9_+=@,][A-Za-z0-9_.+=@,-]*")
"""Folder names that every file system, shell and scheduler accepts unchanged. Slurm replaces `%j` in paths."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.+=@,-]+")
_LONGEST = 128


def build_run_dir(
    root: str | os.PathLike[str], tool: str, taxonomy: Mapping[str, object], run_id: str, *, unique: bool = False
) -> Path:
    """Return the absolute path of a run.

    With `unique`, this is a folder below the usual path, named by the UTC time and four random digits. `taxonomy` has
    the names of the folders in order, such as {"telescope": "HERA"}. Creates no directory. Raises RunDirectoryError
    for a name that is not allowed for a folder.
    """
    names = {"tool": tool, **{name: str(value) for name, value in taxonomy.items()}, "run_id": run_id}
    for what, name in names.items():
        _check(what, name)
    path = Path(root).expanduser().absolute().joinpath(*names.values())
    if not unique:
        return path
    now = datetime.now(timezone.utc)
    return path / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def ensure_run_dir(path: str | os.PathLike[str]) -> Path:
    """Create a run directory and its parents.

    Raises RunDirectoryError if it exists and is not empty, RunNotWritten if it cannot be created.
    """
    made = Path(path)
    check_free(made)
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunNotWritten(f"{made} cannot be used as a run directory: {error.strerror}") from error
    return made


def check_free(path: Path) -> None:
    """Raise RunDirectoryError if the path exists and is not an empty directory."""
    try:
        found = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be used as a run directory: {error.strerror}") from error
    if MANIFEST in found:
        raise RunDirectoryError(
            f"{path} is prepared already: open it, or choose another run_id, or unique=True. To submit it at another "
            "cluster: open it, and submit(again=True, on=…)"
        )
    if found:
        raise RunDirectoryError(
            f"{path} holds files, such as {found[0]}, but no {MANIFEST}: it is not a run directory. Remove it, or "
            "choose another run_id"
        )


def remove_empty_parents(path: Path, *, up_to: Path) -> None:
    """Remove the empty parents of a path, up to the directory `up_to`, which stays."""
    for parent in path.parents:
        if parent == up_to:
            return
        try:
            parent.rmdir()
        except OSError:
            return


def validate_run_dir(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a prepared run directory. Raises NotPrepared for anything else."""
    found = Path(path).expanduser().absolute()
    if not found.is_dir():
        raise NotPrepared(f"there is no run directory {found}")
    if not (found / MANIFEST).is_file():
        raise NotPrepared(f"{found} is not prepared: it has no {MANIFEST}")
    return found


def _check(what: str, name: str) -> None:
    if _NAME.fullmatch(name) and len(name) <= _LONGEST:
        return
    if len(name) > _LONGEST:
        raise RunDirectoryError(f"{what} has {len(name)} characters; a folder's name may have {_LONGEST}: {name[:40]}…")
    better = _NOT_IN_NAMES.sub("_", name).strip("_.-")
    hint = f": write {better!r}" if better else ""
    raise RunDirectoryError(f"{what} {name!r} is not a folder's name of letters, digits and . _ + = @ , -{hint}")
