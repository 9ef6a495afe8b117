"""Labels: names and values that users give to submissions, to find those that belong together."""

from __future__ import annotations

from slurm.options.values import fail, text
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MOST = 64
_LONGEST_NAME, _LONGEST_VALUE = 64, 256
_SEPARATORS = "_.-/"


def parse(given: Any) -> dict[str, str | None]:
    """Check labels that a user wrote. A number becomes text; None unsets a label of an outer layer.

    Raises OptionError, which shows the wrong label.
    """
    if not hasattr(given, "items"):
        fail(f'labels={given!r}: expected a mapping, such as labels={{"sweep": "depths"}}')
    labels = {_name(name): _value(name, value) for name, value in given.items()}
    if len(labels) > _MOST:
        fail(f"labels: expected at most {_MOST}, not {len(labels)}")
    return labels


def _name(name: Any) -> str:
    right = isinstance(name, str) and len(name) <= _LONGEST_NAME and name[:1].isalnum() and name.isascii()
    if not right or not all(character.isalnum() or character in _SEPARATORS for character in name):
        fail(
            f"labels: the name {name!r} is not possible: write up to {_LONGEST_NAME} letters, digits, `_`, `.`, `-` "
            "and `/`, the first a letter or digit"
        )
    return str(name)


def _value(name: str, value: Any) -> str | None:
    try:
        checked = None if value is None else text(value)
    except ValueError:
        checked = ""
    if checked is not None and not 0 < len(checked) <= _LONGEST_VALUE:
        fail(f"labels={{{name!r}: {value!r}}}: expected one line of text of at most {_LONGEST_VALUE} characters")
    return checked


def has(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    """Whether a submission with `labels` has all labels of `wanted`; None stands for any value."""
    return all(name in labels and value in (None, labels[name]) for name, value in wanted.items())
