"""Slurmfile: named clusters, in YAML, so that a program says `Cluster.from_slurmfile("gpu")` and no more.

The whole file is checked whenever one of its clusters is asked for, and all that is wrong is said at once. What only
this machine decides (variables, plugins) is checked for that one cluster alone: a file may be shared.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.setup import load_modules
from slurm.errors import ClusterURLError, ConfigurationError, PluginNotFound, SlurmfileError
from slurm.options import NONE
from slurm.places.place import checked_root
from slurm.plugins import plugin_path
from slurm.sanitize.redaction import redacted
from slurm.slurmfile.entry import KEYS, read_entry
from slurm.slurmfile.environment import read_environment
from slurm.slurmfile.places import Reader, near
from slurm.slurmfile.sources import missing, search, source
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurm.environments.base import Environment
    from slurm.options import Options
    from slurm.slurmfile.callbacks import Named
    from slurm.slurmfile.entry import Entry
    from slurm.slurmfile.places import Place
    from slurm.slurmfile.sources import Source

TOP = ("default", "clusters")

DEFAULTS = {
    "root": "slurm-jobs in $SCRATCH, else $WORK, else the home, there",
    "python": "the one that runs this program, else one of its minor version, there",
    "environment": "current",
    "login_shell": "no",
}


class Setting(NamedTuple):
    """One value of a cluster as it counts, and where it comes from: `/p/Slurmfile:7`, `$SLURMFILE`, `default`."""

    key: str
    value: str
    origin: str
    cluster: str | None = None
    """The cluster under which it stands, if that is one that this one extends."""


@dataclass(frozen=True)
class ClusterEntry:
    """One named cluster as it counts, what it extends included."""

    name: str
    url: str
    root: str | None
    python: str | None
    environment: tuple[Environment, ...]
    login_shell: bool
    modules: tuple[str, ...]
    setup: tuple[str, ...]
    callbacks: tuple[Named, ...]
    """As they are written; `slurmfile_callbacks.make` imports them."""
    options: Options
    settings: tuple[Setting, ...]
    """All of this, value by value, with its origin."""

    @property
    def steps(self) -> tuple[str, ...]:
        """What a job's shell does first: load the modules, then take the setup lines."""
        return (*load_modules(self.modules), *self.setup)


class _Wanted(NamedTuple):
    """A name, and who said it."""

    name: str
    origin: str


def load(name: str | None = None, path: str | os.PathLike[str] | None = None) -> ClusterEntry:
    """The cluster of a name, by default of $SLURMFILE_PROFILE or of the file's `default`, as `read` gives it."""
    return read(source(path), name)


def read(file: Source, name: str | None = None) -> ClusterEntry:
    """The cluster that a file has under a name.

    Raises SlurmfileError, whose message and `problems` are all that is wrong, each with its file, line and key.
    """
    reader, default, entries = _read(file)
    wanted = _wanted(name, default)
    if wanted and wanted.name in entries:
        layers = _effective(wanted.name, entries)
        _local_checks(reader, layers)
        environment = _environment(reader, layers)
        if not reader.problems:
            found = (Setting("file", str(file.path), file.origin), Setting("cluster", *wanted))
            return _entry(wanted.name, layers, environment, found)
    elif not reader.problems:  # else it may be missing for what is wrong
        reader.refuse(None, _missing(wanted, entries))
    raise _error(reader)


def find(start: Path | None = None) -> Path:
    """The path of the Slurmfile that counts, as `search` finds it. Raises SlurmfileError if there is none."""
    found = search(start)
    if found is None:
        raise missing(start or Path.cwd())
    return found.path


def names(path: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """The names of a file's clusters, by default of the one that counts. Raises SlurmfileError."""
    return names_in(source(path))


def names_in(file: Source) -> tuple[str, ...]:
    """The names of a file's clusters. Raises SlurmfileError."""
    reader, _, entries = _read(file)
    if reader.problems:
        raise _error(reader)
    return tuple(entries)


def _wanted(name: str | None, default: Place | None) -> _Wanted | None:
    profile = os.environ.get("SLURMFILE_PROFILE")
    if name or profile:
        return _Wanted(name, "argument") if name else _Wanted(str(profile), "$SLURMFILE_PROFILE")
    return _Wanted(str(default.node.value), default.where) if default else None


def _missing(wanted: _Wanted | None, entries: Mapping[str, Entry]) -> str:
    if wanted is None:
        return "name a cluster, or give the file a `default`"
    said = "" if wanted.origin == "argument" else f", which {wanted.origin} names"
    return f"there is no cluster {wanted.name!r}{said}{near(wanted.name, entries)}"


def _read(file: Source) -> tuple[Reader, Place | None, Mapping[str, Entry]]:
    """All of a file: the place of its default, and its clusters; what is wrong is the reader's `problems`."""
    reader = Reader(str(file.path))
    try:
        text = file.data.decode()
    except UnicodeDecodeError as error:
        message = f"{file.path} can't be read: not UTF-8: {error.reason} at byte {error.start}"
        raise SlurmfileError(message) from None  # its own words show a part of the file
    whole = reader.parse(text)
    if whole is None and not reader.problems:
        reader.refuse(None, "the file is empty; it must have `clusters`")
    top = reader.mapping(whole, TOP)
    entries = {name: read_entry(reader, place) for name, place in reader.mapping(top.get("clusters")).items()}
    _check_extends(reader, entries)
    default = top.get("default")
    if reader.text(default) is None:
        return reader, None, entries
    if default and default.node.value not in entries:
        reader.refuse(default, f"there is no cluster {default.node.value!r}{near(default.node.value, entries)}")
    return reader, default, entries


def _error(reader: Reader) -> SlurmfileError:
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    return SlurmfileError("\n".join(map(str, problems)), problems)


def _check_extends(reader: Reader, entries: Mapping[str, Entry]) -> None:
    """Every cluster extends one that is there, never itself by any way, and ends up with a URL."""
    extended = {entry.extends for entry in entries.values()}
    in_cycles: set[str] = set()
    for name, entry in entries.items():
        chain = _chain(name, entries)
        whole = entries[chain[-1]].extends is None
        if entry.extends is not None and entry.extends not in entries:
            advice = near(entry.extends, entries.keys() - {name})
            reader.refuse(entry.places["extends"], f"there is no cluster {entry.extends!r}{advice}")
        elif chain[-1] == name and not whole and name not in in_cycles:
            reader.refuse(entry.places["extends"], f"extends itself: {' → '.join(chain)}")
            in_cycles.update(chain)
        elif whole and entry.sound and name not in extended and _value("url", _effective(name, entries)) is None:
            reader.refuse(entry.place, "needs a url, such as `url: slurm`")


def _chain(name: str, entries: Mapping[str, Entry]) -> list[str]:
    """A cluster, the one that it extends, and so on; up to the first that comes a second time."""
    chain, met = [name], {name}
    while (extends := entries[chain[-1]].extends) is not None and extends in entries:
        chain.append(extends)
        if extends in met:
            break
        met.add(extends)
    return chain


def _effective(name: str, entries: Mapping[str, Entry]) -> list[Entry]:
    """What makes a cluster, the first extended first."""
    return [entries[at] for at in reversed(dict.fromkeys(_chain(name, entries)))]


def _value(key: str, layers: Sequence[Entry]) -> str | bool | None:
    """The value that counts: that of the last who has the key; null there takes it back."""
    return next((layer.values[key] for layer in reversed(layers) if key in layer.values), None)


def _local_checks(reader: Reader, layers: Sequence[Entry]) -> None:
    """What this machine decides: the cluster's scheduler and transport, and the variables in its root."""
    url, root = (_value(key, layers) for key in ("url", "root"))
    places = {key: layer.places[key] for layer in layers for key in ("url", "root") if key in layer.places}
    if url is None:
        if not reader.problems:
            reader.refuse(layers[-1].place, "is only there to be extended: it has no url")
        return
    try:
        parsed = ClusterURL.parse(str(url))
        plugin_path("schedulers", parsed.scheduler)
        plugin_path("transports", parsed.transport)
    except (ClusterURLError, PluginNotFound) as error:  # the first of these has been told
        if isinstance(error, PluginNotFound):
            reader.refuse(places["url"], str(error))
    if root is not None:
        unset = re.findall(r"\$\{?(\w+)", os.path.expandvars(str(root)))
        try:
            checked_root("/" if unset else os.path.expandvars(str(root)), written=str(root))
        except ConfigurationError as error:
            reader.refuse(places["root"], str(error))
        if unset:
            reader.refuse(places["root"], f"{root!r}: there is no variable {unset[0]} here")


def _environment(reader: Reader, layers: Sequence[Entry]) -> tuple[Environment, ...]:
    """The environment that counts; also what it takes is checked for this cluster alone, for it may be a plugin's."""
    if _value("environment", layers) is None:
        return ()
    places = next(layer.places for layer in reversed(layers) if "environment" in layer.values)
    return read_environment(reader, places["environment"])


def _entry(
    name: str, layers: Sequence[Entry], environment: tuple[Environment, ...], found: Sequence[Setting]
) -> ClusterEntry:
    root, python = (_value(key, layers) for key in ("root", "python"))
    lists = {key: tuple(item for layer in layers for item, _ in layer.lists[key]) for key in layers[-1].lists}
    options = NONE.merged(*(layer.options for layer in layers))
    return ClusterEntry(
        name=name,
        url=str(_value("url", layers)),
        root=os.path.expandvars(str(root)) if root else None,
        python=str(python) if python else None,
        environment=environment,
        login_shell=bool(_value("login_shell", layers)),
        modules=lists["modules"],
        setup=lists["setup"],
        callbacks=tuple(named for layer in layers for named in layer.callbacks),
        options=options,
        settings=(*found, *_settings(layers, options)),
    )


def _settings(layers: Sequence[Entry], options: Options) -> Iterator[Setting]:
    """Each value that counts, and its origin."""
    last = layers[-1]
    for key in KEYS:
        if key in last.lists:
            for layer in layers:
                yield from (_setting(key, item, place, layer, last) for item, place in layer.lists[key])
        elif key not in {"extends", "options"}:
            value = _value(key, layers)
            if value is None:
                yield Setting(key, DEFAULTS[key], "default")
            else:
                layer = next(layer for layer in reversed(layers) if key in layer.values)
                yield _setting(key, _shown(value), layer.places[key], layer, last)
    raw = {f"sbatch.{name}": value for name, value in options.sbatch.items() if value is not None}
    for name, option in (*options.set(), *raw.items()):
        layer = next(layer for layer in reversed(layers) if name in layer.option_places)
        yield _setting(f"options.{name}", _shown(option), layer.option_places[name], layer, last)


def _setting(key: str, value: str, place: Place, layer: Entry, last: Entry) -> Setting:
    return Setting(key, redacted(value), place.where, None if layer is last else layer.name)


def _shown(value: str | bool) -> str:  # noqa: FBT001 - a value, not a switch
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value
