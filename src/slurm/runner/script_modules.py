"""Script modules: the modules of the user's script on the node. They contain the parts of the script that were sent.

Functions and classes of a module that the node cannot import are sent by value. On the node, they find the module under
its name. So they share its global variables, and `multiprocessing` can pickle them by their names. A variable keeps the
first value that is sent: all values were pickled at the same time, and the task may have changed the variable.

This module is loaded only if something was sent by value.
"""

from __future__ import annotations

import os
import sys
from types import FunctionType, ModuleType

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.argument_loader import OWN_PROCESS, ArgumentLoader
from slurm.runner.placeholder_resolver import PlaceholderResolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

CALL = "SLURMTASKS_CALL"
"""The variable that tells child processes the index and the directory of the call that is running."""
MAIN_OF_CHILDREN = "slurm.runner.script_main"

names: set[str] = set()
"""The names of the modules of the script in `sys.modules`."""

_modules: dict[str, ModuleType] = {}
_namespaces: dict[str, dict[str, Any]] = {}
_child: list[bool] = []
"""Not empty in a process that `multiprocessing` has spawned."""
_arguments: list[bool] = []
"""Not empty in a spawned process that has loaded the arguments of the call."""
_filled: set[int] = set()
"""The ids of functions and classes whose state was set. Their modules keep them alive."""


def module(name: str, basics: Mapping[str, Any], *packages: tuple[str, Mapping[str, Any]]) -> ModuleType:
    """Return a module of the script. See `namespace`."""
    variables = namespace(name, basics, *packages)
    return _modules[name] if name in _modules else _private(name, variables)


def namespace(name: str, basics: Mapping[str, Any], *packages: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the global variables of a module of the script.

    `basics` are variables that the import system has set, such as `__file__`. `packages` are the packages that the
    module is in, the outermost first, each with its basics. A process that was not started to run calls, such as a
    test process, gets a new namespace each time.
    """
    if not _is_own():
        return {"__name__": name, **basics}
    if "__main__" not in _namespaces and name != "__main__":
        namespace("__main__", {})  # child processes find the other modules through it
    for package, basics_of_package in packages:
        if package not in _modules and package not in sys.modules:
            namespace(package, basics_of_package)
    if name not in _namespaces:
        made = _modules[name] = ModuleType(name)
        _namespaces[name] = vars(made)
        vars(made).update({"__path__": _Path(basics["__path__"])} if "__path__" in basics else {})
        _fill(vars(made), basics)
        _enter(made)
    _fill(_namespaces[name], basics)  # again, for `__main__` of a child process
    return _namespaces[name]


def _is_own() -> bool:
    """Whether this process, or the process that spawned it, was started to run calls."""
    return OWN_PROCESS or bool(_child)


def _private(name: str, variables: Mapping[str, Any]) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(variables)
    return made


class _Path(list[str]):
    """The `__path__` of a package. Only directories below an entry of `sys.path` are used."""

    def __iter__(self) -> Iterator[str]:
        return (path for path in super().__iter__() if any(path.startswith(f"{e}/") for e in sys.path if e))


def fill_module(made: ModuleType, variables: Mapping[str, Any]) -> None:
    """Set the variables that a module does not have yet."""
    _fill(vars(made), variables)


def _fill(namespace: dict[str, Any], variables: Mapping[str, Any]) -> None:
    for name, value in variables.items():
        if namespace.get(name) is None:  # ModuleType sets some to None
            namespace[name] = value


def make_function(held: str | None, make: Any, *arguments: Any) -> Any:
    """Return a function that its module has under the name `held`. It is the same object each time it is sent."""
    variables = arguments[1]
    found = variables.get(held)
    if held and isinstance(found, FunctionType):
        return found
    function = make(*arguments)
    if held:
        variables[held] = function
    return function


def fill_function(function: FunctionType, state: tuple[Any, Any]) -> None:
    """Set the state of a new function, and the global variables that its module does not have yet."""
    fill, (attributes, slots) = state
    if id(function) in _filled:
        return
    variables = function.__globals__
    for name, value in slots["__globals__"].items():
        variables.setdefault(name, value)
    fill(function, (attributes, {**slots, "__globals__": {}}))
    if variables.get(function.__name__) is function and _is_own():
        _filled.add(id(function))


def make_class(held: str, namespace: dict[str, Any], make: Any, *arguments: Any) -> Any:
    """Return a class that its module has under the name `held`."""
    return namespace.setdefault(held, make(*arguments))


def fill_class(kind: type, state: tuple[Any, Any]) -> None:
    """Set the state of a new class."""
    fill, attributes = state
    if id(kind) not in _filled:
        fill(kind, attributes)
        if _is_own():
            _filled.add(id(kind))


def _enter(made: ModuleType) -> None:
    """Add a module to `sys.modules`, unless another module has its name."""
    name = made.__name__
    package, _, last = name.rpartition(".")
    if name == "__main__":
        made.__spec__ = _MainSpec(MAIN_OF_CHILDREN, None)
    elif name in sys.modules or name in sys.stdlib_module_names or (package and package not in names):
        return
    else:
        vars(made)["__getattr__"] = lambda attribute: _of_file(name, attribute)
    sys.modules[name] = made
    names.add(name)
    if package:
        setattr(sys.modules[package], last, made)
    if name != "__main__":  # cloudpickle pickles `__main__` by value anyway
        import cloudpickle  # noqa: PLC0415 - already loaded: it has unpickled objects of the module

        cloudpickle.register_pickle_by_value(made)


class _MainSpec(type(sys.__spec__)):  # type: ignore[misc] # ModuleSpec, without an import of `importlib`
    """The `__spec__` of `__main__`. `multiprocessing` starts children by its name, and imports use its parent."""

    @property
    def parent(self) -> str:
        return _namespaces["__main__"].get("__package__") or ""


_files: dict[str, ModuleType] = {}


def _of_file(name: str, attribute: str) -> Any:
    """Return an attribute of a module that was not sent, from the module's file. Raises AttributeError."""
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    if name not in _files:
        package, _, last = name.rpartition(".")
        sent = sys.modules.pop(name)
        try:
            __import__(name)
            _files[name] = sys.modules[name]
        except ModuleNotFoundError as error:
            raise AttributeError(
                f"{name}.{attribute} was not sent with the call, and this node cannot import {error.name}"
            ) from error
        finally:
            sys.modules[name] = sent
            if package:
                setattr(sys.modules[package], last, sent)
    return getattr(_files[name], attribute)


def make_object(held: str, namespace: dict[str, Any], kind: Any) -> Any:
    """Return an object that its module has under the name `held`, and that is pickled by this name: a sentinel."""
    if not _is_own():  # a test's process has the module itself
        namespace = vars(sys.modules.get(namespace["__name__"], ModuleType("")))
    if held not in namespace:
        namespace[held] = kind.__new__(kind)
    return namespace[held]


# Child processes.


def announce(directory: str, index: int) -> None:
    """Set the variable that tells child processes to which call they belong."""
    if names:
        os.environ[CALL] = f"{index}:{directory}"


def load_again(variables: dict[str, Any]) -> None:
    """Load the function of the running call in a new child process. `variables` are the variables of `__main__`."""
    _child.append(True)
    variables.update(dict.fromkeys(("__package__", "__file__", "__doc__", "__cached__", "__loader__")))
    _modules["__main__"], _namespaces["__main__"] = ModuleType("__main__"), variables
    _load().load_function()
    variables["__spec__"] = _MainSpec(MAIN_OF_CHILDREN, None)


def of_arguments(name: str) -> Any:
    """Return a variable of `__main__` that came with the arguments of the call. Raises AttributeError."""
    if not name.startswith("__") and not _arguments:
        _arguments.append(True)
        _load().load(int(os.environ[CALL].partition(":")[0]))
    try:
        return _namespaces["__main__"][name]
    except KeyError:
        raise AttributeError(f"{name} was not sent with the call") from None


def _load() -> ArgumentLoader:
    directory = os.environ[CALL].partition(":")[2]
    root = directory.rsplit("/", 3)[0]  # <root>/jobs/<task>/<stamp>
    return ArgumentLoader(directory, PlaceholderResolver(root))
