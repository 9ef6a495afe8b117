"""The environment of a Slurmfile's cluster: a name, a name with its arguments, or a list of these."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, PluginNotFound
from slurm.plugins import names, plugin
from slurm.slurmfile.places import near, truth

if TYPE_CHECKING:
    from slurm.environments.base import Environment
    from slurm.slurmfile.places import Place, Reader


def shown(reader: Reader, place: Place) -> str | None:
    """The value in one line, as YAML; None for null."""
    import yaml  # noqa: PLC0415 - costs as much as all of this package

    if reader.is_null(place):
        return None
    if isinstance(place.node, yaml.ScalarNode):
        return reader.text(place)
    return _flow(place.node)


def _flow(node: Any) -> str:
    import yaml  # noqa: PLC0415 - as above

    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(_flow, node.value))}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(value)}' for key, value in node.value)}}}"
    return str(node.value)


def read_environment(reader: Reader, place: Place) -> tuple[Environment, ...]:
    """The environments that stand there; what is wrong goes to the reader's problems."""
    found = [_one(reader, item) for item in reader.items(place)]
    return tuple(environment for environment in found if environment is not None)


def _one(reader: Reader, place: Place) -> Environment | None:
    import yaml  # noqa: PLC0415 - as above

    arguments: Place | None = None
    if isinstance(place.node, yaml.MappingNode):
        entries = list(reader.mapping(place).items())
        if len(entries) != 1:
            reader.refuse(place, "expected one environment, such as `wheel: {extras: [gpu]}`; several make a list")
            return None
        [(name, arguments)] = entries
    else:
        name = reader.text(place) or ""
    try:
        kind = plugin("environments", name)
    except PluginNotFound:
        reader.refuse(place, f"there is no environment {name!r}{near(name, names('environments'))}")
        return None
    return _made(reader, arguments or place, kind, arguments)


def _made(reader: Reader, place: Place, kind: Any, arguments: Place | None) -> Environment | None:
    """Call the class as its entry says."""
    import yaml  # noqa: PLC0415 - as above

    before = len(reader.problems)
    parameters = inspect.signature(kind).parameters
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if arguments is not None and isinstance(arguments.node, yaml.MappingNode):
        for name, entry in reader.mapping(arguments, parameters).items():
            kwargs[name] = _value(reader, entry, truths=isinstance(parameters[name].default, bool))
            if name in kind.local_paths:
                kwargs[name] = _from(os.path.dirname(place.file), kwargs[name])
    elif arguments is not None:
        args = [text for text, _ in reader.texts(arguments)]
        for at, name in enumerate(list(parameters)[: len(args)]):
            if name in kind.local_paths:
                args[at] = _from(os.path.dirname(place.file), args[at])
    if len(reader.problems) > before:
        return None
    try:
        made: Environment = kind(*args, **kwargs)
    except (TypeError, ConfigurationError) as error:
        reader.refuse(place, str(error).replace("__init__()", kind.__name__))
        return None
    return made


def _value(reader: Reader, place: Place, *, truths: bool) -> Any:
    """Texts, lists and mappings of texts; a truth where the parameter's default is one, if the text is."""
    import yaml  # noqa: PLC0415 - as above

    if isinstance(place.node, yaml.MappingNode):
        return {name: reader.text(entry) for name, entry in reader.mapping(place).items()}
    if isinstance(place.node, yaml.SequenceNode):
        return [text for text, _ in reader.texts(place)]
    text = reader.text(place)
    return truth(text) if truths and text is not None else text


def _from(directory: str, paths: Any) -> Any:
    """Paths of this machine as they are meant: relative to the file that they stand in."""
    if isinstance(paths, str):
        return os.path.join(directory, os.path.expanduser(paths))
    return [_from(directory, path) for path in paths] if isinstance(paths, list) else paths
