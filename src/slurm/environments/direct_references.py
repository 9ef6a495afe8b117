"""Direct references: requirements that name a URL, such as "mine @ git+https://…" or "mine @ file:///home/ann/mine".

A URL may be useless on the cluster: it is a path of this machine, or the cluster has no Internet. If the wheel itself
is uploaded, the requirement's URL is removed from the metadata, so that installers use the wheel.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from slurm.environments.wheel_building import METADATA
from slurm.environments.wheel_dependencies import normalized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_REFERENCE = re.compile(r"\s*(?P<name>[A-Za-z0-9._-]+)\s*(?P<extras>\[[^\]]*\])?\s*@\s*(?P<url>\S+)(?P<rest>.*)")
_FIELD = "requires-dist:"


class Reference(NamedTuple):
    """A requirement with a URL (packaging.python.org, Dependency specifiers)."""

    name: str
    extras: str
    url: str
    marker: str

    @classmethod
    def parse(cls, requirement: str) -> Reference | None:
        """Parse a requirement. None if it has no URL."""
        found = _REFERENCE.fullmatch(requirement)
        if found is None:
            return None
        return cls(found["name"], found["extras"] or "", found["url"].rstrip(";"), found["rest"].strip(" ;"))

    @property
    def path(self) -> str | None:
        """The path of a local file or directory; None for any other URL."""
        parts = urlsplit(self.url)
        return unquote(parts.path) if parts.scheme == "file" else None


def without_url(requirement: str, versions: Mapping[str, str]) -> str:
    """Replace the URL of a requirement by the version of its package in `versions`, such as "==1.0" ("": any)."""
    found = Reference.parse(requirement)
    if found is None or normalized(found.name) not in versions:
        return requirement
    marker = f" ; {found.marker}" if found.marker else ""
    return f"{found.name}{found.extras}{versions[normalized(found.name)]}{marker}"


def versions_of(wheels: Iterable[Path]) -> dict[str, str]:
    """Return the version of each wheel by name, as in "==1.0"; "" for a name with several versions."""
    found: dict[str, str] = {}
    for path in wheels:
        name, version = path.name.split("-")[:2]
        found[normalized(name)] = "" if normalized(name) in found else f"=={version}"
    return found


def copy_without_urls(wheel: Path, directory: Path, versions: Mapping[str, str]) -> Path:
    """Copy a wheel to a directory, without the URLs of packages in `versions`. Returns the wheel if it has none."""
    with zipfile.ZipFile(wheel) as old:
        metadata = next((name for name in old.namelist() if METADATA.fullmatch(name)), None)
        text = old.read(metadata) if metadata else b""
        content = _replaced(text.decode(), versions).encode()
        if metadata is None or content == text:
            return wheel
        record = metadata.replace("METADATA", "RECORD")
        directory.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(directory / wheel.name, "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                data = content if info.filename == metadata else old.read(info)
                if info.filename == record:
                    data = _recorded(data, metadata, content)
                new.writestr(info, data, zipfile.ZIP_DEFLATED)
    return directory / wheel.name


def _replaced(metadata: str, versions: Mapping[str, str]) -> str:
    head, end, body = metadata.partition("\n\n")
    lines = head.split("\n")
    for number, line in enumerate(lines):
        field, value = line[: len(_FIELD)], line[len(_FIELD) :].strip()
        if field.lower() == _FIELD and without_url(value, versions) != value:
            lines[number] = f"{field} {without_url(value, versions)}"
    return "\n".join(lines) + end + body


def _recorded(record: bytes, name: str, content: bytes) -> bytes:
    """Return the list of a wheel's files with a new hash for one of them."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    line = b"%s,sha256=%s,%d" % (name.encode(), digest, len(content))
    start = f"{name},".encode()
    return b"\n".join(line if old.startswith(start) else old for old in record.splitlines()) + b"\n"
