"""The script's part of a call: the script's arguments, its search path, and the modules that are sent by value."""

from __future__ import annotations

import os
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from slurm.runner import script_modules
from slurm.runner.argument_loader import OWN_PROCESS, received
from slurm.serialization.installed import in_installed_directory
from slurm.serialization.local_imports import imports_of, local_sources, top_level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from slurm.runner.argument_loader import Script

_OF_THE_LOADER = frozenset(("__spec__", "__loader__", "__cached__", "__builtins__", "__getattr__", "__path__"))


def script(imported: Iterable[str], there: Collection[str]) -> Script:
    """Return `sys.argv`, the directories on `sys.path` without installed modules, and the sources of local modules.

    Each directory comes with its inode. The sources are those of the modules that are `imported` when a function is
    called.

    In a workflow, all three are those of the script that has submitted the workflow, the same in each attempt; empty if
    an earlier version of this library has submitted it.
    """
    if OWN_PROCESS:
        return received[-1] if received else ((), (), {})
    found = dict.fromkeys(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str))
    loose = (entry for entry in found if os.path.isdir(entry) and not in_installed_directory(entry))
    argv, path = tuple(map(str, sys.argv)), tuple((entry, os.stat(entry).st_ino) for entry in loose)
    return argv, path, local_sources(imported, there)


class ScriptModules:
    """Reduces functions, classes and modules that go by value, so that the node loads them into its script modules."""

    def __init__(self) -> None:
        self._namespaces: dict[int, _Namespace] = {}
        self.imported: set[str] = set()
        """The top-level modules that functions import when they are called."""

    def reduce(self, obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the reduction of an object that the node loads into its module; `reduced` is cloudpickle's own."""
        if isinstance(obj, ModuleType):
            if len(reduced[1]) < 2:
                return reduced
            state = {key: value for key, value in reduced[1][1].items() if key not in _OF_THE_LOADER}
            return (
                script_modules.module,
                (obj.__name__, *_described(obj)),
                state,
                None,
                None,
                script_modules.fill_module,
            )
        module = sys.modules.get(getattr(obj, "__module__", None) or "")
        if module is None or len(reduced) < 6:
            return reduced
        make, arguments, state, items, pairs, fill = reduced
        name: str = getattr(obj, "__qualname__", "")
        held = name if vars(module).get(name) is obj else None
        if isinstance(obj, FunctionType) and obj.__globals__ is vars(module):
            package = vars(module).get("__package__") or ""
            self.imported.update(top_level(*found, package) for found in imports_of(obj.__code__))
            arguments = (held, make, arguments[0], self._namespace(module), *arguments[2:])
            return script_modules.make_function, arguments, (fill, state), items, pairs, script_modules.fill_function
        if isinstance(obj, type) and held:
            arguments = (held, self._namespace(module), make, *arguments)
            return script_modules.make_class, arguments, (fill, state), items, pairs, script_modules.fill_class
        return reduced

    def reduce_named(self, obj: Any) -> tuple[Any, ...] | None:
        """Return the reduction of an object that is pickled by its name; None if its class is in another module."""
        module = sys.modules.get(type(obj).__module__)
        held = obj.__reduce_ex__(5)
        if module is None or vars(module).get(held) is not obj:
            return None
        state = getattr(obj, "__dict__", None) or None
        return script_modules.make_object, (held, self._namespace(module), type(obj)), state

    def _namespace(self, module: ModuleType) -> _Namespace:
        """Return the only object that stands for the global variables of a module, so that a pickle has it once."""
        return self._namespaces.setdefault(id(module), _Namespace(module))


class _Namespace:
    """Stands in a pickle for the global variables of a module."""

    def __init__(self, module: ModuleType) -> None:
        self._arguments = (module.__name__, *_described(module))

    def __reduce__(self) -> tuple[Any, ...]:
        return script_modules.namespace, self._arguments


def _described(module: ModuleType) -> Iterator[Any]:
    """Yield the basic facts about a module, and the packages that contain it."""
    yield _basics(module)
    parts = module.__name__.split(".")
    for end in range(1, len(parts)):
        package = sys.modules.get(name := ".".join(parts[:end]))
        if package is not None:
            yield name, _basics(package)


def _basics(module: ModuleType) -> dict[str, Any]:
    names = ("__package__", "__file__")
    found = {name: vars(module)[name] for name in names if vars(module).get(name) is not None}
    path = vars(module).get("__path__")
    return {**found, **({"__path__": list(path)} if path is not None else {})}
