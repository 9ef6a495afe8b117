"""Support for tests: a cluster that runs in this process and fails on request. `plugin` and `contracts` need pytest.

Names are imported at their first use, because each run of pytest imports the plug-in.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in the package itself

if TYPE_CHECKING:
    from slurm.testing.inline.cluster import InlineCluster
    from slurm.testing.inline.faults import REQUEUE, Answer
    from slurm.testing.inline.queue import InlineQueue

_HOME = {
    "REQUEUE": "slurm.testing.inline.faults",
    "Answer": "slurm.testing.inline.faults",
    "InlineCluster": "slurm.testing.inline.cluster",
    "InlineQueue": "slurm.testing.inline.queue",
}

__all__ = ["REQUEUE", "Answer", "InlineCluster", "InlineQueue"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'slurm.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
