"""Generated files: files of a project that git ignores, but that its wheel contains.

The build backend decides which files these are. So they are found in each wheel that is built, and their names are kept
in the client's cache. An ignored code file that the last build has not seen counts, too, until the next build shows
whether the wheel contains it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from slurm.client_cache import cached
from slurm.environments.sources import ignored_files, ignores_itself, is_left_out, read_files, source_files
from slurm.protocol.directories import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Files = Mapping[str, tuple[str, str]]
    """The kind and the hash of files by name."""

_CODE = (".py", ".pyi", ".so", ".pyd")
_MOST_ENTRIES = 1000
"""A directory with no code among this many entries counts as data."""

_known: dict[str, _Known] = {}
"""What is known, by project, for a machine whose cache cannot be written."""


class _Known(NamedTuple):
    """What the last build of a project showed."""

    seen: frozenset[str] = frozenset()
    """The ignored code files."""
    packed: frozenset[str] = frozenset()
    """The ignored files of any kind that the wheel contained."""


def project_files(directory: str) -> dict[str, tuple[str, str]]:
    """Return the kind and hash of each file of a project that counts, by name. Raises EnvironmentNotReady."""
    known = _load(directory)
    names = {*source_files(directory), *known.packed, *(set(_ignored_code(directory)) - known.seen)}
    return read_files(directory, sorted(names))


def learn(directory: str, wheel: Path) -> None:
    """Find the ignored files that a newly built wheel of a project contains."""
    sources: dict[str, list[str]] = {}
    for name in source_files(directory):
        sources.setdefault(os.path.basename(name), []).append(name)
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")]
    prefixes, others = {"", "src/"}, []
    for member in members:
        same = [name for name in sources.get(os.path.basename(member), ()) if _is_same(name, member)]
        prefixes.update(name.removesuffix(member) for name in same)
        others += [] if same else [member]
    names = {prefix + member for prefix in prefixes for member in others}
    packed = {name for name in names if not is_left_out(name) and os.path.isfile(os.path.join(directory, name))}
    _save(directory, _Known(frozenset(_ignored_code(directory)), frozenset(packed)))


def changed(directory: str, before: Files, after: Files) -> dict[str, str]:
    """Return the files that differ from `before`, with their hashes; the hash of a removed file is empty."""
    now = read_files(directory, sorted({*before, *after}))
    return {name: found[1] for name, found in now.items() if found != before.get(name, ("", ""))}


def contains(wheel: Path, name: str, content: str) -> bool:
    """Whether a wheel contains a file of its project with this hash."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if _is_same(name, member)]
        return any(hashlib.sha256(archive.read(member)).hexdigest() == content for member in members)


def _is_same(name: str, member: str) -> bool:
    """Whether a file of a project can be a member of its wheel."""
    return name == member or name.endswith(f"/{member}")


def _ignored_code(directory: str) -> Iterator[str]:
    for name in ignored_files(directory):
        if name.endswith(_CODE):
            yield name
        elif name.endswith("/") and not name.startswith("./"):
            yield from _code_below(directory, name.rstrip("/"))


def _code_below(directory: str, name: str) -> Iterator[str]:
    """Yield the code files of an ignored directory. If it contains none itself, its subdirectories are not searched."""
    path = os.path.join(directory, name)
    if ignores_itself(path):  # a virtual environment or a cache
        return
    with contextlib.suppress(OSError):
        entries = [entry for entry in islice(os.scandir(path), _MOST_ENTRIES) if not is_left_out(entry.name)]
        code = [entry.name for entry in entries if entry.name.endswith(_CODE)]
        yield from (f"{name}/{each}" for each in code)
        for entry in entries if code else ():
            if entry.is_dir(follow_symlinks=False):
                yield from _code_below(directory, f"{name}/{entry.name}")


def _file(directory: str) -> Path:
    return cached("generated", f"{hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:20]}.json")


def _load(directory: str) -> _Known:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(_file(directory).read_text(encoding="utf-8"))
        return _Known(frozenset(found["seen"]), frozenset(found["packed"]))
    return _known.get(directory, _Known())


def _save(directory: str, known: _Known) -> None:
    _known[directory] = known
    with contextlib.suppress(OSError):
        path = _file(directory)
        make_private(str(path.parent))
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({name: sorted(names) for name, names in known._asdict().items()}))
        os.replace(temporary, path)
