"""Parameter sweeps: the points of a space, computed at several sources at once, resumed and completed anywhere.

from slurm.sweeps import Sweep, grid

sweep = Sweep(train, grid(lr=[1e-3, 1e-2], depth=range(2, 6)), name="depths")
sweep.run(on=["cpu:40", "local:2"])
for point in sweep.as_completed():
    print(point.params, point.result())
print(sweep.table().best("loss"))
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from slurm.spaces.ranges import Range, choice, integer, uniform
    from slurm.spaces.space import Space, grid, paired, points
    from slurm.sweeps.config import SweepConfig, SweepConfigError
    from slurm.sweeps.engine import SweepEngine
    from slurm.sweeps.health import NoSourceLeft, SweepStopped
    from slurm.sweeps.snapshot import State
    from slurm.sweeps.sweep import Sweep
    from slurm.sweeps.sweep_point import SweepPoint
    from slurm.sweeps.table import Table

_HOMES = {
    "slurm.spaces.ranges": ("Range", "choice", "integer", "uniform"),
    "slurm.spaces.space": ("Space", "grid", "paired", "points"),
    "slurm.sweeps.config": ("SweepConfig", "SweepConfigError"),
    "slurm.sweeps.engine": ("SweepEngine",),
    "slurm.sweeps.health": ("NoSourceLeft", "SweepStopped"),
    "slurm.sweeps.snapshot": ("State",),
    "slurm.sweeps.sweep": ("Sweep",),
    "slurm.sweeps.sweep_point": ("SweepPoint",),
    "slurm.sweeps.table": ("Table",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "NoSourceLeft",
    "Range",
    "Space",
    "State",
    "Sweep",
    "SweepConfig",
    "SweepConfigError",
    "SweepEngine",
    "SweepPoint",
    "SweepStopped",
    "Table",
    "choice",
    "grid",
    "integer",
    "paired",
    "points",
    "uniform",
]


def __getattr__(name: str) -> object:
    """Import a name at its first use, so that a command that needs one name does not load the modules of the others."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found
