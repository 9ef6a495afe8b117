"""Which distributions a Python has, in one hash: how a result is traced to what it was computed with.

It imports nothing of ours: its source is also run by the Python of an environment that was just made.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def distributions_digest() -> str:
    """The SHA-256 of the names and versions of all that is installed, as the names of their metadata tell it.

    One listing of each directory on the search path, as Python itself makes it, but for the working directory.
    """
    found: set[str] = set()
    try:
        here = os.getcwd()
    except OSError:  # it was removed: a task may leave a temporary directory so
        here = ""
    for place in {os.path.normpath(os.path.join(here, path)) for path in sys.path if path} - {here}:
        try:
            found.update(name for name in os.listdir(place) if name.endswith((".dist-info", ".egg-info")))
        except OSError:  # a zip, or nothing
            continue
    return str(sha256("\n".join(sorted(found)).encode()).hexdigest())


def sha256(data: bytes = b"") -> Any:
    """A new SHA-256. CPython's own module for it starts in a tenth of the time that hashlib needs to load OpenSSL."""
    for name in ("_sha2", "_sha256", "hashlib"):  # of 3.12 on, before it, and of any other Python
        try:
            return __import__(name).sha256(data)
        except ImportError:
            continue
    raise AssertionError("hashlib is in the standard library")
