"""Identity: two points are the same if their canonical JSON is equal, in every process and on every machine.

Names are sorted; tuples become lists; NumPy scalars become their values; -0.0 becomes 0.0. 1 and 1.0 are the same
value; True and 1 are different values.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from slurm.errors import ConfigurationError

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode
_AS_IT_IS = frozenset({str, int, bool, type(None)})


def canonical(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as values of JSON: lists, dicts, Python numbers, text, bools and None.

    Raises ConfigurationError, with the name of the parameter, for NaN, infinity and objects of other types.
    """
    return {_name(name): value if type(value) in _AS_IT_IS else _value(value, name) for name, value in params.items()}


def identity(params: Mapping[str, Any]) -> str:
    """Return the digest of parameters, 32 hexadecimal digits. Raises ConfigurationError as `canonical` does."""
    return digest(canonical(params))


def digest(values: Mapping[str, Any]) -> str:
    """Return the digest of parameters that `canonical` has returned."""
    return hashlib.sha256(_encode(_merged(values)).encode()).hexdigest()[:32]


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with dotted names as nested mappings: {"model.lr": 1} becomes {"model": {"lr": 1}}.

    Raises ConfigurationError if a name is within another name that has a value.
    """
    if not any("." in name for name in params):
        return dict(params)
    found: dict[str, Any] = {}
    for name, value in params.items():
        *outer, last = name.split(".")
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigurationError(f"{name} is within {part}, which has a value of its own")
        inner[last] = value
    return found


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{name!r} is not a name of a parameter: names are texts")
    return name


def _value(value: Any, where: str) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ConfigurationError(f"{where}={value}: a parameter is a finite number; write None for no value")
        return value + 0.0  # -0.0 becomes 0.0
    if isinstance(value, list | tuple):
        return [_value(each, f"{where}[{i}]") for i, each in enumerate(value)]
    if isinstance(value, Mapping):
        return {_name(name): _value(each, f"{where}.{name}") for name, each in value.items()}
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):  # NumPy's scalars
        return _value(value.item(), where)
    hint = "write its str()" if hasattr(value, "__fspath__") else "write its values, as numbers, text or lists of them"
    raise ConfigurationError(f"{where}={value!r:.80} is a {kind.__qualname__}, which has no identity: {hint}")


def _merged(value: Any) -> Any:
    """Return the value with whole floats as integers, so that 1 and 1.0 have the same JSON."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict:
        return {name: _merged(each) if type(each) in _NESTED else each for name, each in value.items()}
    if kind is list:
        return [_merged(each) if type(each) in _NESTED else each for each in value]
    return value


_NESTED = frozenset({float, dict, list})
