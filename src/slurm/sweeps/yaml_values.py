"""YAML values: read a text by the rules of YAML 1.2, with the line of each value.

PyYAML follows YAML 1.1, where 1e-3 is text, `no` is false and 12:30 is a number. This module imports yaml, which takes
as long as the import of the whole package: import this module only where it is needed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from slurm.slurmfile.yaml_limits import TooLarge, compose

MOST_VALUES = 1_000_000
_TAGS = "tag:yaml.org,2002:"
_NULL = ("", "~", "null", "Null", "NULL")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUTH_OF_1_1 = frozenset(
    each for word in ("yes", "no", "on", "off") for each in (word, word.capitalize(), word.upper())
)


class Invalid(NamedTuple):
    """A part of the text that cannot be read: its line, the path of its key, and the reason."""

    line: int
    key: str
    message: str


class Values(NamedTuple):
    """The values of a text. `lines` has the line of each value, by the path of its key, such as `sweep.grid.lr[2]`."""

    value: Any
    lines: dict[str, int]
    problems: list[Invalid]
    doubts: list[Invalid]
    """Notes on values that YAML 1.1 reads differently, such as `no`."""


def read(text: str) -> Values:
    """Read a text. A value that cannot be read is None, and is listed among the problems."""
    found = Values(None, {}, [], [])
    try:
        node = compose(text, most=MOST_VALUES)
    except TooLarge as error:
        found.problems.append(Invalid(error.line, "", str(error)))
        return found
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else 1
        found.problems.append(Invalid(at, "", f"not YAML: {error.problem}"))
        return found
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an invalid escape raises one of the last two
        found.problems.append(Invalid(1, "", f"not YAML: {error}"))
        return found
    return found._replace(value=None if node is None else _value(node, "", found))


def _value(node: yaml.Node, key: str, found: Values) -> Any:
    line = node.start_mark.line + 1
    found.lines.setdefault(key, line)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, found)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, f"{key}[{i}]", found) for i, each in enumerate(node.value)]
    return _scalar(node, key, line, found)


def _mapping(node: yaml.MappingNode, key: str, found: Values) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, inner in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode) or name.value == "<<":
            found.problems.append(Invalid(line, key, "expected a name: one word of text"))
            continue
        path = f"{key}.{name.value}".lstrip(".")
        if name.value in values:
            found.problems.append(Invalid(line, path, f"a name twice, first in line {found.lines[path]}"))
            continue
        found.lines[path] = line
        values[str(name.value)] = _value(inner, path, found)
    return values


def _scalar(node: yaml.Node, key: str, line: int, found: Values) -> Any:
    text, kind = str(node.value), node.tag.removeprefix(_TAGS)
    if node.tag == "!" or (isinstance(node, yaml.ScalarNode) and node.style is not None and kind == "str"):  # quoted
        return text
    if kind not in ("str", "int", "float", "bool", "null"):
        found.problems.append(Invalid(line, key, f"{node.tag} {text}: tags are not supported"))
        return None
    if text in _TRUTH_OF_1_1:
        found.doubts.append(Invalid(line, key, f"{text} is text, as in YAML 1.2: write true or false, or quote it"))
    return plain(text)


def plain(text: str) -> Any:
    """Return the value of a word without quotes in YAML 1.2."""
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _SPECIAL.fullmatch(text) else text
