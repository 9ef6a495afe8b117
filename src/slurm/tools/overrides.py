"""Overrides: change values of a YAML text in place. Every other byte stays: comments, tags, order and quotes.

Imports yaml, which takes as long as the whole package: import this module where it is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, ScalarNode

from slurm.tools.errors import TemplateError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yaml.nodes import Node


def overridden(text: str, overrides: Mapping[str, Any], *, name: str) -> str:
    """Return a YAML text with some values replaced, such as `{"freq.Nfreqs": 4}`.

    A key is the path of its names, separated by dots. A value is None, a bool, a finite number, a text, or a list or
    mapping of them. A mapping given for a mapping changes the keys that it names. `name` is the file's, for messages.
    Raises TemplateError for a key that the file does not have, with the nearest one, and for other values.
    """
    for key, value in overrides.items():
        for path, scalar in _leaves(tuple(key.split(".")), value, text, name):
            text = _replaced(text, path, scalar, name)
    return text


def _leaves(path: tuple[str, ...], value: Any, text: str, name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values to replace one by one: a mapping for a mapping changes only what it names."""
    if isinstance(value, Mapping) and value and isinstance(_find(text, path, name)[1], MappingNode):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner, text, name)
    else:
        yield path, value


def _replaced(text: str, path: Sequence[str], value: Any, name: str) -> str:
    key, old = _find(text, path, name)
    new = _written(value, ".".join(path))
    start, end = old.start_mark.index, old.end_mark.index
    if not isinstance(old, ScalarNode) and not getattr(
        old, "flow_style", False
    ):  # a block stands on lines of its own, up to the next key
        block = text[key.end_mark.index : end]
        kept = block[len(block.rstrip()) :]
        return f"{text[: key.end_mark.index]}: {new}{kept or chr(10)}{text[end:]}"
    between = text[key.end_mark.index : start]
    space = "" if between[-1:].isspace() else " "  # an empty value begins at its colon
    return f"{text[:start]}{space}{new}{text[end:]}"


def _find(text: str, path: Sequence[str], name: str) -> tuple[Node, Node]:
    """The nodes of the last key of a path, and of its value."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise TemplateError(f"{name} is not YAML: {error}") from error
    found: tuple[Node, Node] | None = None
    for depth, part in enumerate(path):
        pairs = _pairs(node) if isinstance(node, MappingNode) else {}
        if part not in pairs:
            inside = ".".join(path[:depth])
            known = [".".join((*path[:depth], each)) for each in pairs]
            where = (
                f" {inside!r} is not a mapping there"
                if not pairs and inside
                else near(".".join(path[: depth + 1]), known)
            )
            raise TemplateError(f"{name} has no key {'.'.join(path)!r}{where}")
        found = pairs[part]
        node = found[1]
    if found is None:
        raise TemplateError(f"{name}: an override has no key")
    return found


def _pairs(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    return {str(key.value): (key, value) for key, value in node.value}


def _written(value: Any, key: str) -> str:
    """A value in YAML's flow style, on one line, as versions 1.1 and 1.2 read it alike."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_written(str(name), key)}: {_written(each, key)}" for name, each in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_written(each, key) for each in value) + "]"
    if isinstance(value, str):
        return _text(value, key)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TemplateError(f"override {key}: {value} is not a finite number")
        digits, e, exponent = repr(value).partition("e")
        return f"{digits}.0{e}{exponent}" if e and "." not in digits else repr(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise TemplateError(f"override {key}: expected text, a number, a bool, None or lists of them, not {value!r:.80}")


_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Words that YAML 1.1 or 1.2 does not read as text."""


def _text(text: str, key: str) -> str:
    """A text: a plain word as it is, others in double quotes."""
    if text.isascii() and text.isidentifier() and text.lower() not in _WORDS:
        return text
    if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
        raise TemplateError(f"override {key}: {text!r:.80} is not text that a file can hold")
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
