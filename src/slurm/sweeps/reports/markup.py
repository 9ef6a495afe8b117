"""Markup: HTML and SVG elements with escaped texts, because parameters and errors may contain any text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from slurm.sanitize.terminal import without_sequences

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = frozenset({"meta", "line", "rect", "path"})
"""Elements without content, which have no closing tag."""


class Markup(str):
    """Text that is HTML already, so that it is not escaped."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element. Children that are not `Markup` are escaped; attributes always are.

    A `_` at the end of an attribute's name is removed (`class_`); any other `_` becomes a "-". Attributes that are None
    are left out.
    """
    names = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opened = "".join(f' {key}="{escape(str(value))}"' for key, value in names)
    if name in _EMPTY and not children:
        return Markup(f"<{name}{opened}/>")
    return Markup(f"<{name}{opened}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Join parts. Texts that are not `Markup` are escaped, and the control characters of terminals are removed."""
    return Markup("".join(part if isinstance(part, Markup) else escape(without_sequences(part)) for part in parts))
