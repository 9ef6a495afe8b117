"""Sources: the files of a project that count for its environment, and their hashes."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import subprocess
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError, EnvironmentNotReady
from slurm.protocol.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_log = logging.getLogger("slurm.environments")

_LEFT_OUT = (
    *(".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".tox", ".nox", ".eggs", "node_modules"),
    *("*.egg-info", "*.pyc", "*.pyo", ".*_cache", ".hypothesis", ".ipynb_checkpoints", ".DS_Store"),
)
"""Names of files and directories that do not count, at any depth. With git, tracked files count in any case."""
_LEFT_OUT_AT_THE_TOP = ("build", "dist")
_RACY_SECONDS = 2.0
"""A file changed this recently may change again within the resolution of its timestamp."""

_SLOW_SECONDS = 2.0
"""If reading the sources takes more seconds than this, it is reported, because it delays each submission."""
_MOST_LARGE = 3

_PROJECT_FILES = ("pyproject.toml", "setup.py")

_known: dict[str, tuple[tuple[int, ...], str]] = {}
"""Hashes of files, each with the stat values that show that the file has not changed since."""


def is_project(directory: str) -> bool:
    """Whether a wheel can be built from the directory."""
    return any(os.path.isfile(os.path.join(directory, name)) for name in _PROJECT_FILES)


def nearest_project() -> str:
    """Find the project that contains the working directory. Raises ConfigurationError."""
    here = Path.cwd()
    for directory in map(str, (here, *here.parents)):
        if is_project(directory):
            return directory
    raise ConfigurationError(
        f"Wheel(): there is no pyproject.toml in {here} or above it; name the project: Wheel('/path/to/it')"
    )


def tree_digest(directory: str) -> str:
    """Return a hash of the files in a directory: paths, contents, and whether they are executable.

    With git, these are the tracked files, and the untracked files that git does not ignore, with their current content.
    Without git, these are all files except caches, virtual environments and build output. Raises EnvironmentNotReady
    for an unreadable file.
    """
    return combined_digest(read_files(directory, source_files(directory)))


def combined_digest(files: Mapping[str, tuple[str, str]]) -> str:
    """Return one hash for the files of a directory, from their kinds and hashes by name."""
    digest = hashlib.sha256()
    for name, (kind, content) in files.items():
        if kind:
            digest.update(f"{kind} {len(os.fsencode(name))} ".encode() + os.fsencode(name) + content.encode())
    return digest.hexdigest()


def read_files(
    directory: str, names: Iterable[str], *, slow_seconds: float = _SLOW_SECONDS
) -> dict[str, tuple[str, str]]:
    """Return the kind and hash of each file, by its name in a directory. Warns if that takes more than `slow_seconds`.

    With "" as the directory, the names are whole paths. Raises EnvironmentNotReady for an unreadable file.
    """
    begin = time.monotonic()
    try:
        found = {name: described(os.path.join(directory, name)) for name in names}
    except OSError as error:
        raise EnvironmentNotReady(f"cannot read {error.filename or directory}: {error.strerror}") from error
    seconds = time.monotonic() - begin
    if seconds > slow_seconds:
        _report_slow(directory, found, seconds)
    return found


def _report_slow(directory: str, files: Mapping[str, tuple[str, str]], seconds: float) -> None:
    sizes = {name: _size(os.path.join(directory, name)) for name in files}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_MOST_LARGE]
    shown = ", ".join(f"{name} ({_bytes(sizes[name])})" for name in largest)
    message = "reading %s took %.1f s, which delays submissions: %d files, %s in total, the largest are %s. %s"
    advice = "Exclude files that are not needed, by .gitignore (for an image, .containerignore)"
    where = directory or "wheels"
    _log.warning(message, where, seconds, len(files), _bytes(sum(sizes.values())), shown, advice)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:  # it was removed
        return 0


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def source_files(directory: str) -> list[str]:
    """Return the sorted paths that `tree_digest` covers. Some may have been removed."""
    return sorted(set(_tracked(directory) or _walked(directory)))


def described(path: str) -> tuple[str, str]:
    """Return the kind of a file and the hash of its content. The kind of a missing file is empty."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # tracked by git, but removed
        return "", ""
    if stat.S_ISLNK(status.st_mode):
        return "link", hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
    if stat.S_ISDIR(status.st_mode):  # a submodule, or a repository within the repository
        return "tree", tree_digest(path)
    if not stat.S_ISREG(status.st_mode):
        return "", ""
    seen = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    known, content = _known.get(path, ((), ""))
    if known != seen:
        content = file_digest(path)[1]
        if time.time() - max(status.st_mtime, status.st_ctime) > _RACY_SECONDS:
            _known[path] = (seen, content)
    return "program" if status.st_mode & stat.S_IXUSR else "file", content


def _tracked(directory: str) -> list[str]:
    """Return the files that git tracks, or would add. Empty if the directory is not in a repository."""
    tracked, others = (_listed(directory, *which) for which in (["--cached"], ["--others", "--exclude-standard"]))
    return [*tracked, *(name.rstrip("/") for name in others if not is_left_out(name.rstrip("/")))]


def ignored_files(directory: str) -> list[str]:
    """Return the files that git ignores, and the directories that it ignores completely, which end with a slash."""
    found = _listed(directory, "--others", "--ignored", "--exclude-standard", "--directory")
    return [name for name in found if not is_left_out(name.rstrip("/"))]


def _listed(directory: str, *options: str) -> list[str]:
    """Return the paths that git-ls-files(1) prints. Empty without git, or outside a repository."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", directory, "ls-files", "-z", *options], env=environ, capture_output=True, check=False
        )
    except OSError:  # git is not installed
        return []
    return [name for name in os.fsdecode(done.stdout).split("\0") if name] if done.returncode == 0 else []


def is_left_out(name: str) -> bool:
    """Whether a path in a project names a file that never counts, such as a cache or build output."""
    first, *_ = parts = name.split("/")
    return first in _LEFT_OUT_AT_THE_TOP or any(fnmatch(part, pattern) for part in parts for pattern in _LEFT_OUT)


def _walked(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        relative = os.path.relpath(parent, directory)
        prefix = "" if relative == "." else f"{relative}/"
        kept = [name for name in directories if not is_left_out(f"{prefix}{name}")]
        directories[:] = [name for name in kept if not ignores_itself(os.path.join(parent, name))]
        yield from (f"{prefix}{name}" for name in files if not is_left_out(f"{prefix}{name}"))
        yield from (f"{prefix}{name}" for name in directories if os.path.islink(os.path.join(parent, name)))


def ignores_itself(directory: str) -> bool:
    """Whether a directory has a .gitignore that ignores all of it, as caches and virtual environments do."""
    try:
        with open(os.path.join(directory, ".gitignore"), encoding="utf-8", errors="replace") as file:
            return "*" in file.read().split("\n")
    except OSError:
        return os.path.exists(os.path.join(directory, "pyvenv.cfg"))
