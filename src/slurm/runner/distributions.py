"""Digest of the installed distributions, which links a result to the packages that computed it.

Imports nothing of this package: the Python of a new environment also runs this module's source.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def distributions_digest() -> str:
    """Return the SHA-256 of the names and versions of all installed distributions.

    It reads them from the names of the metadata directories: one listing of each directory on the search path except
    the working directory.
    """
    found: set[str] = set()
    try:
        here = os.getcwd()
    except OSError:  # the directory was removed, as a task may do with a temporary one
        here = ""
    for directory in {os.path.normpath(os.path.join(here, path)) for path in sys.path if path} - {here}:
        try:
            found.update(name for name in os.listdir(directory) if name.endswith((".dist-info", ".egg-info")))
        except OSError:  # a zip, or missing
            continue
    return str(sha256("\n".join(sorted(found)).encode()).hexdigest())


def sha256(data: bytes = b"") -> Any:
    """Return a new SHA-256 object. CPython's own module loads in a tenth of the time of hashlib with OpenSSL."""
    for name in "_sha2" if sys.version_info >= (3, 12) else "_sha256", "hashlib":  # CPython; any Python
        try:
            return __import__(name).sha256(data)
        except ImportError:
            continue
    raise AssertionError("hashlib is in the standard library")
