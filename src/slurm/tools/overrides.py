"""Overrides: change values of a YAML text in place. All other bytes stay: comments, tags, order and quotes.

This module imports yaml, which takes as long as the import of the whole package: import this module only where it is
needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, ScalarNode

from slurm.tools.errors import TemplateError
from slurm.tools.point import written
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yaml.nodes import Node


def overridden(text: str, overrides: Mapping[str, Any], *, name: str) -> str:
    """Return a YAML text with the values in `overrides` replaced, such as `{"freq.Nfreqs": 4}`.

    A key is a path of names, separated by dots. A value is None, a bool, a finite number, a text, or a list or mapping
    of such values. A mapping that overrides a mapping changes only the keys in it. `name` is the file's name, for
    messages. Raises TemplateError for a key that the file does not have, with the nearest one, and for other values.
    """
    for key, value in overrides.items():
        for path, scalar in _leaves(tuple(key.split(".")), value, text, name):
            text = _replaced(text, path, scalar, name)
    return text


def _leaves(path: tuple[str, ...], value: Any, text: str, name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the single values to replace: a mapping that overrides a mapping changes only the keys in it."""
    if isinstance(value, Mapping) and value and isinstance(_find(text, path, name)[1], MappingNode):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner, text, name)
    else:
        yield path, value


def _replaced(text: str, path: Sequence[str], value: Any, name: str) -> str:
    start, end, before, after = _span(text, *_find(text, path, name))
    try:
        new = written(value, ".".join(path), plain=not name.endswith(".json"))
    except ValueError as error:
        raise TemplateError(str(error)) from None
    return f"{text[:start]}{before}{new}{after}{text[end:]}"


def _span(text: str, key: Node, old: Node) -> tuple[int, int, str, str]:
    """Return the start and the end of a value in the text, and the texts to write before and after a new value."""
    start, end, name = old.start_mark.index, old.end_mark.index, key.end_mark.index
    if not isinstance(old, ScalarNode) and not getattr(old, "flow_style", False):
        block = text[name:end]  # a block has its own lines, up to the next key
        return name, end, ": ", block[len(block.rstrip()) :] or "\n"
    return start, end, "" if text[name:start][-1:].isspace() else " ", ""  # an empty value begins at its colon


def spans(text: str, *, name: str) -> dict[str, tuple[int, int, str, str]]:
    """Return the position of each value of a YAML text, as in `_span`, by the path of its key. Raises TemplateError."""
    return dict(_spans(text, _composed(text, name), ""))


def _spans(text: str, node: Node | None, above: str) -> Iterator[tuple[str, tuple[int, int, str, str]]]:
    for part, (key, value) in (_pairs(node) if isinstance(node, MappingNode) else {}).items():
        yield f"{above}{part}", _span(text, key, value)
        yield from _spans(text, value, f"{above}{part}.")


def _composed(text: str, name: str) -> Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise TemplateError(f"{name} is not YAML: {error}") from error


def _find(text: str, path: Sequence[str], name: str) -> tuple[Node, Node]:
    """Return the nodes of the last key of a path and of its value. Raises TemplateError if the key is missing."""
    node = _composed(text, name)
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
