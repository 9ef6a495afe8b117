"""Configuration: the options and the environment of a stage, from six layers. Each layer overrides the ones before.

built-in (the declaration of the tool) < default (all tools, in the Slurmfile) < cluster < tool < stage < command line.
None in a layer suppresses an option of the layers before. A layer without the option keeps their value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slurm import slurmfile
from slurm.options import NONE, Options
from slurm.slurmfile import Setting
from slurm.slurmfile.sources import search
from slurm.slurmfile.tools import FOR_ALL, ToolEntry
from slurm.tasks.settings import Settings
from slurm.tools.errors import ToolError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.clusters.cluster import Cluster
    from slurm.slurmfile import ClusterEntry
    from slurm.slurmfile.sources import Source
    from slurm.tools.declaration import Declaration

NOTHING = ToolEntry()


class Layer(NamedTuple):
    """The settings of one layer for a stage, and where each value is written."""

    name: str
    settings: Settings
    origins: Mapping[str, str] = {}
    origin: str = ""
    """Where the values are written that are not in `origins`."""


class ToolConfig(NamedTuple):
    """The layers of a tool in a Slurmfile."""

    default: ToolEntry = NOTHING
    tool: ToolEntry = NOTHING

    def layers(
        self, tool: type[Declaration], stage: str, cluster: Layer | None, given: Mapping[str, Any]
    ) -> list[Layer]:
        """Return all layers of a stage, from the weakest. `given` are options of the command line.

        Without a cluster layer, the cluster of the submission is the weakest layer, as for any task.
        """
        declared = tool.stages[stage]
        built_in = Settings.parse({"launch": "once", **declared.options, "env": declared.env})
        return [
            Layer("built-in", built_in, origin=f"{tool.__module__}:{tool.__qualname__}.{stage}"),
            _layer("default", self.default),
            *([cluster] if cluster else []),
            _layer("tool", self.tool),
            _layer("stage", self.tool.stages.get(stage, NOTHING)),
            Layer("command line", Settings.parse(given)),
        ]


def get_nested(values: Mapping[str, Any], *keys: str, default: Any = None) -> Any:
    """Return a nested value, such as `get_nested(config, "freq", "Nfreqs")`; the default if a key is missing."""
    found: Any = values
    for key in keys:
        if not hasattr(found, "keys") or key not in found:
            return default
        found = found[key]
    return found


def get_tool_config(tool: type[Declaration], file: Source | None = None) -> ToolConfig:
    """Return the layers of a tool in a Slurmfile, by default the one that the search finds.

    Raises SlurmfileError; ToolError for a stage that the tool does not have.
    """
    found = file or search()
    entries = slurmfile.tool_entries(found) if found else {}
    own = entries.get(tool.name, NOTHING)
    for name, entry in own.stages.items():
        if name not in tool.stages:
            raise ToolError(f"{entry.where}: {tool.name} has no stage {name!r}{near(name, tool.stages)}")
    return ToolConfig(entries.get(FOR_ALL, NOTHING), own)


def merge_slurm_config(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge options of several layers, from the weakest: `merge_slurm_config({"mem": "4G"}, {"mem": None})`.

    None in a layer suppresses an option; a layer without the option keeps the earlier value. Raises OptionError.
    """
    return NONE.merged(*map(Options.parse, layers)).to_json()


def merged(layers: list[Layer]) -> Settings:
    """Return the settings of a stage. A suppressed option stays suppressed, also over the cluster's own defaults."""
    found = Settings()
    for layer in layers:
        found = found.merged(layer.settings)
    return found if found.options.get("launch") else found.merged(Settings.parse({"launch": "once"}))


def stage_settings(
    tool: type[Declaration], cluster: Cluster, given: Mapping[str, Any] | None = None
) -> dict[str, Settings]:
    """Return the settings of each stage on a cluster, with the Slurmfile of the working directory."""
    config, of_cluster = get_tool_config(tool), cluster_layer(cluster.settings)
    return {stage: merged(config.layers(tool, stage, of_cluster, given or {})) for stage in tool.stages}


def cluster_layer(settings: Settings, entry: ClusterEntry | None = None) -> Layer:
    """Return the layer of a cluster, without its callbacks: the cluster itself adds these to every task."""
    origins = {setting.key.removeprefix("options."): setting.origin for setting in (entry.settings if entry else ())}
    return Layer(
        "cluster", settings.replace(callbacks=(), environment=settings.environment or None), origins, "cluster"
    )


def shown(tool: type[Declaration], stage: str, layers: list[Layer]) -> Iterator[Setting]:
    """Yield each option of a stage, and its environment, with the layer and the file where the value is written."""
    final = merged(layers)
    names = {name for layer in layers for name in _names(layer.settings.options)}
    values = _names(final.options)
    for name in sorted(names):
        last = next(layer for layer in reversed(layers) if name in _names(layer.settings.options))
        yield _setting(f"{tool.name}.{stage}.{name}", values.get(name), name, last)
    with_one = [layer for layer in layers if layer.settings.environment is not None]
    if with_one and final.environment:
        yield _setting(
            f"{tool.name}.{stage}.environment", ", ".join(map(repr, final.environment)), "environment", with_one[-1]
        )


def _setting(key: str, value: object, name: str, layer: Layer) -> Setting:
    text = (
        {None: "null", True: "yes", False: "no"}.get(value, str(value)) if value in (None, True, False) else str(value)
    )
    where = layer.origins.get(name) or layer.origin
    return Setting(key, text, f"{layer.name}: {where}" if where else layer.name)


def _names(options: Options) -> dict[str, Any]:
    """Return the values of options by name; None for suppressed options."""
    mappings: dict[str, Mapping[str, Any]] = {"sbatch": options.sbatch, "labels": options.labels, "env": options.env}
    flat = {f"{name}.{key}": value for name, mapping in mappings.items() for key, value in mapping.items()}
    return {**options.given(), **flat}


def _layer(name: str, entry: ToolEntry) -> Layer:
    settings = Settings(options=entry.options, environment=entry.environment)
    return Layer(name, settings, {key: at.where for key, at in entry.locations.items()}, entry.where)
