"""Packed modules: the modules in the runner's zip that most tasks do not need, together in three members.

Python takes time for each member of a zip that it opens, so only modules that every task loads are separate members.
`slurm/__init__.py` looks for all other modules here.
"""

from __future__ import annotations

import marshal
import sys
import zlib
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import CodeType, ModuleType
    from typing import Any

    _Member = tuple[bytes, Mapping[str, tuple[tuple[str, ...], bytes]]]
    """The dictionary of the compression; for each directory, the names of its files and their compressed contents."""

SOURCES = "packed-sources"
"""The member with the unchanged files, for tracebacks, shell programs, and other versions of Python."""
CODES = f"packed-{sys.implementation.cache_tag}"
"""The member with the modules as this version of Python compiles them."""
NODE_CODES = f"{CODES}-node"
"""The member with the compiled modules of `NODE`. A command needs no others, and the rest is eight times as large."""
NODE = ("slurm/protocol/", "slurm/runner/")
_DICTIONARY_BYTES = 32_000
"""Names and code are similar in all directories, so the beginning of the longest text is zlib's dictionary for all."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """The bytes of such a member, from files by their paths. The files of a directory are compressed together."""
    groups: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        directory, _, name = path.rpartition("/")
        groups.setdefault(directory, {})[name] = data
    texts = {directory: marshal.dumps(tuple(group.values()), 2) for directory, group in groups.items()}
    dictionary = max(texts.values(), key=len, default=b"")[:_DICTIONARY_BYTES]
    members = {name: (tuple(groups[name]), _compressed(text, dictionary)) for name, text in texts.items()}
    return marshal.dumps((_compressed(dictionary), members), 2)


def _compressed(data: bytes, dictionary: bytes = b"") -> bytes:
    compressor = zlib.compressobj(9, memLevel=9, zdict=dictionary)
    return compressor.compress(data) + compressor.flush()


def packed_names(data: bytes) -> list[str]:
    """The paths of the files of such a member."""
    _, directories = marshal.loads(data)  # noqa: S302 - of a zip that was checked
    return [f"{directory}/{name}" for directory, (names, _) in directories.items() for name in names]


def find_spec(name: str, directories: Iterable[str]) -> ModuleSpec | None:
    """Find a module in one of some directories of the zip, or a stand-in for a module that only clients have."""
    archive = sys.modules["slurm"].__loader__.archive  # type: ignore[union-attr]
    for directory in directories:
        base = f"{directory}/{name.rpartition('.')[2]}"
        for path, places in (f"{base}.py", None), (f"{base}/__init__.py", [base]):
            loader = PackedLoader(archive, path.removeprefix(f"{archive}/"))
            if any(_has(_member(archive, member), loader.path) for member in (NODE_CODES, CODES, SOURCES)):
                spec = ModuleSpec(name, loader, origin=path)  # type: ignore[arg-type]
                spec.has_location, spec.submodule_search_locations = True, places
                return spec
    from slurm.protocol import client_only  # noqa: PLC0415 - jobs rarely import what only clients use

    return client_only.find_spec(name)


class PackedLoader:
    """Loads the packed module whose path in the zip `archive` is `path`."""

    def __init__(self, archive: str, path: str) -> None:
        self.archive, self.path = archive, path

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - as every loader does

    def get_code(self, _: str) -> CodeType:
        """The code of the module: as the client compiled it, or from source in another version of Python."""
        member = NODE_CODES if self.path.startswith(NODE) else CODES
        if compiled := _unpacked(self.archive, member, self.path):
            code: CodeType = marshal.loads(compiled)  # noqa: S302 - of a zip that was checked
            return code
        return compile(self.get_source(""), self.path, "exec", dont_inherit=True)

    def get_source(self, _: str) -> str:
        """The source of the module."""
        return self.get_data(f"{self.archive}/{self.path}").decode()

    def get_data(self, path: str) -> bytes:
        """A file of the zip. Its path begins with the path of the zip. Raises OSError."""
        data = _unpacked(self.archive, SOURCES, path.removeprefix(f"{self.archive}/"))
        return _read(path) if data is None else data


def _has(member: _Member, path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return name in member[1].get(directory, ((), b""))[0]


def _unpacked(archive: str, name: str, path: str) -> bytes | None:
    """A file of a packed member; None if the member does not have it."""
    member = _member(archive, name)
    if not _has(member, path):
        return None
    directory, _, file = path.rpartition("/")
    return _group(archive, name, directory)[member[1][directory][0].index(file)]


@lru_cache(maxsize=16)
def _group(archive: str, name: str, directory: str) -> tuple[bytes, ...]:
    """The files of a directory, in the order of their names in the member."""
    dictionary, directories = _member(archive, name)
    data = zlib.decompressobj(zdict=zlib.decompress(dictionary)).decompress(directories[directory][1])
    found: tuple[bytes, ...] = marshal.loads(data)  # noqa: S302 - as above
    return found


@cache
def _member(archive: str, name: str) -> _Member:
    try:
        found: _Member = marshal.loads(_read(f"{archive}/{name}"))  # noqa: S302 - as above
    except OSError:  # the client has another version of Python
        return b"", {}
    return found


def _read(path: str) -> bytes:
    """A member of the zip. Raises OSError."""
    loader: Any = sys.modules["slurm"].__loader__
    data: bytes = loader.get_data(path)
    return data
