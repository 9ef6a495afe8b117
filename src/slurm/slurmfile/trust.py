"""Trust: the Slurmfiles of others that the user has accepted, each as it was then.

`~/.config/slurm-tasks/trusted/<digest of the path>.json` has the path, the digest of the file, and its text, to show
what has changed since.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from slurm.protocol.files import replace
from slurm.sanitize.redaction import redacted

_MOST_COMPARED = 2000
"""Lines. difflib may take time that grows with their square."""
_MOST_SHOWN = 60


def configuration() -> Path:
    """The directory of the user's own configuration. Raises FileNotFoundError where nobody knows of a home."""
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "slurm-tasks")
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def add(path: Path, data: bytes) -> None:
    """Trust a file as it is: what it holds is `data`. Raises OSError."""
    record = _record(path)
    _make_private(record.parent)
    text = base64.b64encode(data).decode("ascii")
    replace(str(record), json.dumps({"path": str(path), "sha256": _digest(data), "text": text}).encode() + b"\n")


def forget(path: Path) -> bool:
    """Trust it no more; whether it was."""
    try:
        _record(path).unlink()
    except FileNotFoundError:
        return False
    return True


def is_trusted(path: Path, data: bytes) -> bool:
    """Whether the user trusts a file that holds `data`."""
    known = _read(path)
    return known is not None and known["sha256"] == _digest(data)


def trusted_text(path: Path) -> bytes | None:
    """What a file held when the user trusted it; None if that was never done."""
    known = _read(path)
    return None if known is None else base64.b64decode(known["text"])


def difference(before: bytes, after: bytes) -> str:
    """What has changed, as a unified diff, without the passwords of URLs."""
    old, new = (data.decode(errors="replace").splitlines() for data in (before, after))
    if max(len(old), len(new)) > _MOST_COMPARED:
        return f"({len(old)} lines before, {len(new)} now)"
    lines = list(difflib.unified_diff(old, new, "trusted", "now", lineterm="", n=1))
    more = [f"… {len(lines) - _MOST_SHOWN} more lines"] if len(lines) > _MOST_SHOWN else []
    return redacted("\n".join([*lines[:_MOST_SHOWN], *more]))


def _record(path: Path) -> Path:
    return configuration() / "trusted" / f"{_digest(os.fsencode(path))[:32]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """The record of a path. One that isn't the user's own alone counts as none: others could have written it."""
    try:
        with open(_record(path), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            found: dict[str, Any] = json.loads(file.read())
            base64.b64decode(found["text"])
            return found if (found["path"], isinstance(found["sha256"], str)) == (str(path), True) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make_private(directory: Path) -> None:
    """Make a directory and those above it that are missing, for the user alone whatever the umask."""
    for path in reversed((directory, *directory.parents)):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        path.chmod(0o700)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
