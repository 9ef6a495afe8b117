"""The parts of functions, classes and modules that are sent by value: their code, and the values that the code uses."""

from __future__ import annotations

import builtins
import functools
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.reuse.bytecode import bytecode
from slurm.reuse.packages import import_identity
from slurm.reuse.scalars import code_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Definition(NamedTuple):
    """The parts of a definition: bytes, and values by name. The name continues the path of the value in an error."""

    content: bytes
    parts: Mapping[str, Any]


_ABOUT_A_MODULE = frozenset(
    ("__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__path__")
) | {"__spec__"}
_ABOUT_A_CLASS = frozenset((
    *("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__annotate_class__"),
    *("__abstractmethods__", "_abc_impl", "__subclasshook__", "__parameters__", "__dataclass_fields__"),
    *("__dataclass_params__", "__match_args__"),
    *("__slotnames__", "__protocol_attrs__", "__callable_proto_members_only__", "__non_callable_proto_members__"),
))  # fmt: skip
_OF_ENUM = frozenset((
    *("_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_", "_hashable_values_"),
    *("_unhashable_values_map_", "_generate_next_value_", "_new_member_", "_use_args_", "_member_type_"),
    *("_value_repr_", "_singles_mask_", "_flag_mask_", "_all_bits_", "_inverted_", "_boundary_", "_order_"),
    *("__new__", "__new_member__", "_sort_order_"),
))  # fmt: skip
_NO_VALUE = ("no value yet",)
_GENERATED = "<string>"
_GENERATOR = "__create_fn__"
"""The file name of the methods that `dataclasses` generates, and the function that contains them (from Python 3.11)."""


def of_function(function: types.FunctionType, is_loose: Callable[[types.ModuleType], bool]) -> Definition:
    """Take apart a function that is sent by value: its code, and the present values of its variables.

    Its name, module, annotations and documentation do not count.
    """
    code = function.__code__
    parts: dict[str, Any] = {}
    for name, value in _defaults(function):
        parts[f", its default of {name}"] = value
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts[f", its variable {name}"] = cell.cell_contents
        except ValueError:
            parts[f", its variable {name}"] = _NO_VALUE
    for name, value in vars(function).items():
        if name != "__wrapped__":  # it is also among the variables of the function
            parts[f".{name}"] = value
    package = function.__globals__.get("__package__") or ""
    for nested in _with_nested(code):
        found = bytecode(nested)
        for chain in found.names:
            name, value = _resolve(chain, function.__globals__, is_loose)
            parts[f", its global variable {name}"] = value
        for name, level in found.imports:
            absolute = _absolute(name, level, package)
            parts[f", its import of {absolute}"] = import_identity(absolute)
    return Definition(code_digest(code), parts)


def of_class(kind: type) -> Definition:
    """Take apart a class that is sent by value: its bases, attributes, methods, and the names of its fields' types."""
    members = getattr(kind, "_member_map_", None) if hasattr(kind, "__members__") else None
    fields = vars(kind).get("__dataclass_fields__")
    hidden = _ABOUT_A_CLASS | (_OF_ENUM | set(members) if members is not None else set())
    parts: dict[str, Any] = {", its base classes": kind.__bases__, ", its metaclass": type(kind)}
    for name, value in vars(kind).items():
        generated = fields is not None and _is_generated(value)
        slot = isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
        if name not in hidden and not generated and not slot:
            parts[f".{name}"] = value
    annotations = vars(kind).get("__annotations__") or {}
    parts[", its annotations"] = [(name, _text(value)) for name, value in annotations.items()]
    if fields is not None:
        parts[", its fields"] = {name: _field(field) for name, field in fields.items()}
        parts[", its parameters"] = repr(vars(kind)["__dataclass_params__"])
    if members is not None:
        parts[", its members"] = {name: _state(member) for name, member in members.items()}
    return Definition(kind.__name__.encode(), parts)


def of_module(module: types.ModuleType) -> Mapping[str, Any]:
    """Return the variables of a module that is sent by value as a whole."""
    return {name: value for name, value in vars(module).items() if name not in _ABOUT_A_MODULE}


def of_descriptor(value: Any) -> Definition | None:
    """Take apart an object that a decorator puts around a function; None for other values. A cache does not count."""
    kind = type(value)
    if isinstance(value, (staticmethod, classmethod)):
        return Definition(kind.__name__.encode(), {"": value.__func__})
    if kind is property:
        return Definition(b"property", {".fget": value.fget, ".fset": value.fset, ".fdel": value.fdel})
    if isinstance(value, functools.cached_property):
        return Definition(b"cached_property", {"": value.func})
    if isinstance(value, functools._lru_cache_wrapper):  # noqa: SLF001 - it has no other name
        return Definition(b"cache", {"": value.__wrapped__, ".cache_parameters()": value.cache_parameters()})
    if isinstance(value, types.MethodType):
        return Definition(b"method", {".__self__": value.__self__, ".__func__": value.__func__})
    return None


def _defaults(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    values = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from zip(names[len(names) - len(values) :], values, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _with_nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for nested in bytecode(code).nested:
        yield from _with_nested(nested)


def _resolve(
    chain: tuple[str, ...], variables: Mapping[str, Any], is_loose: Callable[[types.ModuleType], bool]
) -> tuple[str, Any]:
    """Return a global name and its value; for a module that is sent by value, the attribute that is used."""
    name, *attributes = chain
    if name in _ABOUT_A_MODULE:
        return name, _NO_VALUE
    if name not in variables:
        return name, (("builtin" if hasattr(builtins, name) else "missing"),)
    value = variables[name]
    while isinstance(value, types.ModuleType) and attributes and is_loose(value):
        name = f"{name}.{attributes[0]}"
        value = getattr(value, attributes.pop(0), _NO_VALUE)
    return name, value


def _absolute(name: str, level: int, package: str) -> str:
    if not level:
        return name
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{name}" if name else base


def _is_generated(value: Any) -> bool:
    """Whether a method was generated from the fields of a data class."""
    function = getattr(value, "__wrapped__", value)
    code = getattr(function, "__code__", None)
    if code is None or code.co_filename != _GENERATED:
        return False
    return getattr(code, "co_qualname", "").startswith(_GENERATOR)  # `python -c` has the same file name


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        return annotation.__qualname__
    return annotation if isinstance(annotation, str) else repr(annotation)


def _field(field: Any) -> tuple[Any, ...]:
    missing = sys.modules["dataclasses"].MISSING
    found = (None if value is missing else (value,) for value in (field.default, field.default_factory))
    marks = (field.init, field.repr, field.hash, field.compare, getattr(field, "kw_only", False) is True)
    return (*found, *marks, dict(field.metadata), str(getattr(field._field_type, "name", "")))  # noqa: SLF001


def _state(member: Any) -> dict[str, Any]:
    own = ("_name_", "__objclass__", "_sort_order_")
    return {name: value for name, value in vars(member).items() if name not in own}
