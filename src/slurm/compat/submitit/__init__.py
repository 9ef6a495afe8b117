"""The API of submitit, implemented with this library: `import slurm.compat.submitit as submitit`.

Names are imported at their first use, because a node imports this module together with the user's module. Nodes have
no executors. Pickles refer to the classes by this module, so a function may use them. docs/coming-from/submitit.md
lists the differences.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in the package itself

if TYPE_CHECKING:
    from slurm.compat.submitit import helpers as helpers
    from slurm.compat.submitit.executors import AutoExecutor, DebugExecutor, Executor, LocalExecutor, SlurmExecutor
    from slurm.compat.submitit.job import DebugJob, Job
    from slurm.compat.submitit.job_environment import JobEnvironment

_HOMES = {"Job": "job", "DebugJob": "job", "JobEnvironment": "job_environment"}
"""The modules that define some names; `executors` defines the others."""

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
    if name not in __all__:
        known = ", ".join(__all__)
        raise AttributeError(
            f"slurm.compat.submitit has no {name!r}: it has {known}. Plug-ins of submitit do not work with it"
        )
    globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'executors')}"), name)
    return globals()[name]
