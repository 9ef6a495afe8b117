"""Submissions: the records `submissions/<n>.json` of a run directory, one for each `submit`.

A record is written before anything is queued. `submissions/<n>.<stage>.commands.json`, with the exact commands, is
written just before a stage is queued; `submissions/<n>.<stage>.json`, with the id of its job, afterwards.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slurm.tools.errors import RunDirectoryError, RunNotWritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from slurm.tools.manifest import ManifestBase

SUBMISSIONS, COMMANDS = "submissions", "commands"

_being_queued: set[str] = set()
"""The keys of recorded stages that threads of this process are queueing now."""


def read(run_dir: Path) -> list[dict[str, Any]]:
    """Return the records of a run directory, in order. Raises RunDirectoryError for a record that cannot be read."""
    return [_read(run_dir / SUBMISSIONS / f"{number}.json") for number in range(1, _last(run_dir) + 1)]


def keys(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the key of the last submission of each stage."""
    return {stage: key for record in records for stage, key in record["stages"].items()}


def place(records: Sequence[Mapping[str, Any]], manifest: ManifestBase) -> tuple[str, str | None]:
    """Return the URL and the name of the cluster of a run, from the last submission or else from the manifest."""
    if records and records[-1]["url"] != manifest.url:
        return records[-1]["url"], records[-1].get("cluster")
    return manifest.url, manifest.cluster


def last(records: Sequence[Mapping[str, Any]], stage: str) -> int:
    """Return the number of the last record of a stage, from 1; 0 if there is none."""
    return max((number for number, record in enumerate(records, 1) if stage in record["stages"]), default=0)


def count(records: Sequence[Mapping[str, Any]], stage: str) -> int:
    """Return the number of records of a stage, which is also the number of its last attempt."""
    return sum(stage in record["stages"] for record in records)


def add(run_dir: Path, seen: int, record: Mapping[str, Any]) -> bool:
    """Write a record after the first `seen` records; returns False if another process has written this record."""
    return _write(run_dir, f"{seen + 1}.json", record)


def add_commands(run_dir: Path, number: int, stage: str, key: str, commands: Sequence[str]) -> None:
    """Record the commands that will queue a stage of the record `number`."""
    _write(run_dir, f"{number}.{stage}.{COMMANDS}.json", {"key": key, COMMANDS: list(commands)})


def commands(run_dir: Path, number: int, stage: str) -> list[str]:
    """Return the commands that queued a stage, or would have; empty if its client died before it recorded them."""
    path = run_dir / SUBMISSIONS / f"{number}.{stage}.{COMMANDS}.json"
    return list(_read(path)[COMMANDS]) if path.exists() else []


def add_queued(run_dir: Path, number: int, stage: str, facts: Mapping[str, Any]) -> None:
    """Record that a stage of the record `number` was queued."""
    _write(run_dir, f"{number}.{stage}.json", facts)


def queued(run_dir: Path, number: int, stage: str) -> dict[str, Any] | None:
    """Return the facts that were recorded when a stage was queued; None if it was not queued, or its client died just
    after it.
    """
    path = run_dir / SUBMISSIONS / f"{number}.{stage}.json"
    return _read(path) if path.exists() else None


@contextmanager
def queueing(keys: Iterable[str]) -> Iterator[None]:
    """Tell other threads that this thread is queueing the recorded stages with these keys."""
    some = set(keys)
    _being_queued.update(some)
    try:
        yield
    finally:
        _being_queued.difference_update(some)


def may_be_submitting(record: Mapping[str, Any]) -> str:
    """Return a description of the process that may still be queueing a recorded submission; empty if it has ended."""
    client = record.get("client") or {}
    host, pid = client.get("host"), client.get("pid")
    if host == socket.gethostname() and isinstance(pid, int):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        if pid == os.getpid() and _being_queued.isdisjoint(record["stages"].values()):
            return ""
    return f"process {pid} of {host}" if host else ""


def _write(run_dir: Path, name: str, record: Mapping[str, Any]) -> bool:
    directory = run_dir / SUBMISSIONS
    try:
        directory.mkdir(exist_ok=True)
        draft = directory / f".{os.getpid()}-{os.urandom(4).hex()}"
        draft.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.chmod(0o444)
        try:
            os.link(draft, directory / name)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
    except OSError as error:
        raise RunNotWritten(f"{directory / name} cannot be written: {error.strerror}") from error
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunDirectoryError(f"{path} cannot be read: expected an object")
    return found


def _last(run_dir: Path) -> int:
    """Return the number of the last record, from 1; 0 if there is none."""
    try:
        names = os.listdir(run_dir / SUBMISSIONS)
    except FileNotFoundError:
        return 0
    numbers = [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()]
    return max(numbers, default=0)
