"""Plugin registry: maps the names in URLs and Slurmfiles to scheduler, transport and environment classes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slurm.errors import PluginNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "transports": {
        "inline": "slurm.testing.inline.transport:InlineTransport",
        "local": "slurm.transports.local:LocalTransport",
        "openssh": "slurm.transports.openssh:OpenSSHTransport",
        "paramiko": "slurm.transports.paramiko_ssh:ParamikoTransport",
        "ssh": "slurm.transports.ssh:SSHTransport",
    },
    "schedulers": {
        "inline": "slurm.testing.inline.scheduler:InlineScheduler",
        "local": "slurm.schedulers.local:LocalScheduler",
        "pbs": "slurm.schedulers.pbs:PBSScheduler",
        "sge": "slurm.schedulers.grid_engine:GridEngineScheduler",
        "slurm": "slurm.schedulers.slurm:SlurmScheduler",
        "slurmrest": "slurm.schedulers.slurm_rest:SlurmRestScheduler",
    },
    "environments": {
        "conda": "slurm.environments.modules:Conda",
        "container": "slurm.environments.container:Container",
        "current": "slurm.environments.current:Current",
        "modules": "slurm.environments.modules:Modules",
        "python": "slurm.environments.current:Python",
        "wheel": "slurm.environments.wheel:Wheel",
    },
}
"""Dotted paths of the built-in classes. Entry points add others, in the groups `slurm.transports`, `slurm.schedulers`
and `slurm.environments`."""


def plugin(kind: str, name: str) -> Any:
    """Import the class registered under `name`. Raises PluginNotFound."""
    module, _, attribute = plugin_path(kind, name).partition(":")
    return getattr(import_module(module), attribute)


def plugin_path(kind: str, name: str) -> str:
    """Return the dotted path of the class registered under `name`, without importing it. Raises PluginNotFound."""
    path = BUILT_IN[kind].get(name) or _entry_points(kind).get(name)
    if path is None:
        raise PluginNotFound(f"there is no {kind.removesuffix('s')} {name!r}{_near(name, names(kind))}")
    return path


def _near(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for this message

    found = get_close_matches(name, known, n=1)
    return f": did you mean {found[0]!r}?" if found else f"; there are: {', '.join(known)}"


def names(kind: str) -> list[str]:
    """Return all registered names, sorted."""
    return sorted({*BUILT_IN[kind], *_entry_points(kind)})


def _entry_points(kind: str) -> Mapping[str, str]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - reads every installed distribution

    return {point.name: point.value for point in entry_points(group=f"slurm.{kind}")}
