"""Records: frozen, keyword-only values that are stored and sent as JSON.

The runner builds records at each start of each element. Importing `dataclasses` takes longer than the start of Python
itself (it imports `inspect`), so this module implements the small part of it that records need.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, ClassVar

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object):  # noqa: ANN201, D103 - type checkers use the other one
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class Record:
    """A frozen value with named fields: a subclass annotates them and sets defaults with `=`.

    `_nested` names the fields that are records or tuples of records, so that `from_json` restores their types.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _nested: ClassVar[Mapping[str, type[Record]]] = {}

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._fields = (*cls._fields, *(name for name in own if name not in cls._fields))

    def __init__(self, **values: Any) -> None:
        for name in self._fields:
            if name in values:
                self.__dict__[name] = values.pop(name)
            elif not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
        if values:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: use replace({name}=…)")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def _items(self) -> Iterator[tuple[str, Any]]:
        for name in self._fields:
            yield name, getattr(self, name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return tuple(self._items()) == tuple(other._items())

    def __hash__(self) -> int:
        return hash((type(self), _hashable(tuple(self._items()))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._items())})"

    def flaw(self) -> str | None:
        """Return why values of a record from a file are invalid although their types are correct, or None."""
        return None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**dict(self._items()), **changes})

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, without the fields that are None."""
        return {name: _plain(value) for name, value in self._items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the record that `to_json` encoded. Unknown fields are ignored: a newer version may have added them."""
        values = {name: data[name] for name in cls._fields if name in data}
        for name, record in cls._nested.items():
            values.update({name: _revived(values[name], record)} if name in values else {})
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, (tuple, list)) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _revived(value: Any, record: type[Record]) -> Any:
    if isinstance(value, list):
        return tuple(record.from_json(item) for item in value)
    return value if value is None else record.from_json(value)


_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
"""The form of these numbers in output of the `json` module."""


def encode(value: Any) -> str:
    """Encode JSON values, without importing `json` (and `re` with it) unless a string needs escaping.

    An element encodes one record; the import would take half of its start.
    """
    if value is True or value is False or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f'"{value}"' if _needs_no_escape(value) else _escaped(value)
    if isinstance(value, (int, float)):
        text = repr(value)
        return _NOT_FINITE.get(text, text)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode(str(key))}: {encode(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(encode(item) for item in value) + "]"


def _needs_no_escape(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _escaped(text: str) -> str:
    import json  # noqa: PLC0415 - see encode()

    return json.dumps(text)
