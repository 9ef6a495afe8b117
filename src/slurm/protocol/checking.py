"""Checking: validate JSON data against the field types of a record when it is read."""

from __future__ import annotations

from math import isfinite

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    from slurm.protocol.records import Record

    R = TypeVar("R", bound=Record)
    Check = Callable[[Any], bool]

_LARGEST = 1 << 63
"""Numbers must be smaller: `range` and `len` accept no larger ones."""
_DEEPEST = 50
"""The nesting limit of free-form values (options): recursion over a deeper value would overflow the stack."""


def read(kind: type[R], data: Any) -> R:
    """Return the record in JSON data. Raises ValueError that names the invalid field."""
    _check(kind, data)
    record = kind.from_json(data)
    for part in _parts(record):
        if flaw := part.flaw():
            raise ValueError(flaw)
    return record


def _parts(record: Record) -> Iterator[Record]:
    """Yield a record and the records nested in it."""
    yield record
    for name in record._nested:  # noqa: SLF001 - of this package
        value = getattr(record, name)
        for part in value if isinstance(value, tuple) else (value,):
            if part is not None:
                yield from _parts(part)


def _check(kind: type[Record], data: Any) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, not {_short(data)}")
    for name, (annotation, matches) in _fields_of(kind).items():
        if name in data and not matches(data[name]):
            raise ValueError(f"{name} is {_short(data[name])}, expected {annotation}")
    for name, nested in kind._nested.items():  # noqa: SLF001 - of this package
        value = data.get(name)
        for item in value if isinstance(value, list) else () if value is None else (value,):
            _check(nested, item)


def _short(value: Any) -> str:
    """Describe a value in at most 60 characters."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < _LARGEST else "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}…"


_checks: dict[type[Record], Mapping[str, tuple[str, Check]]] = {}


def _fields_of(kind: type[Record]) -> Mapping[str, tuple[str, Check]]:
    """Return, for each field of a record, its annotation and the check of a JSON value."""
    if kind not in _checks:
        annotations: dict[str, str] = {}
        for base in reversed(kind.__mro__):
            annotations.update(getattr(base, "__annotations__", {}))
        _checks[kind] = {name: (annotations[name], _check_for(annotations[name])) for name in kind._fields}
    return _checks[kind]


def _check_for(annotation: str) -> Check:
    """Return the check of a JSON value for an annotation. Of nested records, it only checks that they are objects."""
    if annotation.endswith(" | None"):
        inner = _check_for(annotation.removesuffix(" | None"))
        return lambda value: value is None or inner(value)
    if annotation.startswith("tuple["):
        item = _check_for(annotation[len("tuple[") : -len(", ...]")])
        return lambda value: isinstance(value, list) and all(map(item, value))
    return _PLAIN.get(annotation, _is_object)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return type(value) is int and -_LARGEST < value < _LARGEST


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (type(value) is float and isfinite(value) and abs(value) < _LARGEST)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_plain(value: Any, depth: int = _DEEPEST) -> bool:
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(item, depth - 1) for item in inner)
    return value is None or isinstance(value, (str, bool, float)) or _is_whole(value)


_PLAIN: Mapping[str, Check] = {
    "str": _is_text,
    "int": _is_whole,
    "float": _is_number,
    "bool": _is_truth,
    "Any": _is_plain,
    "Mapping[str, Any]": lambda value: isinstance(value, dict) and _is_plain(value),
    "Mapping[str, int]": lambda value: isinstance(value, dict) and all(map(_is_whole, value.values())),
    "Mapping[str, str]": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
}
