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


def __getattr__(name: str) -> object:
    if name in {"core", "helpers"}:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        known = ", ".join(__all__)
        message = f"slurm.compat.submitit has no {name!r}: it has {known}. Plug-ins of submitit do not work with it"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
