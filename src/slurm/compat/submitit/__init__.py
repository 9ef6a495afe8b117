"""The names of submitit, on this library: `import slurm.compat.submitit as submitit`.

Names are imported at first use: a node imports this module with the user's own. Nodes have no executors;
pickles name the classes in this module, so a function may refer to them. docs/coming-from/submitit.md lists the
differences.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in the package itself

if TYPE_CHECKING:
    from slurm.compat.submitit import helpers as helpers
    from slurm.compat.submitit.base import Executor
    from slurm.compat.submitit.debug import DebugExecutor, DebugJob
    from slurm.compat.submitit.executors import AutoExecutor, LocalExecutor, SlurmExecutor
    from slurm.compat.submitit.job import Job
    from slurm.compat.submitit.job_environment import JobEnvironment

_HOMES = {
    "debug": ("DebugExecutor", "DebugJob"),
    "base": ("Executor",),
    "executors": ("AutoExecutor", "LocalExecutor", "SlurmExecutor"),
    "job": ("Job",),
    "job_environment": ("JobEnvironment",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AutoExecutor",
    "DebugExecutor",
    "DebugJob",
    "Executor",
    "Job",
    "JobEnvironment",
    "LocalExecutor",
    "SlurmExecutor",
    "helpers",
]


class _OnANode:
    """Stands for a class that nodes do not have, so that they can import the user's module."""

    def __init__(self, *_args: object, **_keywords: object) -> None:
        raise RuntimeError(
            f"{type(self).__name__} of slurm.compat.submitit works in the program, not in its jobs: to submit from a "
            "job, make it a slurm.workflow"
        )


def __getattr__(name: str) -> object:
    if name in {"core", "helpers"}:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        known = ", ".join(__all__)
        message = f"slurm.compat.submitit has no {name!r}: it has {known}. Plug-ins of submitit do not work with it"
        raise AttributeError(message)
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(__name__):
            raise
        value = type(name, (_OnANode,), {})
    globals()[name] = value
    return value
