"""The `tools` of a Slurmfile: options and environments for all external tools, for one tool, or for one stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.options import NONE
from slurm.slurmfile.entry import read_options
from slurm.slurmfile.environment import read_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.environments.base import Environment
    from slurm.options import Options
    from slurm.slurmfile.reader import Location, Reader

FOR_ALL = "default"
"""The name that means every tool."""


class ToolEntry(NamedTuple):
    """The settings in a file for a tool or a stage. Each value has its location."""

    options: Options = NONE
    environment: tuple[Environment, ...] | None = None
    """The environment; None if the file has none, and until `with_environments` reads it; empty for `null`."""
    locations: Mapping[str, Location] = {}
    """The locations of options by their names, and that of `environment`."""
    stages: Mapping[str, ToolEntry] = {}
    where: str = ""
    """`file:line` of the entry."""


def read_tools(reader: Reader, location: Location | None) -> dict[str, ToolEntry]:
    """Read the section `tools`, without the environments. Errors go to the reader's problems."""
    return {name: _entry(reader, entry, stages=name != FOR_ALL) for name, entry in reader.mapping(location).items()}


def with_environments(reader: Reader, entries: Mapping[str, ToolEntry]) -> dict[str, ToolEntry]:
    """Read the environments of the entries. This imports the plugins of this machine, which check their arguments."""
    return {
        name: entry._replace(
            environment=read_environment(reader, at) if (at := entry.locations.get("environment")) else None,
            stages=with_environments(reader, entry.stages),
        )
        for name, entry in entries.items()
    }


def _entry(reader: Reader, location: Location, *, stages: bool) -> ToolEntry:
    keys = reader.mapping(location, ("environment", "options", *(["stages"] if stages else [])))
    options, locations = read_options(reader, keys.get("options"))
    if "environment" in keys:
        locations = {**locations, "environment": keys["environment"]}
    below = {name: _entry(reader, entry, stages=False) for name, entry in reader.mapping(keys.get("stages")).items()}
    return ToolEntry(options, locations=locations, stages=below, where=location.where)
