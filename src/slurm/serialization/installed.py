"""Installed modules: distinguishes them from the user's own loose files.

A node imports an installed module by its name; a loose one is sent by value. A module is installed if it came with
Python, is in a site directory, or is reached from a site directory: by a `.pth` file, or by the finder of an editable
install.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def is_installed(module: ModuleType) -> bool:
    """Whether the same environment on another machine has the module under its name."""
    if module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:  # built in, frozen, or a namespace package
        return all(in_installed_directory(path) for path in getattr(module, "__path__", ()))
    return in_installed_directory(file)


@lru_cache(maxsize=4096)
def in_installed_directory(file: str) -> bool:
    """Whether a path is in a directory for installed modules."""
    path = os.path.realpath(file)
    return any(path.startswith(entry + os.sep) or path == entry for entry in _installed_directories())


@lru_cache(maxsize=1)
def _installed_directories() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    sites = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    library = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = [*library, *sites, *(entry for directory in sites for entry in _named_by_pth(directory))]
    return tuple(dict.fromkeys(os.path.realpath(entry) for entry in [*found, *_editable()] if os.path.exists(entry)))


def _named_by_pth(directory: str) -> Iterator[str]:
    """The directories that `.pth` files add to the search path (docs.python.org, module `site`)."""
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        if name.endswith(".pth"):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file]
            yield from (
                os.path.join(directory, line) for line in lines if line and not line.startswith(("#", "import"))
            )


def _editable() -> Iterator[str]:
    """The directories to which setuptools' editable finders map packages."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        mapping = getattr(module, "MAPPING", None)
        if isinstance(mapping, dict):
            yield from mapping.values()
