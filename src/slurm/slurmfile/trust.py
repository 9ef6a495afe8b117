"""Trust: the Slurmfiles of other users that the user has accepted, each with its content at that time.

`~/.config/slurm-tasks/trusted/<digest of the path>.json` holds the path, the digest of the file, and its text, which
is used to show later changes.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from slurm.protocol.directories import make_private
from slurm.protocol.files import is_private, replace
from slurm.sanitize.redaction import redacted

_MOST_COMPARED = 2000
"""The limit in lines. The time of difflib may grow with their square."""
_MOST_SHOWN = 60


def configuration() -> Path:
    """Return the directory of the user's configuration. Raises FileNotFoundError if the user has no home directory."""
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "slurm-tasks")
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def add(path: Path, data: bytes) -> None:
    """Trust a file with the content `data`. Raises OSError."""
    record = _record(path)
    make_private(str(record.parent))
    text = base64.b64encode(data).decode("ascii")
    replace(str(record), json.dumps({"path": str(path), "sha256": _digest(data), "text": text}).encode() + b"\n")


def forget(path: Path) -> bool:
    """Stop trusting a file. Returns whether it was trusted."""
    try:
        _record(path).unlink()
    except FileNotFoundError:
        return False
    return True


def is_trusted(path: Path, data: bytes) -> bool:
    """Whether the user trusts a file with the content `data`."""
    known = _read(path)
    return known is not None and known["sha256"] == _digest(data)


def trusted_text(path: Path) -> bytes | None:
    """Return the content that a file had when the user trusted it, or None if the user never trusted it."""
    known = _read(path)
    return None if known is None else base64.b64decode(known["text"])


def difference(before: bytes, after: bytes) -> str:
    """Return the changes as a unified diff, without the passwords in URLs."""
    old, new = (data.decode(errors="replace").splitlines() for data in (before, after))
    if max(len(old), len(new)) > _MOST_COMPARED:
        return f"({len(old)} lines before, {len(new)} now)"
    lines = list(difflib.unified_diff(old, new, "trusted", "now", lineterm="", n=1))
    more = [f"… {len(lines) - _MOST_SHOWN} more lines"] if len(lines) > _MOST_SHOWN else []
    return redacted("\n".join([*lines[:_MOST_SHOWN], *more]))


def _record(path: Path) -> Path:
    return configuration() / "trusted" / f"{_digest(os.fsencode(path))[:32]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    """Read the record of a path. A record that other users could have written is ignored."""
    try:
        with open(_record(path), "rb") as file:
            status = os.fstat(file.fileno())
            if not is_private(status):
                return None
            found: dict[str, Any] = json.loads(file.read())
            base64.b64decode(found["text"])
            return found if (found["path"], isinstance(found["sha256"], str)) == (str(path), True) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
