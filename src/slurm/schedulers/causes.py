"""Causes: the options that a refusal is about, as far as the scheduler's message shows.

Source: the messages of sbatch and of slurmctld in Slurm 20.11, 22.05, 24.11 and 26.05.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options

_GRES = "gres gpus gpus_per_node gpus_per_socket gpus_per_task tres_per_task mem_per_gpu cpus_per_gpu ntasks_per_gpu"
_CPUS = "cpus_per_task ntasks ntasks_per_node ntasks_per_core ntasks_per_socket nodes mincpus"
_SOCKETS = "sockets_per_node cores_per_socket threads_per_core extra_node_info ntasks_per_socket ntasks_per_core"
_MEMORY = "mem mem_per_cpu mem_per_gpu"
_TIME = "time time_min deadline begin"
_SIZE = f"{_GRES} {_MEMORY} {_SOCKETS} {_CPUS} tmp constraint nodelist exclude core_spec thread_spec"

_SLURM = tuple(
    (pattern, tuple(names.split()))
    for pattern, names in (
        (r"requested mem_per_tres", "mem_per_gpu"),
        (r"generic resource|\bgres\b|RestrictedCoresPerGPU", f"{_GRES} gres_flags"),
        (r"invalid license", "licenses"),
        (r"preferred feature", "prefer"),
        (r"cluster feature", "cluster_constraint"),
        (r"invalid feature|extra constraints|KNL NUMA", "constraint prefer extra"),
        (r"violates accounting/QOS policy", f"qos account {_TIME} {_CPUS} {_GRES} {_MEMORY}"),
        (r"\bqos\b", "qos"),
        (r"account/partition combination|unknown association|requested account", "account partition"),
        (r"reservation\b.*(invalid|denied|usable|in use)|access denied to requested reservation", "reservation"),
        (r"nodes not in this partition", "nodelist partition"),
        (r"partition", "partition"),
        (r"node name|required node not available|nodes are busy", "nodelist exclude"),
        (r"memory specification|memory required", _MEMORY),
        (r"temporary disk", "tmp"),
        (r"cpu count", _CPUS),
        (r"threads per core", "threads_per_core"),
        (r"socket, core and/or thread", _SOCKETS),
        (r"node count specification", "nodes"),
        (r"processors|task count", _CPUS),
        (r"time limit is invalid|invalid time", _TIME),
        (r"task distribution", "distribution"),
        (r"burst buffer", "bb bbf"),
        (r"trackable resource", f"tres_per_task tres_bind {_GRES}"),
        (r"cluster", "clusters"),
        *((name.replace("_", "[-_ ]"), name) for name in ("wckey", "mcs_label", "nice", "container", "switches")),
        (r"node configuration is not available", _SIZE),
    )
)
"""Words of a message, and the options that it may be about; the more precise messages come first."""

_HAVE_DEFAULTS = ("account", "partition", "qos", "time")
"""Options whose default may be refused, too."""


def named(message: str, options: Options) -> Sequence[str]:
    """Return the names of the options that a message names itself, as `--name`."""
    given = _given(options)
    return tuple(name for name in given if re.search(rf"--{name.replace('_', '[-_]')}\b(?!-)", message))


def of_slurm(message: str, options: Options) -> Sequence[str]:
    """Return the names of the given options that a message of Slurm is about; if none, of one that has a default."""
    if found := named(message, options):
        return found
    given, defaulted = _given(options), tuple[str, ...]()
    for pattern, names in _SLURM:
        if re.search(pattern, message, re.IGNORECASE):
            if found := tuple(name for name in names if name in given):
                return found
            defaulted = defaulted or tuple(name for name in names[:1] if name in _HAVE_DEFAULTS)
    return defaulted


def describe(names: Sequence[str], options: Options) -> str:
    """Return a line that names options as the user has written them; empty if there are none."""
    texts = [text for name in names if (text := _written(name, options))]
    if texts:
        return (
            f"The option {texts[0]} caused this."
            if len(texts) == 1
            else f"One of the options {', '.join(texts)} caused this."
        )
    return f"Set the option {names[0]}: without it, the scheduler's default is refused." if names else ""


def _given(options: Options) -> Sequence[str]:
    raw: Iterable[str] = (name.lstrip("-").replace("-", "_") for name in options.sbatch)
    return tuple(dict.fromkeys([*(name for name, _ in options.set()), *raw]))


def _written(name: str, options: Options) -> str:
    value = options.get(name)
    if value is not None:
        return f"{name}={value!r}"
    raw = f"--{name.replace('_', '-')}"
    return f"sbatch={{{raw!r}: {options.sbatch[raw]!r}}}" if raw in options.sbatch else ""
