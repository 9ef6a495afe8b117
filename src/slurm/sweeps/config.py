"""SweepConfig: a sweep in a file such as `sweep.yaml`: what it calls, its space, and its options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.options import Options
from slurm.spaces.conditions import condition
from slurm.spaces.identity import canonical
from slurm.spaces.space import grid, paired, points
from slurm.sweeps.adaptive.config import KEYS, read_search
from slurm.sweeps.hsm.forms import with_sweep
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.spaces.space import Space
    from slurm.sweeps.adaptive.config import FileSearch

TOP = ("sweep", "defaults", "metadata", "name", "task", "command", "options", "files", "products", "shell")
SPACE = ("grid", "paired", "points", "where", "sample")


class SweepConfigError(ConfigurationError):
    """A file or mapping of a sweep is invalid. The message lists each problem, with its line and key.

    Attribute: `problems`, each problem as a line of text.
    """

    def __init__(
        self,
        problems: Sequence[str],
        *,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`values` is the invalid mapping; `names` are the names of its parameters, each with its line and key."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.values, self.names = values or {}, names or {}


class SweepConfig:
    """What a sweep calls, at which points, with which options.

        sweep:
          grid: {lr: [1e-3, 1e-2], model: {depth: [2, 3]}}     # model.depth
          paired: [{data: {path: [a.csv, b.csv], rows: [10, 20]}}]
          where: lr < 0.01 or model.depth == 2
        command: python train.py {overrides}
        options: {time: "1:00:00", mem: 4G}

    `load` reads a file. The constructor takes any mapping, such as a configuration that Hydra has composed. `defaults`
    are parameters that all points have; a list of defaults belongs to Hydra, and is ignored. `metadata` is kept
    unchanged. Files of HPC Sweep Manager are read, too, including files with `grid` and `paired` at the top level.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        where: str = "",
        lines: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> None:
        """Check `values`; `where` and `lines` are their path and line numbers, for messages; `text` is their YAML.

        Raises SweepConfigError with all problems.
        """
        values, lines = with_sweep(_plain(values), lines or {})
        self.values, self._text = values, text
        checker = _Checker(where, lines)
        checker.check(values)
        if checker.problems:
            raise SweepConfigError(checker.problems, values=values, names=checker.located())
        self.search: FileSearch | None = checker.search
        """The ranges of an adaptive search; its `space` has no points."""
        self.space: Space = points([]) if checker.search else checker.space(values)
        self.name: str | None = values.get("name")
        self.task: str | None = values.get("task")
        """The function, as "FILE.py:NAME" or "MODULE:NAME"."""
        self.command: str | None = values.get("command")
        self.options: dict[str, Any] = dict(values.get("options") or {})
        self.metadata: dict[str, Any] = dict(values.get("metadata") or {})
        self.notes: tuple[str, ...] = ()
        """Notes on values that may be meant differently, such as `no`, which is text in YAML 1.2."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SweepConfig:
        """Read a YAML file, by the rules of YAML 1.2. Raises SweepConfigError with all problems of the file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SweepConfigError([f"{os.fspath(path)}: {error}"]) from error
        return cls.loads(text, where=os.fspath(path))

    @classmethod
    def loads(cls, text: str, *, where: str = "") -> SweepConfig:
        """Read the text of a file; `where` is its path, for messages. Raises SweepConfigError with all problems."""
        from slurm.sweeps.yaml_values import read  # noqa: PLC0415 - it imports yaml

        found = read(text)
        problems = [_at(where, each.line, each.key, each.message) for each in found.problems]
        if problems or not isinstance(found.value, Mapping):
            raise SweepConfigError(problems or [f"{where or 'the sweep'}: expected a mapping with the key sweep"])
        made = cls(found.value, where=where, lines=found.lines, text=text)
        made.notes = tuple(_at(where, each.line, each.key, each.message) for each in found.doubts)
        return made

    @staticmethod
    def validate(path: str | os.PathLike[str]) -> list[str]:
        """Return the problems of a file, each a line of text; an empty list if the file is valid."""
        try:
            SweepConfig.load(path)
        except SweepConfigError as error:
            return list(error.problems)
        return []

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sweep to a file as YAML, or as the text that was read. Replaces the file."""
        Path(path).write_text(self.dumps(), encoding="utf-8")

    def dumps(self) -> str:
        """Return the sweep as YAML, or the text that was read."""
        if self._text is not None:
            return self._text
        import yaml  # noqa: PLC0415 - few sweeps are saved

        return str(yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True))


class _Checker:
    """Checks the values of a sweep, and lists all problems with their lines."""

    def __init__(self, where: str, lines: Mapping[str, int]) -> None:
        self._where, self._lines = where, lines
        self.problems: list[str] = []
        self.search: FileSearch | None = None
        self._known: dict[str, str] = {}

    def located(self) -> dict[str, str]:
        """Return the names of the parameters, each with its line and key."""
        return {name: _at(self._where, self._lines.get(key), key, "").rstrip(": ") for name, key in self._known.items()}

    def check(self, values: Mapping[str, Any]) -> None:
        """Check everything."""
        self._names("", values, TOP)
        for key in ("metadata", "options", "defaults"):
            if not isinstance(values.get(key) or {}, Mapping) and not (key == "defaults" and type(values[key]) is list):
                self._refuse(key, f"expected a mapping, not {values[key]!r:.60}")
        sweep = values.get("sweep")
        if not isinstance(sweep, Mapping):
            self._refuse("sweep", "expected a mapping of grid, paired, points, where, sample")
            sweep = {}
        self._names("sweep", sweep, (*SPACE, *KEYS))
        self.search = read_search(sweep, _flat(_defaults(values)), self._refuse)
        if self.search:
            self._known.update((name, f"sweep.search.{name}") for name in self.search.ranges)
            self._unit(values)
            return
        names = self._known
        for key, name, found in self._parameters(values, sweep):
            if name in names:
                self._refuse(key, f"the parameter {name} twice, first as {names[name]}")
            names[name] = key
            self._values(key, name, found)
        for number, group in enumerate(self._groups(sweep)):
            self._lengths(f"sweep.paired[{number}]", group)
        self._points(sweep.get("points") or [], names)
        self._nesting(names)
        self._conditions(sweep, names)
        if not names and not sweep.get("points"):
            self._refuse("sweep", "there are no parameters: write grid: {lr: [0.1, 0.01]}")
        self._unit(values)

    def space(self, values: Mapping[str, Any]) -> Space:
        """Return the space of values that have no problems."""
        sweep = values["sweep"]
        found: list[Space] = []
        constant = {name: [value] for name, value in _flat(_defaults(values)).items()}
        if axes := {**constant, **_flat(sweep.get("grid") or {})}:
            found.append(grid(**axes))
        found += [paired(**_flat(next(iter(group.values())))) for group in self._groups(sweep)]
        if sweep.get("points"):
            found.append(points(map(_flat, sweep["points"])))
        space = found[0]
        for each in found[1:]:
            space *= each
        for text in _texts(sweep.get("where")):
            space = space.where(text)
        sample = sweep.get("sample")
        return space.sample(sample["n"], seed=sample["seed"]) if sample else space

    def _refuse(self, key: str, message: str) -> None:
        self.problems.append(_at(self._where, self._lines.get(key), key, message))

    def _names(self, key: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
        for name in values:
            if name not in known:
                self._refuse(f"{key}.{name}".lstrip("."), f"unknown key{near(str(name), known)}")

    def _parameters(self, values: Mapping[str, Any], sweep: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """Yield the key, the name and the values of each parameter."""
        for name, value in _flat(_defaults(values)).items():
            yield f"defaults.{name}", name, [value]
        axes = sweep.get("grid")
        if axes is not None and not isinstance(axes, Mapping):
            self._refuse("sweep.grid", "expected a mapping of names to lists of values")
        for name, value in _flat(axes).items() if isinstance(axes, Mapping) else ():
            yield f"sweep.grid.{name}", name, value
        for number, group in enumerate(self._groups(sweep, tell=True)):
            for label, axes in group.items():
                for name, value in _flat(axes).items():
                    yield f"sweep.paired[{number}].{label}.{name}", name, value

    def _groups(self, sweep: Mapping[str, Any], *, tell: bool = False) -> list[Mapping[str, Mapping[str, Any]]]:
        """Return the groups of `paired`, each a mapping of its name to its axes. With `tell`, records problems."""
        groups = sweep.get("paired")
        if groups is None:
            return []
        found = []
        for number, group in enumerate(groups if isinstance(groups, list | tuple) else [groups]):
            whole = isinstance(group, Mapping) and len(group) == 1
            if whole and isinstance(next(iter(group.values())), Mapping):
                found.append(group)
            elif tell:
                self._refuse(f"sweep.paired[{number}]", "expected a name and its lists: - data: {path: […], rows: […]}")
        return found

    def _values(self, key: str, name: str, values: Any) -> None:
        if not isinstance(values, list | tuple | range) or not len(values):
            self._refuse(key, f"expected a list of values, such as [{values!r:.60}]")
            return
        for number, value in enumerate(values):
            try:
                canonical({name: value})
            except ConfigurationError as error:
                self._refuse(f"{key}[{number}]" if f"{key}[{number}]" in self._lines else key, str(error))

    def _nesting(self, names: Mapping[str, str]) -> None:
        for name, key in names.items():
            parts = name.split(".")
            for outer in (".".join(parts[:count]) for count in range(1, len(parts))):
                if outer in names:
                    self._refuse(key, f"{name} is within {outer}, which has values of its own")

    def _points(self, some: Any, names: dict[str, str]) -> None:
        """Check the points of a list, and add their names."""
        if not isinstance(some, list):
            self._refuse("sweep.points", "expected a list of points: - {lr: 0.1, depth: 2}")
            return
        new: dict[str, str] = {}
        for number, each in enumerate(some):
            key = f"sweep.points[{number}]"
            if not isinstance(each, Mapping):
                self._refuse(key, f"expected a point such as {{lr: 0.1}}, not {each!r:.60}")
                continue
            for name, value in _flat(each).items():
                if name in names:
                    self._refuse(f"{key}.{name}", f"the parameter {name} twice, first as {names[name]}")
                new.setdefault(name, f"{key}.{name}")
                self._values(f"{key}.{name}", name, [value])
        names |= new

    def _lengths(self, key: str, group: Mapping[str, Mapping[str, Any]]) -> None:
        for label, axes in group.items():
            lengths = {name: len(v) for name, v in _flat(axes).items() if isinstance(v, list | tuple | range)}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                self._refuse(f"{key}.{label}", f"the lists of a group have the same length: {told}")

    def _conditions(self, sweep: Mapping[str, Any], names: Mapping[str, str]) -> None:
        for text in _texts(sweep.get("where")):
            try:
                condition(text, names)
            except ConfigurationError as error:
                self._refuse("sweep.where", str(error).removeprefix("where: "))
        sample = sweep.get("sample")
        if sample is not None and not (
            isinstance(sample, Mapping)
            and set(sample) == {"n", "seed"}
            and all(type(v) is int for v in sample.values())
            and sample["n"] >= 0
        ):
            self._refuse("sweep.sample", "expected {n: 20, seed: 1}")

    def _unit(self, values: Mapping[str, Any]) -> None:
        if values.get("task") is not None and values.get("command") is not None:
            self._refuse("command", "a sweep calls a task or a command: leave out one of them")
        for key in ("name", "task", "command"):
            if values.get(key) is not None and not isinstance(values[key], str):
                self._refuse(key, f"expected text, not {values[key]!r:.60}")
        options = values.get("options") or {}
        try:
            Options.parse(dict(options) if isinstance(options, Mapping) else {})
        except (ConfigurationError, TypeError, ValueError) as error:
            self._refuse("options", str(error))


def _at(where: str, line: int | None, key: str, message: str) -> str:
    place = f"{where}, line {line}: " if where and line else f"line {line}: " if line else f"{where}: " if where else ""
    return f"{place}{key + ': ' if key else ''}{message}"


def _defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
    found = values.get("defaults")
    return found if isinstance(found, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [] if value is None else [str(each) for each in (value if isinstance(value, list | tuple) else [value])]


def _flat(axes: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested names as paths: {"model": {"depth": […]}} becomes model.depth."""
    found: dict[str, Any] = {}
    for name, value in axes.items() if isinstance(axes, Mapping) else ():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _plain(value: Any) -> Any:
    """Return the value with dicts and lists instead of other mappings and sequences, such as the types of OmegaConf."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return (
        [_plain(each) for each in value]
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
        else value
    )
