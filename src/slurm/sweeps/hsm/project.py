"""Projects of HPC Sweep Manager: translate hsm_config.yaml into a Slurmfile and the command of a sweep."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.sweeps.config import SweepConfig

NAMES = ("hsm_config.yaml", "sweeps/hsm_config.yaml", ".hsm/config.yaml")
SWEEPS = ("sweeps/sweep.yaml", "sweeps/sweep_config.yaml", "sweep.yaml", "sweep_config.yaml")
_SECTIONS = ("hpc", "paths", "compute", "logging", "experiment_tracking")
_RESOURCES = {"ncpus": "cpus_per_task", "mem": "mem", "ngpus": "gpus", "select": "nodes"}
"""The names of PBS resources, with the options that they become."""


class Left(NamedTuple):
    """A key that is not translated, and what to do instead."""

    key: str
    why: str


class Project(NamedTuple):
    """The content of an hsm_config.yaml, in the terms of this package."""

    path: Path

    clusters: Mapping[str, Mapping[str, Any]]
    """The clusters of a Slurmfile."""
    slots: Mapping[str, int]
    """The most points that run at once at each cluster."""
    command: str | None
    options: Mapping[str, Any]
    """The options of a sweep."""
    left: tuple[Left, ...]
    lines: Mapping[str, int]
    """The line of each key in the file."""

    @property
    def notes(self) -> list[str]:
        """A line of text for each key that is not translated."""
        places = {each.key: f", line {self.lines[each.key]}" if each.key in self.lines else "" for each in self.left}
        return [f"{self.path}{places[each.key]}: {each.key}: {each.why}" for each in self.left]

    def completed(self, sweep: SweepConfig) -> dict[str, Any]:
        """Return the values of a sweep; a sweep that names no command or task gets the command and the options of this
        project.
        """
        values = dict(sweep.values)
        if not (sweep.command or sweep.task):
            values |= {"command": self.command} if self.command else {}
            values |= {"options": {**self.options, **sweep.options}} if self.options or sweep.options else {}
        return values


def read_project(path: Path) -> Project:
    """Read and translate an hsm_config.yaml. Raises ConfigurationError with all problems of its syntax or structure."""
    from slurm.sweeps.yaml_values import read  # noqa: PLC0415 - it imports yaml

    try:
        found = read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    values = found.value
    if found.problems or not isinstance(values, Mapping):
        problems = [f"{path}, line {each.line}: {each.message}" for each in found.problems]
        raise ConfigurationError("\n".join(problems) or f"{path}: expected a mapping of sections")
    wrong = [name for name in _SECTIONS if not isinstance(values.get(name) or {}, Mapping)]
    if wrong:
        raise ConfigurationError(f"{path}: {', '.join(wrong)}: expected a mapping of keys to values")
    sections = {name: dict(values.get(name) or {}) for name in _SECTIONS}
    return _Translation(path, sections, values).project(found.lines)


class _Translation:
    """Takes keys out of the sections of a file; the keys that are left at the end are not translated."""

    def __init__(self, path: Path, sections: Mapping[str, dict[str, Any]], values: Mapping[str, Any]) -> None:
        self._path, self._sections = path, sections
        self._others = {name: value for name, value in values.items() if name not in sections}
        self._left: list[Left] = []

    def project(self, lines: Mapping[str, int]) -> Project:
        """Return the project that the sections describe; `lines` are the lines of the keys."""
        local, site = self._local(), self._site()
        environment = self._environment()
        clusters = {name: {**each, **environment} for name, each in {"local": local, "hpc": site}.items() if each}
        slots = {"local": self._take("compute.max_concurrent_local"), "hpc": None if site else 0}
        if site:
            slots["hpc"] = self._take("compute.max_concurrent_remote")
        options = self._options()
        command = self._command(conda=bool(environment))
        self._name_the_rest()
        found = {name: each for name, each in slots.items() if isinstance(each, int) and each > 0}
        return Project(self._path, clusters, found, command, options, tuple(self._left), lines)

    def _take(self, key: str) -> Any:
        section, _, name = key.partition(".")
        return self._sections[section].pop(name, None)

    def _leave(self, key: str, why: str) -> None:
        self._left.append(Left(key, why))

    def _local(self) -> dict[str, Any]:
        timeout = self._take("compute.default_timeout")
        if isinstance(timeout, int | float) and timeout > 0:
            return {"url": "local", "options": {"time": math.ceil(timeout / 60)}}
        return {"url": "local"}

    def _site(self) -> dict[str, Any]:
        """Return the cluster of the section `hpc`; empty if the project has none."""
        system = str(self._take("hpc.system") or "").lower()
        if system not in ("slurm", "pbs", "torque"):
            return {}
        if system != "slurm":
            self._leave("hpc.system", f"{system} is not supported: the cluster hpc is one of Slurm, so edit its url")
        resources = self._resources(str(self._take("hpc.default_resources") or ""))
        given = {"time": self._take("hpc.default_walltime"), "partition": self._take("hpc.default_queue"), **resources}
        site: dict[str, Any] = {"url": "slurm"}
        steps = self._take("hpc.module_commands") or []
        for step in [steps] if isinstance(steps, str) else steps:
            loaded = re.fullmatch(r"module\s+load\s+([^;&|]+)", str(step).strip())
            if loaded and "setup" not in site:  # modules are loaded before the steps of `setup`
                site.setdefault("modules", []).extend(loaded[1].split())
            else:
                site.setdefault("setup", []).append(str(step))
        if options := {name: value for name, value in given.items() if value is not None}:
            site["options"] = options
        return site

    def _resources(self, text: str) -> dict[str, Any]:
        """Return the options in "select=1:ncpus=4:mem=64gb", or in "--nodes=1 --mem=4G"."""
        found: dict[str, Any] = {}
        for item in filter(None, re.findall(r"--\S+|[^:\s]+", text)):  # values of Slurm's options may contain colons
            name, _, value = item.partition("=")
            option = _RESOURCES.get(name) or (name[2:].replace("-", "_") if name.startswith("--") else None)
            if option is None or not value:
                self._leave("hpc.default_resources", f"{item} has no known meaning: add an option to the Slurmfile")
                continue
            amount = re.fullmatch(r"(\d+)([kmgt])b?", value.lower()) if option == "mem" else None
            found[option] = f"{amount[1]}{amount[2].upper()}" if amount else int(value) if value.isdecimal() else value
        return found

    def _environment(self) -> dict[str, Any]:
        name = self._take("paths.conda_env")
        return {"environment": {"conda": str(name)}} if name else {}

    def _options(self) -> dict[str, Any]:
        attempts = self._take("compute.retry_attempts")
        return {"retry": attempts} if isinstance(attempts, int) and attempts > 0 else {}

    def _command(self, *, conda: bool) -> str | None:
        root, python = self._take("paths.project_root"), self._take("paths.python_interpreter")
        script = self._take("paths.training_script") or self._take("paths.train_script")
        if not script:
            self._leave("paths.training_script", "it is not set: write the command of the sweep, command: python …")
            return None
        if root:
            self._leave(
                "paths.project_root",
                "a program runs in a directory of its own: paths in it and in its configs that "
                "are relative to the project must be absolute",
            )
        path = os.path.join(directory_of(self._path), str(root or ""), str(script))
        if conda and python:
            self._leave("paths.python_interpreter", "the python of the conda environment is used")
        return f"{'python' if conda or not python else shlex.quote(str(python))} {shlex.quote(path)} {{overrides}}"

    def _name_the_rest(self) -> None:
        """Add a note for every key that was not used and has a value."""
        for section, rest in self._sections.items():
            for name, value in rest.items():
                if value not in (None, False, [], {}, ""):
                    self._leave(f"{section}.{name}", _why(section, name))
        for name, value in self._others.items():
            if value not in (None, False, [], {}, ""):
                self._leave(name, f"unknown section{near(name, _SECTIONS)}")


def _why(section: str, name: str) -> str:
    if name == "max_array_size":
        return "the cluster is asked for its limits"
    return {
        "hpc": "hpc.system names no scheduler, so there is no cluster for it",
        "compute": "a driver of the sweep decides when to look, to collect and to try again",
        "logging": "every job has its log: slurm sweep logs",
        "experiment_tracking": "the program itself sets up its tracking; its metrics are in slurm sweep table",
        "paths": "there is no such setting",
    }[section]


def directory_of(config: Path) -> Path:
    """Return the directory of the project to which a configuration belongs."""
    beside = config.absolute().parent
    return beside.parent if beside.name in {os.path.dirname(name) for name in NAMES if "/" in name} else beside


def config_of(sweep: Path) -> Path | None:
    """Return the configuration of the project of a sweep file: in the same directory, or one directory above."""
    above = (sweep.parent, sweep.absolute().parent.parent)
    return next((found for directory in above for found in _first(directory, NAMES)), None)


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a project in a directory: the sweep, then the configuration; or `path` if it is a file."""
    if path.is_file():
        yield path
        config = config_of(path) if path.name in {Path(name).name for name in SWEEPS} else None
        yield from [config] if config else []
        return
    yield from _first(path, SWEEPS)
    yield from _first(path, NAMES)


def _first(directory: Path, names: tuple[str, ...]) -> Iterator[Path]:
    yield from [directory / name for name in names if (directory / name).is_file()][:1]
