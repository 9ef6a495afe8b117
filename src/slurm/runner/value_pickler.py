"""Pickling by value, on the client and on the node: cloudpickle with some additions."""

from __future__ import annotations

from collections import ChainMap
from io import BytesIO
from pickle import loads
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle

from slurm.runner.reducers import (
    BY_TYPE,
    FUNCTIONS,
    is_of_one_process,
    own_objects,
    reduce_decorated,
    reduce_exception,
    reduce_of_one_process,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FILE_NAME = 10
"""The position of `co_filename` among the arguments of `types.CodeType`, the same from Python 3.8 to 3.14."""

_SPECIAL = (type, ModuleType, *FUNCTIONS)

_reduce = cloudpickle.Pickler.dispatch_table[CodeType]
_reduce_module = cloudpickle.Pickler.dispatch_table[ModuleType]


def _reduce_code(code: CodeType) -> Any:
    """Reduce a code object as cloudpickle does, but keep its file name.

    cloudpickle 3.1.3 replaces the name by "<dynamic-code>", and tracebacks then show neither file nor source line. The
    name is copied to a new string: the pickler writes a string that other objects share as a reference, so pickles of
    equal functions would differ.
    """
    make, args, *state = _reduce(code)
    if make is CodeType:
        args = (*args[:_FILE_NAME], "".join(code.co_filename), *args[_FILE_NAME + 1 :])
    return (make, args, *state)


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, which pickles functions and classes by value if their module is not on the node.

    It also pickles the file names of code, and the objects that `slurm.runner.reducers` reduces.
    """

    dispatch_table: ClassVar[Mapping[type, Any]] = ChainMap(
        {CodeType: _reduce_code, **BY_TYPE}, cloudpickle.Pickler.dispatch_table
    )

    def __init__(self, file: Any, protocol: int, buffers: Callable[[Any], object] | None = None) -> None:
        super().__init__(file, protocol=protocol, buffer_callback=buffers)
        self._plain: set[type] = set()
        self._own: dict[int, Any] = {}
        """The locks, thread-locals and context variables of pickled namespaces, by id; kept so that ids stay valid."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce the objects that need this pickler, and leave the others to cloudpickle."""
        kind = type(obj)
        if kind in self._plain:
            return NotImplemented
        if id(obj) in self._own:
            return reduce_of_one_process(obj)
        reduced = (isinstance(obj, FunctionType) and reduce_decorated(obj)) or super().reducer_override(obj)
        if isinstance(obj, ModuleType):
            reduced = _reduce_module(obj)
        if isinstance(reduced, tuple):
            self._keep(own_objects(_namespace(obj, *reduced)))
        elif reduced is NotImplemented and self._is_plain(kind):
            self._plain.add(kind)
        return reduced

    def _is_plain(self, kind: type) -> bool:
        """Whether no object of a class needs `reducer_override`."""
        return not issubclass(kind, _SPECIAL) and not is_of_one_process(kind)

    def forget_namespaces(self) -> None:
        """Forget the global variables and class attributes of objects that were pickled before."""
        self._own.clear()

    def _keep(self, objects: Iterable[Any]) -> None:
        self._own.update((id(found), found) for found in objects)


def _namespace(obj: Any, make: Any, args: Any, state: Any = None, *_: Any) -> Iterable[Any]:
    """The values of global variables, class attributes or module variables in the reduction of an object."""
    del make
    values: Iterable[Any] = ()
    if isinstance(obj, FunctionType) and state and "__globals__" in state[1]:
        values = state[1]["__globals__"].values()
    elif isinstance(obj, type) and state:
        values = state[0].values()
    elif isinstance(obj, ModuleType) and len(args) > 1:
        values = args[1].values()
    return values


def dumps_by_value(value: Any) -> bytes:
    """Return the pickle of a value, by cloudpickle with the newest protocol."""
    buffer = BytesIO()
    ValuePickler(buffer, protocol=-1).dump(value)
    return buffer.getvalue()


class _ExceptionPickler(ValuePickler):
    """A pickler for exceptions whose `__init__` cannot be called with their `args`."""

    def reducer_override(self, obj: Any) -> Any:
        reduced = reduce_exception(obj) if isinstance(obj, BaseException) else None
        return reduced or super().reducer_override(obj)


def dumps_exception(error: BaseException) -> tuple[bytes | None, str]:
    """Return the pickle of an exception, or None and the reason why it cannot be pickled and unpickled.

    Pickle calls the `__init__` of an exception with its `args`: what `super().__init__(…)` was called with. If this
    fails, or results in another message, the exception is rebuilt without its `__init__`.
    """
    plain, same, reason = _round_trip(error, dumps_by_value)
    data = plain if same else _round_trip(error, _dumps_rebuilt)[0] or plain
    return data, "" if data else reason


def _dumps_rebuilt(error: BaseException) -> bytes:
    buffer = BytesIO()
    _ExceptionPickler(buffer, protocol=-1).dump(error)
    return buffer.getvalue()


def _round_trip(error: BaseException, dumps: Callable[[BaseException], bytes]) -> tuple[bytes | None, bool, str]:
    """Return the pickle of an exception, whether its message is then the same, and why there is no pickle."""
    action = "pickled"
    try:
        data = dumps(error)
        action = "unpickled"
        return data, _text(loads(data)) == _text(error), ""  # noqa: S301 - what was just pickled
    except Exception as problem:  # noqa: BLE001 - the user's own __reduce__ or __init__
        return None, False, f"it cannot be {action}: {type(problem).__name__}: {problem}"


def _text(error: BaseException) -> str | None:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        return None
