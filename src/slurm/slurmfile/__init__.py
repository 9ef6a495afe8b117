"""Slurmfile: a YAML file of named clusters, for `Cluster.from_slurmfile("gpu")`.

Reading one cluster checks the whole file and reports all errors at once. Values that depend on this machine (variables,
plugins) are checked for the requested cluster only, because several machines may share the file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.setup import load_modules
from slurm.errors import ClusterURLError, ConfigurationError, PluginNotFound, SlurmfileError
from slurm.options import NONE
from slurm.places.place import checked_root
from slurm.plugins import plugin_path
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.entry import KEYS, read_entry
from slurm.slurmfile.environment import read_environment
from slurm.slurmfile.reader import Reader
from slurm.slurmfile.sources import source
from slurm.slurmfile.tools import read_tools, with_environments
from slurm.url import ClusterURL
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurm.environments.base import Environment
    from slurm.options import Options
    from slurm.slurmfile.callbacks import CallbackSpec
    from slurm.slurmfile.entry import Entry
    from slurm.slurmfile.reader import Location
    from slurm.slurmfile.sources import Source
    from slurm.slurmfile.tools import ToolEntry

TOP = ("default", "clusters", "tools")

DEFAULTS = {
    "root": "slurm-jobs in $SCRATCH, $WORK or the home directory there, the first that exists",
    "python": "the Python that runs this program, or one of the same minor version there",
    "environment": "current",
    "login_shell": "no",
}


class Setting(NamedTuple):
    """One setting of a cluster, and its origin: `/p/Slurmfile:7`, `$SLURMFILE`, `default`."""

    key: str
    value: str
    origin: str
    cluster: str | None = None
    """The cluster that defines the setting, if this one inherits it by `extends`."""


@dataclass(frozen=True)
class ClusterEntry:
    """One named cluster, with the settings that it inherits by `extends`."""

    name: str
    url: str
    root: str | None
    python: str | None
    environment: tuple[Environment, ...]
    login_shell: bool
    modules: tuple[str, ...]
    setup: tuple[str, ...]
    callbacks: tuple[CallbackSpec, ...]
    """As written in the file; `slurmfile.callbacks.make` imports them."""
    options: Options
    settings: tuple[Setting, ...]
    """Every setting with its origin."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The first shell lines of a job: load the modules, then run the setup lines."""
        return (*load_modules(self.modules), *self.setup)


def load(name: str | None = None, path: str | os.PathLike[str] | None = None) -> ClusterEntry:
    """Read the cluster `name` of the Slurmfile. The default name is $SLURMFILE_PROFILE, or the file's `default`.

    Raises SlurmfileError.
    """
    return read(source(path), name)


def read(file: Source, name: str | None = None) -> ClusterEntry:
    """Read the cluster `name` of a file.

    Raises SlurmfileError. Its message and `problems` list every error with file, line and key.
    """
    reader, default, entries, _ = _read(file)
    requested = _requested(name, default)
    if requested and requested.value in entries:
        layers = _effective(requested.value, entries)
        _local_checks(reader, layers)
        written = (layer.locations["environment"] for layer in reversed(layers) if "environment" in layer.values)
        environment = read_environment(reader, next(written, None))  # the plugins of this machine check the arguments
        if not reader.problems:
            return _entry(layers, environment, (Setting("file", str(file.path), file.origin), requested))
    elif not reader.problems:  # otherwise an error may hide the cluster
        reader.refuse(None, _missing(requested, entries))
    raise _error(reader)


def tool_entries(file: Source) -> dict[str, ToolEntry]:
    """Read the tools of a file, by their names. Raises SlurmfileError, which lists every error of the file."""
    reader, _, _, entries = _read(file)
    found = with_environments(reader, entries)
    if reader.problems:
        raise _error(reader)
    return found


def names(file: Source) -> tuple[str, ...]:
    """Return the names of the clusters of a file. Raises SlurmfileError."""
    reader, _, entries, _ = _read(file)
    if reader.problems:
        raise _error(reader)
    return tuple(entries)


def has_default(file: Source) -> bool:
    """Whether a file, or $SLURMFILE_PROFILE, names a default cluster."""
    return _requested(None, _read(file)[1]) is not None


def _requested(name: str | None, default: Location | None) -> Setting | None:
    """The name of the requested cluster, and its origin."""
    profile = os.environ.get("SLURMFILE_PROFILE")
    if name or profile:
        return Setting("cluster", name or str(profile), "argument" if name else "$SLURMFILE_PROFILE")
    return Setting("cluster", str(default.node.value), default.where) if default else None


def _missing(requested: Setting | None, entries: Mapping[str, Entry]) -> str:
    if requested is None:
        return "name a cluster, or add a `default` to the file"
    origin = "" if requested.origin == "argument" else f", which {requested.origin} names"
    return f"there is no cluster {requested.value!r}{origin}{near(requested.value, entries)}"


def _read(file: Source) -> tuple[Reader, Location | None, Mapping[str, Entry], Mapping[str, ToolEntry]]:
    """Read a whole file: its `default`, its clusters and its tools. Errors are in the reader's `problems`."""
    reader = Reader(str(file.path))
    try:
        text = file.data.decode()
    except UnicodeDecodeError as error:
        raise SlurmfileError(
            f"cannot read {file.path}: not UTF-8: {error.reason} at byte {error.start}"
        ) from None  # the text of `error` contains a part of the file
    whole = reader.parse(text)
    if whole is None and not reader.problems:
        reader.refuse(None, "the file is empty; add `clusters`")
    top = reader.mapping(whole, TOP)
    entries = {name: read_entry(reader, location) for name, location in reader.mapping(top.get("clusters")).items()}
    _check_extends(reader, entries)
    tools = read_tools(reader, top.get("tools"))
    default = top.get("default")
    if reader.text(default) is None:
        return reader, None, entries, tools
    if default and default.node.value not in entries:
        reader.refuse(default, f"there is no cluster {default.node.value!r}{near(default.node.value, entries)}")
    return reader, default, entries, tools


def _error(reader: Reader) -> SlurmfileError:
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    return SlurmfileError("\n".join(map(str, problems)), problems)


def _check_extends(reader: Reader, entries: Mapping[str, Entry]) -> None:
    """Check that every cluster extends an existing one, without cycles, and has a URL in the end."""
    extended = {entry.extends for entry in entries.values()}
    in_cycles: set[str] = set()
    for name, entry in entries.items():
        chain = _chain(name, entries)
        whole = entries[chain[-1]].extends is None
        if entry.extends is not None and entry.extends not in entries:
            advice = near(entry.extends, entries.keys() - {name})
            reader.refuse(entry.locations["extends"], f"there is no cluster {entry.extends!r}{advice}")
        elif chain[-1] == name and not whole and name not in in_cycles:
            reader.refuse(entry.locations["extends"], f"extends itself: {' → '.join(chain)}")
            in_cycles.update(chain)
        elif whole and entry.sound and name not in extended and _value("url", _effective(name, entries)) is None:
            reader.refuse(entry.location, "has no url; add one, such as `url: slurm`")


def _chain(name: str, entries: Mapping[str, Entry]) -> list[str]:
    """A cluster, the cluster that it extends, and so on. In a cycle, the first repeated name is the last item."""
    chain, seen = [name], {name}
    while (extends := entries[chain[-1]].extends) is not None and extends in entries:
        chain.append(extends)
        if extends in seen:
            break
        seen.add(extends)
    return chain


def _effective(name: str, entries: Mapping[str, Entry]) -> list[Entry]:
    """The entries that define a cluster, from the most general to its own."""
    return [entries[at] for at in reversed(dict.fromkeys(_chain(name, entries)))]


def _value(key: str, layers: Sequence[Entry]) -> str | bool | None:
    """The value of a key: the last entry that has the key counts. Null in this entry resets the key."""
    return next((layer.values[key] for layer in reversed(layers) if key in layer.values), None)


def _local_checks(reader: Reader, layers: Sequence[Entry]) -> None:
    """Check what depends on this machine: the plugins of the URL, and the variables in the root."""
    url, root = (_value(key, layers) for key in ("url", "root"))
    locations = {key: layer.locations[key] for layer in layers for key in ("url", "root") if key in layer.locations}
    if url is None:
        if not reader.problems:
            reader.refuse(layers[-1].location, "has no url, so it can only be extended by other clusters")
        return
    try:
        parsed = ClusterURL.parse(str(url))
        plugin_path("schedulers", parsed.scheduler)
        plugin_path("transports", parsed.transport)
    except PluginNotFound as error:
        reader.refuse(locations["url"], str(error))
    except ClusterURLError:  # read_entry has reported it
        pass
    if root is not None:
        unset = re.findall(r"\$\{?(\w+)", os.path.expandvars(str(root)))
        try:
            checked_root("/" if unset else os.path.expandvars(str(root)), written=str(root))
        except ConfigurationError as error:
            reader.refuse(locations["root"], str(error))
        if unset:
            reader.refuse(locations["root"], f"{root!r}: the variable {unset[0]} is not set here")


def _entry(layers: Sequence[Entry], environment: tuple[Environment, ...], found: Sequence[Setting]) -> ClusterEntry:
    root, python = (_value(key, layers) for key in ("root", "python"))
    lists = {key: tuple(item for layer in layers for item, _ in layer.lists[key]) for key in layers[-1].lists}
    options = NONE.merged(*(layer.options for layer in layers))
    return ClusterEntry(
        name=layers[-1].name,
        url=str(_value("url", layers)),
        root=os.path.expandvars(str(root)) if root else None,
        python=str(python) if python else None,
        environment=environment,
        login_shell=bool(_value("login_shell", layers)),
        modules=lists["modules"],
        setup=lists["setup"],
        callbacks=tuple(spec for layer in layers for spec in layer.callbacks),
        options=options,
        settings=(*found, *_settings(layers, options)),
    )


def _settings(layers: Sequence[Entry], options: Options) -> Iterator[Setting]:
    """Every setting with its origin."""
    last = layers[-1]
    for key in KEYS:
        if key in last.lists:
            for layer in layers:
                yield from (_setting(key, item, location, layer, last) for item, location in layer.lists[key])
        elif key not in {"extends", "options"}:
            value = _value(key, layers)
            if value is None:
                yield Setting(key, DEFAULTS[key], "default")
            else:
                layer = next(layer for layer in reversed(layers) if key in layer.values)
                yield _setting(key, _shown(value), layer.locations[key], layer, last)
    raws = [(f"sbatch.{name}", value) for name, value in options.sbatch.items() if value is not None]
    labels = [(f"labels.{name}", value) for name, value in options.labels.items() if value is not None]
    variables = [(f"env.{name}", "null" if value is None else value) for name, value in options.env.items()]
    for name, option in (*options.set(), *raws, *labels, *variables):
        layer = next(layer for layer in reversed(layers) if name in layer.option_locations)
        yield _setting(f"options.{name}", _shown(option), layer.option_locations[name], layer, last)


def _setting(key: str, value: str, location: Location, layer: Entry, last: Entry) -> Setting:
    return Setting(key, redacted(value), location.where, None if layer is last else layer.name)


def _shown(value: str | bool) -> str:  # noqa: FBT001 - a value, not a switch
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value
