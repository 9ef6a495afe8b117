"""Submissions: `submissions/<n>.json` of a run directory, one for each `submit`, written before anything is queued."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from slurm.tools.errors import RunDirectoryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUBMISSIONS = "submissions"


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run directory, in order. Raises RunDirectoryError for one that cannot be read."""
    found = []
    for number in range(1, _last(run_dir) + 1):
        path = run_dir / SUBMISSIONS / f"{number}.json"
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}") from error
    return found


def keys(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The key of the last submission of each stage."""
    return {stage: key for record in records for stage, key in record["stages"].items()}


def add(run_dir: Path, seen: int, record: Mapping[str, Any]) -> bool:
    """Write the record after the `seen` first ones. False if another process has written one meanwhile."""
    directory = run_dir / SUBMISSIONS
    directory.mkdir(exist_ok=True)
    draft = directory / f".{os.getpid()}-{os.urandom(4).hex()}"
    draft.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.chmod(0o444)
    try:
        os.link(draft, directory / f"{seen + 1}.json")
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _last(run_dir: Path) -> int:
    """The number of the last record."""
    try:
        names = os.listdir(run_dir / SUBMISSIONS)
    except FileNotFoundError:
        return 0
    numbers = [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()]
    return max(numbers, default=0)
