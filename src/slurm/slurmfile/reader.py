"""Reader: YAML values with their locations, so that all errors of a file are reported at once, by line.

Every scalar is read as text: `12:30:00` is not a sexagesimal number, `1e-3` is not a float, `no` is not a boolean. The
code that reads a key decides the type of its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.options.values import line as one_line
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NULL = ("", "null", "Null", "NULL")
"""Scalars that mean null. YAML's `~` is not one: in a path it is the home directory."""


class Problem(NamedTuple):
    """One error in a file: its line, the path of its key (such as `clusters.gpu.url`), and a message."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.key + ': ' if self.key else ''}{self.message}"


class Location(NamedTuple):
    """An unread value of the file: where it is, and its YAML node."""

    file: str
    line: int
    key: str
    node: Any

    @property
    def kind(self) -> str:
        """The kind of the node: scalar, sequence or mapping."""
        return str(self.node.id)

    @property
    def where(self) -> str:
        """`file:line`, the form that editors and terminals open."""
        return f"{self.file}:{self.line}"


class Reader:
    """Reads the values of one file. A wrong value is added to `problems` and read as if it were missing."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def refuse(self, location: Location | None, message: str) -> None:
        """Add a problem with a value, or with the whole file."""
        line, key = (location.line, location.key) if location else (1, "")
        self.problems.append(Problem(self.file, line, key, message))

    def parse(self, text: str) -> Location | None:
        """Return the value of the whole file. None if it is empty, not YAML, or larger than `yaml_limits` allow."""
        import yaml  # noqa: PLC0415 - it costs as much as the whole package

        from slurm.slurmfile.yaml_limits import TooLarge, compose  # noqa: PLC0415 - it imports yaml

        try:
            node = compose(text)
        except TooLarge as error:
            self.problems.append(Problem(self.file, error.line, "", str(error)))
        except yaml.MarkedYAMLError as error:
            at = error.problem_mark.line + 1 if error.problem_mark else 1
            other = ". A Slurmfile is YAML; is this TOML?" if text.lstrip().startswith("[") else ""
            self.problems.append(Problem(self.file, at, "", f"not YAML: {error.problem}{other}"))
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # an invalid escape raises one of the last two
            self.refuse(None, f"not YAML: {error}")
        else:
            return Location(self.file, 1, "", node) if node else None
        return None

    def mapping(self, location: Location | None, known: Collection[str] | None = None) -> Mapping[str, Location]:
        """Return the entries of a mapping. Duplicate names, and names not in `known`, are problems."""
        if location is None or self.is_null(location):
            return {}
        if location.kind != "mapping":
            self.refuse(location, "expected a mapping of names to values")
            return {}
        found: dict[str, Location] = {}
        for key, value in location.node.value:
            name = key.value if key.id == "scalar" else repr(key.tag)
            path = f"{location.key}.{_shown(name)}".lstrip(".")
            entry = Location(self.file, key.start_mark.line + 1, path, value)
            if key.id != "scalar" or not name.isprintable():
                self.refuse(entry, "expected a name: one line of printable text")
            elif name == "<<":
                self.refuse(entry, "merge keys are not supported; write `extends: <name of another cluster>`")
            elif known is not None and name not in known:
                self.refuse(entry, f"unknown key{near(name, known)}")
            elif name in found:
                self.refuse(entry, f"duplicate key, first in line {found[name].line}")
            else:
                found[name] = entry
        return found

    def text(self, location: Location | None, *, lines: bool = False) -> str | None:
        """Return a text, which must be a single line unless `lines`. None for null."""
        if location is None or self.is_null(location):
            return None
        if location.kind != "scalar":
            self.refuse(location, "expected text")
            return None
        text = str(location.node.value)
        try:
            for part in text.strip("\n").split("\n") if lines else [text]:
                if part or not lines:
                    one_line(part.replace("\t", " ") if lines else part)
        except ValueError as error:
            self.refuse(location, f"{text!r}: expected {error}")
            return None
        return text

    def truth(self, location: Location | None) -> bool | None:
        """Return a boolean, written as any of YAML's words. None for null."""
        text = self.text(location)
        if location is None or text is None:
            return None
        if text.lower() not in _TRUTH:
            self.refuse(location, f"{text!r}: expected yes or no")
        return _TRUTH.get(text.lower())

    def items(self, location: Location | None) -> list[Location]:
        """Return the items of a list. A single value counts as a list of one."""
        if location is None or self.is_null(location):
            return []
        if location.kind == "sequence":
            return [location._replace(line=node.start_mark.line + 1, node=node) for node in location.node.value]
        return [location]

    def texts(self, location: Location | None, *, lines: bool = False) -> list[tuple[str, Location]]:
        """Return the texts of a list with their locations. A single text counts as a list of one."""
        found = [(self.text(item, lines=lines), item) for item in self.items(location)]
        return [(text, item) for text, item in found if text is not None]

    def is_null(self, location: Location) -> bool:
        """Whether the value is empty or null."""
        return location.node.value in _NULL and self.is_plain(location)

    @staticmethod
    def is_plain(location: Location) -> bool:
        """Whether the value is a scalar without quotes."""
        return location.kind == "scalar" and location.node.style is None


def truth(text: str) -> bool | str:
    """Return the boolean that a text stands for, or the text itself."""
    return _TRUTH.get(text.lower(), text)


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)
