"""Local imports: the modules of the user's own files that functions import when they are called.

If a module is imported before a function is pickled, the parts of it that the function uses go by value. A module that
a statement within the function imports is not loaded yet, so its source is sent, with the source of the modules that it
imports itself.
"""

from __future__ import annotations

import ast
import dis
import logging
import os
import sys
from importlib.machinery import PathFinder
from types import CodeType
from typing import TYPE_CHECKING

from slurm.serialization.installed import in_installed_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 23
"""The most bytes of source that are sent for one module or package."""
_IMPORT = dis.opmap["IMPORT_NAME"]


def imports_of(code: CodeType) -> Iterator[tuple[str, int]]:
    """The modules that the `import` statements of a function name, each with its level, which is 0 if absolute."""
    if _IMPORT in code.co_code[::2]:
        yield from imports_in(list(dis.get_instructions(code)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from imports_of(constant)


def imports_in(steps: Sequence[dis.Instruction]) -> Iterator[tuple[str, int]]:
    """The same as `imports_of`, from a function's instructions. The level is the constant that is loaded before."""
    for at, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level = steps[at - 2].argval if at > 1 else 0
            yield step.argval, level if isinstance(level, int) else 0


def top_level(name: str, level: int, package: str) -> str:
    """The top-level module or package of an import in a module of `package`."""
    return (package if level else name).partition(".")[0]


def local_sources(wanted: Iterable[str], there: Collection[str] = ()) -> dict[str, tuple[str, str | None]]:
    """Return the file and the source of local modules and packages, and of the local modules that they import, by name.

    The source of a directory without `__init__.py` is None. A module is local if Python would find it in a directory
    without installed modules. Modules of the standard library, modules that are `there` in the environment of the call,
    and compiled modules are left out.
    """
    found: dict[str, tuple[str, str | None]] = {}
    seen = {"", "slurm", *sys.stdlib_module_names, *there}
    queue = [name for name in wanted if name not in seen]
    if queue:
        PathFinder.invalidate_caches()  # a directory may have been made since Python looked for it
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        new = dict(_files(name))
        size = sum(len(source or "") for _, source in new.values())
        if size > MOST_BYTES:
            _log.warning("the module %s is not sent with the function that imports it: it has %d bytes", name, size)
            continue
        found.update(new)
        queue.extend(top for of, (_, source) in new.items() for top in _imported(source or "", of))
    return found


def _files(name: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """The name, the file and the source of each module in a local top-level module or package."""
    try:
        spec = PathFinder.find_spec(name)
    except (ImportError, ValueError, OSError):
        return
    if spec is None:
        return
    directories = [os.path.abspath(path) for path in spec.submodule_search_locations or ()]
    if any(map(in_installed_directory, directories or [spec.origin or ""])):
        return
    if not directories and (spec.origin or "").endswith(".py"):
        yield name, (os.path.abspath(spec.origin or ""), _read(spec.origin or ""))
    for top in directories:
        for directory, below, files in os.walk(top):
            below[:] = [each for each in below if each.isidentifier()]
            package = ".".join([name, *os.path.relpath(directory, top).split(os.sep)]).removesuffix("..")
            if "__init__.py" not in files:
                yield package, (directory, None)
            for file in files:
                module, extension = os.path.splitext(file)
                if extension == ".py" and module.isidentifier():
                    path = os.path.join(directory, file)
                    yield package if module == "__init__" else f"{package}.{module}", (path, _read(path))


def _read(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    try:
        import tokenize  # noqa: PLC0415 - few functions import local modules

        return data.decode(tokenize.detect_encoding(iter(data.splitlines(keepends=True)).__next__)[0])
    except (SyntaxError, UnicodeDecodeError):  # the import will report the error
        return data.decode(errors="replace")


def _imported(source: str, module: str) -> Iterator[str]:
    """The top-level modules that a module imports anywhere."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield top_level(node.module or "", node.level, module)
