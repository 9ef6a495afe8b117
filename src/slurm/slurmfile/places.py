"""YAML whose every value knows where it stands, so that all that is wrong in a file can be said at once, by line.

Every plain value is the text that stands there: `12:30:00` is no number of base 60, `1e-3` no float, `no` no lie about
Norway. Who reads a key knows what kind of value it takes.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from slurm.options.values import line as one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from yaml import Node

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_MOST_NEAR = 200
"""So many names are compared with one that isn't known, and listed."""
_NULL = ("", "null", "Null", "NULL")
"""Plain words that say "nothing"; `~`, which YAML also takes for it, is the home in a path."""


class Problem(NamedTuple):
    """One thing that is wrong in a file: where, at which key (its path, such as `clusters.gpu.url`), and what."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.key + ': ' if self.key else ''}{self.message}"


class Place(NamedTuple):
    """A value of the file, not yet read, and where it stands."""

    file: str
    line: int
    key: str
    node: Node

    @property
    def where(self) -> str:
        """File and line, as editors and terminals take them."""
        return f"{self.file}:{self.line}"


class Reader:
    """Reads the values of one file. What is wrong goes into `problems`, and reads as if it weren't there."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def refuse(self, place: Place | None, message: str) -> None:
        """Note what is wrong with a value, or with the file."""
        line, key = (place.line, place.key) if place else (1, "")
        self.problems.append(Problem(self.file, line, key, message))

    def parse(self, text: str) -> Place | None:
        """The value of the whole file; None if it isn't YAML, is more than `yaml_limits` allow, or nothing."""
        import yaml  # noqa: PLC0415 - costs as much as all of this package

        from slurm.slurmfile.yaml_limits import TooLarge, compose  # noqa: PLC0415 - it imports yaml

        try:
            node = compose(text)
        except TooLarge as error:
            self.problems.append(Problem(self.file, error.line, "", str(error)))
        except yaml.MarkedYAMLError as error:
            at = error.problem_mark.line + 1 if error.problem_mark else 1
            self.problems.append(Problem(self.file, at, "", f"not YAML: {error.problem}"))
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two of an escape that is no character
            self.refuse(None, f"not YAML: {error}")
        else:
            return Place(self.file, 1, "", node) if node else None
        return None

    def mapping(self, place: Place | None, known: Collection[str] | None = None) -> Mapping[str, Place]:
        """The entries of a mapping, each once; with `known`, of these names alone."""
        import yaml  # noqa: PLC0415 - as above

        if place is None or self.is_null(place):
            return {}
        if not isinstance(place.node, yaml.MappingNode):
            self.refuse(place, "must be a mapping of names to values")
            return {}
        found: dict[str, Place] = {}
        for key, value in place.node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else repr(key.tag)
            path = f"{place.key}.{_shown(name)}".lstrip(".")
            entry = Place(self.file, key.start_mark.line + 1, path, value)
            if not isinstance(key, yaml.ScalarNode) or not name.isprintable():
                self.refuse(entry, "a name is one word of text")
            elif name == "<<":
                self.refuse(entry, "merge keys are not read here; say `extends: <name of another cluster>`")
            elif known is not None and name not in known:
                self.refuse(entry, f"there is no such key{near(name, known)}")
            elif name in found:
                self.refuse(entry, f"stands twice, first in line {found[name].line}")
            else:
                found[name] = entry
        return found

    def text(self, place: Place | None, *, lines: bool = False) -> str | None:
        """A text, of one line unless `lines`; None for null."""
        import yaml  # noqa: PLC0415 - as above

        if place is None or self.is_null(place):
            return None
        if not isinstance(place.node, yaml.ScalarNode):
            self.refuse(place, "must be a text")
            return None
        text = str(place.node.value)
        try:
            for part in text.strip("\n").split("\n") if lines else [text]:
                if part or not lines:
                    one_line(part.replace("\t", " ") if lines else part)
        except ValueError as error:
            self.refuse(place, f"{text!r}: expected {error}")
            return None
        return text

    def truth(self, place: Place | None) -> bool | None:
        """Yes or no, in any of YAML's words; None for null."""
        text = self.text(place)
        if place is None or text is None:
            return None
        if text.lower() not in _TRUTH:
            self.refuse(place, f"{text!r}: expected yes or no")
        return _TRUTH.get(text.lower())

    def items(self, place: Place | None) -> list[Place]:
        """The items of a list; one text stands for a list of one."""
        import yaml  # noqa: PLC0415 - as above

        if place is None or self.is_null(place):
            return []
        if isinstance(place.node, yaml.SequenceNode):
            return [place._replace(line=node.start_mark.line + 1, node=node) for node in place.node.value]
        return [place]

    def texts(self, place: Place | None, *, lines: bool = False) -> list[tuple[str, Place]]:
        """The texts of a list, each with its place; one text stands for a list of one."""
        found = [(self.text(item, lines=lines), item) for item in self.items(place)]
        return [(text, item) for text, item in found if text is not None]

    def is_null(self, place: Place) -> bool:
        """Whether there is nothing, or null."""
        return place.node.value in _NULL and self.is_plain(place)

    @staticmethod
    def is_plain(place: Place) -> bool:
        """Whether it is one word or several without quotes."""
        import yaml  # noqa: PLC0415 - as above

        return isinstance(place.node, yaml.ScalarNode) and place.node.style is None


def truth(text: str) -> bool | str:
    """What a text says if a flag may stand there: yes, no, or itself."""
    return _TRUTH.get(text.lower(), text)


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that isn't known: the one that may be meant, else all."""
    names = sorted(known)
    found = get_close_matches(name, names, n=1) if len(names) <= _MOST_NEAR else []
    more = f", and {len(names) - _MOST_NEAR} more" if len(names) > _MOST_NEAR else ""
    there = ", ".join(names[:_MOST_NEAR]) or "none"
    return f": did you mean {found[0]!r}?" if found else f"; there are: {there}{more}"


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)
