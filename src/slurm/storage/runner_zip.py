"""The runner's zip: this package and cloudpickle, in one content-addressed file that any Python can run."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import marshal
import sys
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cloudpickle

from slurm.client_cache import cached
from slurm.errors import UntrustedFile
from slurm.protocol.directories import make_private
from slurm.protocol.files import open_own, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAIN = """\
import os, sys
from slurm.runner.main import main
sys.path.append(os.getcwd())
sys.exit(main(sys.argv[1:]))
"""
_UNCHECKED_HASH = b"\x01\x00\x00\x00" + bytes(8)
"""A pyc header that says "never compare with the source" (PEP 552), so that the bytes depend on the source alone."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class RunnerZip(NamedTuple):
    """The zip's bytes, and its name among the blobs."""

    name: str
    data: bytes


@lru_cache(maxsize=1)
def bundle() -> RunnerZip:
    """The zip for this process's Python: made once for each state of the sources, then kept in the user's cache.

    A process that runs from such a zip, on a node, has it already. What others could have put into the cache is passed
    over.
    """
    archive = getattr(getattr(sys.modules[__name__], "__loader__", None), "archive", None)
    if archive is not None:
        return RunnerZip(Path(archive).name, Path(archive).read_bytes())
    sources = dict(_sources())
    digest = hashlib.sha256(repr((sys.implementation.cache_tag, sorted(sources.items()))).encode()).hexdigest()
    try:
        with open_own(str(cached(f"{digest}-runner.zip"))) as file:
            return _named(file.read())
    except (OSError, UntrustedFile):
        data = _build(sources)
    with contextlib.suppress(OSError):  # no home, or one that can't be written: it is made each time then
        kept = cached(f"{digest}-runner.zip")
        make_private(str(kept.parent))
        replace(str(kept), data)
    return _named(data)


def _named(data: bytes) -> RunnerZip:
    """By its own hash, so that a client knows whether one that it finds there is what it would have sent."""
    return RunnerZip(f"{hashlib.sha256(data).hexdigest()}-runner.zip", data)


def _sources() -> Iterator[tuple[str, bytes]]:
    """Names in the zip and sources: of the packages that run on a node."""
    for package in (Path(__file__).parents[1], Path(cloudpickle.__file__).parent):
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(package.parent).as_posix(), path.read_bytes()
    yield "__main__.py", _MAIN.encode()


def _build(sources: dict[str, bytes]) -> bytes:
    """Each module twice: compiled, which the client's own minor version loads, and as source for any other.

    Stored, not deflated: opening it then takes no zlib, and the file system reads it once for all.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources.items()):
            code = compile(source, name, "exec", dont_inherit=True)
            compiled = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + marshal.dumps(code)
            for member, data in ((name, source), (f"{name}c", compiled)):
                archive.writestr(zipfile.ZipInfo(member, _EPOCH), data)
    return buffer.getvalue()
