"""The environment of a Slurmfile's cluster: a name, a name with arguments, or a list of these."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, PluginNotFound
from slurm.plugins import names, plugin
from slurm.slurmfile.reader import truth
from slurm.usage import near

if TYPE_CHECKING:
    from slurm.environments.base import Environment
    from slurm.slurmfile.reader import Location, Reader


def shown(reader: Reader, location: Location) -> str | None:
    """Return the value as one line of YAML, or None for null."""
    if reader.is_null(location):
        return None
    if location.kind == "scalar":
        return reader.text(location)
    return _flow(location.node)


def _flow(node: Any) -> str:
    if node.id == "sequence":
        return f"[{', '.join(map(_flow, node.value))}]"
    if node.id == "mapping":
        return f"{{{', '.join(f'{_flow(key)}: {_flow(value)}' for key, value in node.value)}}}"
    return str(node.value)


def read_environment(reader: Reader, location: Location | None) -> tuple[Environment, ...]:
    """Read the environments at a location, if there is one. Errors go to the reader's problems."""
    found = [_one(reader, item) for item in reader.items(location)]
    return tuple(environment for environment in found if environment is not None)


def _one(reader: Reader, location: Location) -> Environment | None:
    arguments: Location | None = None
    if location.kind == "mapping":
        entries = list(reader.mapping(location).items())
        if len(entries) != 1:
            reader.refuse(location, "expected one environment, such as `wheel: {extras: [gpu]}`, or a list")
            return None
        [(name, arguments)] = entries
    else:
        name = reader.text(location) or ""
    try:
        kind = plugin("environments", name)
    except PluginNotFound:
        reader.refuse(location, f"there is no environment {name!r}{near(name, names('environments'))}")
        return None
    return _made(reader, arguments or location, kind, arguments)


def _made(reader: Reader, location: Location, kind: Any, arguments: Location | None) -> Environment | None:
    """Construct the environment with the arguments of its entry."""
    before = len(reader.problems)
    parameters = inspect.signature(kind).parameters
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if arguments is not None and arguments.kind == "mapping":
        for name, entry in reader.mapping(arguments, parameters).items():
            kwargs[name] = _value(reader, entry, booleans=isinstance(parameters[name].default, bool))
            if name in kind.local_paths:
                kwargs[name] = _relative_to(os.path.dirname(location.file), kwargs[name])
    elif arguments is not None:
        args = [text for text, _ in reader.texts(arguments)]
        for at, name in enumerate(list(parameters)[: len(args)]):
            if name in kind.local_paths:
                args[at] = _relative_to(os.path.dirname(location.file), args[at])
    if len(reader.problems) > before:
        return None
    try:
        made: Environment = kind(*args, **kwargs)
    except (TypeError, ConfigurationError) as error:
        reader.refuse(location, str(error).replace("__init__()", kind.__name__))
        return None
    return made


def _value(reader: Reader, location: Location, *, booleans: bool) -> Any:
    """Read an argument: text, a list or a mapping of texts. With `booleans`, yes and no are booleans."""
    if location.kind == "mapping":
        return {name: reader.text(entry) for name, entry in reader.mapping(location).items()}
    if location.kind == "sequence":
        return [text for text, _ in reader.texts(location)]
    text = reader.text(location)
    return truth(text) if booleans and text is not None else text


def _relative_to(directory: str, paths: Any) -> Any:
    """Resolve local paths relative to the directory of the Slurmfile."""
    if isinstance(paths, str):
        return os.path.join(directory, os.path.expanduser(paths))
    return [_relative_to(directory, path) for path in paths] if isinstance(paths, list) else paths
