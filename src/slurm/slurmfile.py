"""Slurmfile: named clusters, in YAML, so that a program says `Cluster.from_slurmfile("gpu")` and no more.

Every plain value is read as the text that stands there: `time: 12:30:00` is a time and `mem: 1e3` isn't, whatever
YAML 1.1 makes of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm import option_values as kinds
from slurm.errors import OptionError, SlurmfileError
from slurm.options import OURS, SBATCH, Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from yaml import Node

NAME = "Slurmfile"
_TOP = ("default", "clusters")
_CLUSTER = ("url", "root", "python", "options")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class ClusterEntry:
    """One named cluster, as the file has it."""

    url: str
    root: str | None
    python: str | None
    options: Options


@dataclass(frozen=True)
class _Place:
    """A value and where it stands."""

    path: Path
    line: int
    value: Any

    def refuse(self, message: str) -> SlurmfileError:
        return SlurmfileError(f"{self.path}, line {self.line}: {message}")


def find(start: Path | None = None) -> Path:
    """The Slurmfile that counts: $SLURMFILE, else the nearest one upward from here, else the user's own.

    The user's own is `$XDG_CONFIG_HOME/slurm-tasks/Slurmfile`. Raises SlurmfileError if there is none.
    """
    if os.environ.get("SLURMFILE"):
        return Path(os.environ["SLURMFILE"]).expanduser()
    here = (start or Path.cwd()).resolve()
    users = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "slurm-tasks", NAME)
    for place in (*(directory / NAME for directory in (here, *here.parents)), users):
        if place.is_file():
            return place
    message = f"there is no {NAME} in {here} or above it, nor {users}; write one, or name it in $SLURMFILE"
    raise SlurmfileError(message)


def load(name: str | None = None, path: str | os.PathLike[str] | None = None) -> ClusterEntry:
    """The cluster of a name, by default of $SLURMFILE_PROFILE or of the file's `default`.

    Raises SlurmfileError, with the file and the line, for what is wrong in it.
    """
    top = _mapping(_parse(Path(path) if path else find()), _TOP, "the file")
    clusters = _mapping(top["clusters"], None, "clusters") if "clusters" in top else {}
    default = _text(top["default"], "default") if "default" in top else None
    wanted = name or os.environ.get("SLURMFILE_PROFILE") or default
    if wanted is None:
        raise top[""].refuse("name a cluster, or give the file a `default`")
    if wanted not in clusters:
        raise top[""].refuse(f"there is no cluster {wanted!r}{_near(wanted, clusters.keys() - {''})}")
    return _entry(clusters[wanted], wanted)


def _entry(place: _Place, name: str) -> ClusterEntry:
    keys = _mapping(place, _CLUSTER, f"cluster {name}")
    if "url" not in keys:
        raise place.refuse(f"cluster {name} needs a url, such as `url: slurm`")
    options = _mapping(keys["options"], None, "options") if "options" in keys else {}
    root, python = ((_text(keys[key], key) if key in keys else None) for key in ("root", "python"))
    return ClusterEntry(
        url=_text(keys["url"], "url"),
        root=os.path.expandvars(root) if root else None,
        python=os.path.expanduser(python) if python else None,
        options=_options(options),
    )


def _options(keys: Mapping[str, _Place]) -> Options:
    found: dict[str, Any] = {}
    for name, place in keys.items():
        if name:
            try:
                found |= Options.parse({name: _option_value(name, place.value)}).to_json()
            except OptionError as error:
                raise place.refuse(str(error)) from None
    try:
        return Options.parse(found)
    except OptionError as error:
        raise keys[""].refuse(str(error)) from None


def _option_value(name: str, node: Node) -> Any:
    import yaml  # noqa: PLC0415 - costs as much as all of this package

    if isinstance(node, yaml.MappingNode):
        return {key.value: _option_value("", value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [item.value for item in node.value]
    if {**SBATCH, **OURS}.get(name) in (kinds.flag, kinds.flag_or_text, None):
        return _TRUTH.get(node.value.lower(), node.value)
    return node.value


def _parse(path: Path) -> _Place:
    import yaml  # noqa: PLC0415 - as above

    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}"
        raise SlurmfileError(message) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Place(path, line, None).refuse(f"{error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not YAML in UTF-8: {error}"
        raise SlurmfileError(message) from error
    return _Place(path, 1, node)


def _mapping(place: _Place, known: Iterable[str] | None, what: str) -> dict[str, _Place]:
    """The entries of a mapping; under "" the mapping itself."""
    import yaml  # noqa: PLC0415 - as above

    if not isinstance(place.value, yaml.MappingNode):
        raise place.refuse(f"{what} must be a mapping of names to values")
    found = {"": place}
    for key, value in place.value.value:
        entry = _Place(place.path, key.start_mark.line + 1, value)
        if known is not None and key.value not in known:
            raise entry.refuse(f"{what} has no key {key.value!r}{_near(key.value, known)}")
        if key.value in found:
            raise entry.refuse(f"{key.value!r} stands twice in {what}")
        found[key.value] = entry
    return found


def _text(place: _Place, what: str) -> str:
    import yaml  # noqa: PLC0415 - as above

    if not isinstance(place.value, yaml.ScalarNode) or not place.value.value:
        raise place.refuse(f"{what} must be a text")
    return str(place.value.value)


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return f": did you mean {near[0]!r}?" if near else f"; there are: {', '.join(names) or 'none'}"
