"""Checking: what is read from a file must be what the fields of its record say, or it is no such record."""

from __future__ import annotations

from math import isfinite

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    from slurm.protocol.records import Record

    R = TypeVar("R", bound=Record)
    Fits = Callable[[Any], bool]

_LARGEST = 1 << 63
"""Numbers are smaller: what counts by them (`range`, `len`) takes no larger ones."""
_DEEPEST = 50
"""Levels of free-form values (options): a deeper value would overflow the stack of those that go through it."""


def read(kind: type[R], data: Any) -> R:
    """The record that JSON data holds. Raises ValueError that names the field which is not as it must be."""
    _check(kind, data)
    record = kind.from_json(data)
    for part in _parts(record):
        if flaw := part.flaw():
            raise ValueError(flaw)
    return record


def _parts(record: Record) -> Iterator[Record]:
    """A record and those within it."""
    yield record
    for name in record._nested:  # noqa: SLF001 - of this very package
        value = getattr(record, name)
        for part in value if isinstance(value, tuple) else (value,):
            if part is not None:
                yield from _parts(part)


def _check(kind: type[Record], data: Any) -> None:
    if not isinstance(data, dict):
        message = f"expected an object, not {_short(data)}"
        raise ValueError(message)
    for name, (words, fits) in _fields_of(kind).items():
        if name in data and not fits(data[name]):
            message = f"{name} is {_short(data[name])}, expected {words}"
            raise ValueError(message)
    for name, nested in kind._nested.items():  # noqa: SLF001 - of this very package
        value = data.get(name)
        for item in value if isinstance(value, list) else () if value is None else (value,):
            _check(nested, item)


def _short(value: Any) -> str:
    """A value in a few words, also one that can't be shown whole."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < _LARGEST else "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}…"


_known: dict[type[Record], Mapping[str, tuple[str, Fits]]] = {}


def _fields_of(kind: type[Record]) -> Mapping[str, tuple[str, Fits]]:
    """For each field of a record, its type as it is written, and what tells whether a JSON value is of it."""
    if kind not in _known:
        written: dict[str, str] = {}
        for base in reversed(kind.__mro__):
            written.update(getattr(base, "__annotations__", {}))
        _known[kind] = {name: (written[name], _fits(written[name])) for name in kind._fields}
    return _known[kind]


def _fits(words: str) -> Fits:
    """What tells whether a JSON value is of a type that a record's field has; nested records are checked apart."""
    if words.endswith(" | None"):
        inner = _fits(words.removesuffix(" | None"))
        return lambda value: value is None or inner(value)
    if words.startswith("tuple["):
        item = _fits(words[len("tuple[") : -len(", ...]")])
        return lambda value: isinstance(value, list) and all(map(item, value))
    return _PLAIN.get(words, _is_object)


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


_PLAIN: Mapping[str, Fits] = {
    "str": _is_text,
    "int": _is_whole,
    "float": _is_number,
    "bool": _is_truth,
    "Any": _is_plain,
    "Mapping[str, Any]": lambda value: isinstance(value, dict) and _is_plain(value),
    "Mapping[str, str]": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
}
