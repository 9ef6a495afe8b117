"""Packages: identify an importable module by the RECORD of its distribution, or else by its files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_OURS = frozenset(("slurm", "cloudpickle", "__main__", "__mp_main__", "builtins"))
"""Modules that are sent with the call, or that every Python has."""
_NO_CODE = ("__pycache__", ".git", ".hg", ".mypy_cache", ".pytest_cache", ".ruff_cache")
_WORD = re.compile(r"[-_.]+")


def module_identity(module: ModuleType) -> str:
    """Return a text that changes when the code behind a module may have changed.

    A module of the standard library changes with Python's minor version, which is not part of this text. A distribution
    changes with its version and the digests in its RECORD. The RECORD of an editable install does not list the code.
    Such a module, and any other that no RECORD lists, is identified by the files of its whole top-level package.
    """
    top = module.__name__.partition(".")[0]
    if top in _OURS or top in sys.stdlib_module_names:
        return ""
    file = getattr(module, "__file__", None)
    if file is None:
        places = [os.path.realpath(path) for path in getattr(module, "__path__", ())]
        return " ".join(filter(None, map(_of_directory, places)))
    return _of_file(top, os.path.realpath(file))


def import_identity(name: str) -> str | None:
    """Return the identity of a module that an `import` statement names; None if it cannot be found here.

    Only the top-level package is searched for, because searching for a module in it would import the package.
    """
    top = name.partition(".")[0]
    if top in _OURS or top in sys.stdlib_module_names:
        return ""
    known = sys.modules.get(top)
    if known is not None:
        return module_identity(known)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin and os.path.exists(spec.origin):
        return _of_file(top, os.path.realpath(spec.origin))
    return " ".join(filter(None, map(_of_directory, spec.submodule_search_locations or ())))


def _of_file(top: str, file: str) -> str:
    site, inside = _split(top, file)
    recorded = _recorded(top, site, inside)
    if recorded is not None:
        return recorded
    package = os.path.join(site, inside.partition("/")[0])
    return _of_directory(package) if os.path.isdir(package) else f"file {_of_files([('', package)])}"


def _split(top: str, file: str) -> tuple[str, str]:
    """Return the directory on the search path that holds a module, and the module's path below it."""
    parts = file.split(os.sep)
    at = len(parts) - 1 - parts[::-1].index(top) if top in parts[:-1] else len(parts) - 1
    return os.sep.join(parts[:at]) or os.sep, "/".join(parts[at:])


@lru_cache(maxsize=1024)
def _recorded(top: str, site: str, inside: str) -> str | None:
    """Return the name, version and digests of the distribution that installed a file; None if no RECORD lists it."""
    try:
        names = [name for name in os.listdir(site) if name.endswith(".dist-info")]
    except OSError:
        return None
    likely = _WORD.sub("_", top).lower()
    names.sort(key=lambda name: (not _WORD.sub("_", name).lower().startswith(likely), name))
    for name in names:
        try:
            with open(os.path.join(site, name, "RECORD"), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        if any(line.startswith(f"{inside},") for line in lines):
            return f"{name} {hashlib.sha256(chr(10).join(_of_code(lines)).encode()).hexdigest()}"
    return None


def _of_code(lines: list[str]) -> list[str]:
    """Return the lines of a RECORD that name installed code, without scripts, which contain a path, and the installer's
    notes.
    """
    kept = (line for line in lines if not line.startswith("..") and ".dist-info/" not in line.partition(",")[0])
    return sorted(line for line in kept if not line.partition(",")[0].endswith(".pyc"))


def _of_directory(path: str) -> str:
    if os.path.realpath(path).startswith(os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep) and not any(
        part in path for part in ("site-packages", "dist-packages")
    ):
        return ""
    return f"files {_of_files(sorted(_files(path)))}" if os.path.isdir(path) else ""


def _files(top: str) -> Iterator[tuple[str, str]]:
    for directory, subdirectories, names in os.walk(top):
        subdirectories[:] = [name for name in subdirectories if name not in _NO_CODE]
        for name in names:
            if not name.endswith((".pyc", ".pyo")):
                path = os.path.join(directory, name)
                yield os.path.relpath(path, top), path


def _of_files(files: list[tuple[str, str]]) -> str:
    found = hashlib.sha256()
    for name, path in files:
        try:
            status = os.stat(path)
            found.update(f"{len(name)} {name} {_of_one(path, status.st_size, status.st_mtime_ns)}".encode())
        except OSError:  # a dangling link
            continue
    return found.hexdigest()


@lru_cache(maxsize=65536)
def _of_one(path: str, size: int, modified: int) -> str:
    del size, modified  # only keys of the cache: with other values, the file has changed
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
