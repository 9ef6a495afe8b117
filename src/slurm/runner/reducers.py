"""Reducers: pickle by value what Python and cloudpickle can only pickle by name, or not at all.

A function with a cache arrives with an empty cache. A lock, a thread-local or a context variable that is a global
variable or a class attribute arrives as a new object, because each process has its own anyway. Anywhere else, such an
object would have to be shared by processes. This is impossible, so the object is refused.
"""

from __future__ import annotations

import functools
import sys
import threading
import typing
from contextvars import Context, ContextVar
from pickle import PicklingError
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from slurm.runner import reconstructors

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_by_name(module: ModuleType | None) -> bool:
    """Whether objects of a module are pickled by their names, because the node can import the module."""
    if module is None or module.__name__ in ("__main__", "__mp_main__"):
        return False
    by_value = cloudpickle.list_registry_pickle_by_value()
    parts = module.__name__.split(".")
    return not any(".".join(parts[:end]) in by_value for end in range(1, len(parts) + 1))


def _holds(obj: Any) -> bool:
    """Whether the module that an object names can be imported, and contains the object under the object's name."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if not is_by_name(module):
        return False
    found: Any = module
    for name in (getattr(obj, "__qualname__", None) or obj.__name__).split("."):
        found = getattr(found, name, None)
    return found is obj


def _reduce_cached(function: Any) -> Any:
    if _holds(function):
        return function.__qualname__
    parameters = function.cache_parameters()
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    arguments = (function.__wrapped__, parameters["maxsize"], parameters["typed"])
    return reconstructors.cached, arguments, attributes


def _reduce_cached_property(found: Any) -> Any:
    """Reduce a cached property. Before Python 3.12, it contains a lock."""
    state = {name: value for name, value in vars(found).items() if name not in ("func", "lock")}
    return functools.cached_property, (found.func,), state


def _reduce_typing(obj: Any) -> Any:
    if _holds(obj):
        return obj.__name__ if isinstance(obj, typing.NewType) else getattr, (sys.modules[obj.__module__], obj.__name__)
    kind = type(obj).__name__
    arguments, keywords = _TYPING[kind](obj)
    return reconstructors.typing_name, (kind, arguments, keywords, obj.__module__)


_TYPING: dict[str, Any] = {
    "NewType": lambda obj: ((obj.__qualname__, obj.__supertype__), {}),
    "ParamSpec": lambda obj: ((obj.__name__,), {"bound": obj.__bound__} if obj.__bound__ else {}),
    "TypeVarTuple": lambda obj: ((obj.__name__,), {}),
    "TypeAliasType": lambda obj: ((obj.__name__, obj.__value__), {"type_params": obj.__type_params__}),
}

BY_TYPE: dict[type, Any] = {
    functools._lru_cache_wrapper: _reduce_cached,  # noqa: SLF001 - the type has no other name
    functools.cached_property: _reduce_cached_property,
    **{getattr(typing, kind): _reduce_typing for kind in _TYPING if hasattr(typing, kind)},
}
"""Reducers for `dispatch_table`."""


def reduces_to_name(obj: Any) -> bool:
    """Whether an object of a class of the script is pickled as the name of a variable, as sentinels are."""
    return has_own_reduction(type(obj)) and isinstance(obj.__reduce_ex__(5), str)


def has_own_reduction(kind: type) -> bool:
    """Whether a class of the script itself defines how its objects are pickled."""
    own = any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce__", "__reduce_ex__"))
    return own and not is_by_name(sys.modules.get(kind.__module__))


FUNCTIONS: tuple[type, ...] = (FunctionType, functools._lru_cache_wrapper)  # noqa: SLF001 - it has no other name
"""The types of functions that a task may wrap."""


# Functions that only their decorators can rebuild.

_dispatched: Any = functools.singledispatch(lambda _: None)
_DISPATCHER = _dispatched.__code__


def reduce_decorated(function: FunctionType) -> Any:
    """Reduce a function of `singledispatch` or `pydantic.validate_call` that is pickled by value; None for others."""
    if function.__code__ is _DISPATCHER:
        return None if _holds(function) else _reduce_dispatcher(function)
    if "raw_function" in vars(function):
        return None if _holds(function) else _reduce_validated(function)
    return None


def _reduce_dispatcher(function: Any) -> Any:
    implementations = dict(function.registry)
    default = implementations.pop(object)
    made = ("register", "dispatch", "registry", "_clear_cache", "__wrapped__")
    attributes = {name: value for name, value in vars(function).items() if name not in made}
    state = implementations, attributes
    return functools.singledispatch, (default,), state, None, None, reconstructors.register_all


def _reduce_validated(function: Any) -> Any:
    for cell in function.__closure__ or ():
        wrapper = getattr(cell.cell_contents, "__self__", cell.cell_contents)
        if type(wrapper).__name__ == "ValidateCallWrapper":
            if not hasattr(wrapper, "config_wrapper"):
                raise PicklingError(
                    f"{function.__qualname__} has validate_call of pydantic before 2.11, which cannot be built late"
                )
            arguments = (function.raw_function, wrapper.config_wrapper.config_dict, wrapper.validate_return)
            return reconstructors.validated, arguments
    return None


# Objects that processes cannot share.


def _new(name: str, *arguments: Any, module: str = "threading") -> Any:
    return reconstructors.primitive, (module, name, *arguments)


def _reduce_context_variable(variable: ContextVar[Any]) -> Any:
    default: tuple[Any, ...]
    try:
        default = (Context().run(variable.get),)
    except LookupError:
        default = ()
    return reconstructors.context_variable, (variable.name, *default)


_MULTIPROCESSING = "multiprocessing.synchronize"
_OF_ONE_PROCESS: dict[type, Any] = {
    type(threading.Lock()): lambda _: _new("Lock"),
    type(threading.RLock()): lambda _: _new("RLock"),
    threading.Condition: lambda found: _new("Condition", found._lock),  # noqa: SLF001
    threading.Event: lambda found: (reconstructors.set_event, ()) if found.is_set() else _new("Event"),
    threading.Semaphore: lambda found: _new("Semaphore", found._value),  # noqa: SLF001
    threading.BoundedSemaphore: lambda found: _new("BoundedSemaphore", found._initial_value),  # noqa: SLF001
    threading.local: lambda _: _new("local"),
    ContextVar: _reduce_context_variable,
}


def is_of_one_process(kind: type) -> bool:
    """Whether objects of a class are locks, thread-locals or context variables."""
    return kind in _OF_ONE_PROCESS or (kind.__module__ == _MULTIPROCESSING and kind.__name__ in ("Lock", "RLock"))


def reduce_of_one_process(obj: Any) -> Any:
    """Reduce a lock, thread-local or context variable: by its name in an importable module, or as a new object."""
    for module in tuple(sys.modules.values()):
        if isinstance(module, ModuleType):
            name = next((name for name, value in tuple(vars(module).items()) if value is obj), None)
            if name is not None and is_by_name(module):
                return getattr, (module, name)
    reduce = _OF_ONE_PROCESS.get(type(obj))
    return reduce(obj) if reduce else _new(type(obj).__name__, module="multiprocessing")


def own_objects(values: Any) -> Iterator[Any]:
    """Yield the locks, thread-locals and context variables among the values of a namespace."""
    for value in values:
        if is_of_one_process(type(value)):
            yield value
            if isinstance(value, threading.Condition):
                yield value._lock  # type: ignore[attr-defined] # noqa: SLF001


def reduce_exception(error: BaseException) -> Any:
    """Reduce an exception without its `__init__`; None if its class defines its own `__reduce__` or `__new__`."""
    kind = type(error)
    for base in kind.__mro__:
        if base.__module__ == "builtins":
            break
        if {"__new__", "__reduce__", "__reduce_ex__"} & vars(base).keys():
            return None
    reduced: Any = error.__reduce__()
    return reconstructors.exception, (kind, reduced[1]), *reduced[2:]
