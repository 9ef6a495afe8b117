"""Hydra's launcher `slurm`: the jobs of a multirun are the points of a sweep.

Every program that uses Hydra imports this module, so it imports neither slurm nor what a launch needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

OWN = {
    "clusters": None,
    "name": None,
    "chunk": None,
    "seconds": None,
    "strategy": "slots",
    "wait": True,
    "stop_after": None,
    "directory": "sweeps/outputs",
}
"""What the launcher takes besides options of a task, with the defaults. Not `on`, which is true in YAML 1.1."""
COMMON = (
    *("account", "constraint", "cpus_per_task", "env", "exclude", "gpus", "gpus_per_node", "gres", "max_concurrent"),
    *("mem", "mem_per_cpu", "mem_per_gpu", "metrics", "nodelist", "nodes", "ntasks", "ntasks_per_node", "partition"),
    *("qos", "reservation", "retry", "setup", "time"),
)
"""Options of a task that need no + on the command line; None leaves one out."""


class SlurmLauncher(Launcher):
    """Submits the jobs of a multirun as the points of a sweep, and returns what they return."""

    def __init__(self, **params: Any) -> None:
        self._own = {name: params.pop(name, default) for name, default in OWN.items()}
        self._options = {name: value for name, value in params.items() if value is not None}
        self._setup: tuple[HydraContext, TaskFunction, DictConfig] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what the jobs call."""
        self._setup = hydra_context, task_function, config

    def launch(
        self,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,  # noqa: ARG002 - Hydra's interface; points are counted
    ) -> Sequence[JobReturn]:
        """Run one job for each list of overrides. The number of a job is that of its point in the sweep."""
        from hydra_plugins.slurm_launcher._launch import Launch  # noqa: PLC0415 - see above

        if self._setup is None:
            message = "setup() comes before launch()"
            raise RuntimeError(message)
        launch = Launch(*self._setup, own=self._own, options=self._options)
        returns = launch.run(job_overrides)
        self._own["name"] = launch.name  # further batches of this multirun are points of the same sweep
        return returns


ConfigStore.instance().store(
    group="hydra/launcher",
    name="slurm",
    node={
        "_target_": "hydra_plugins.slurm_launcher.SlurmLauncher",
        "_convert_": "all",
        **OWN,
        **dict.fromkeys(COMMON),
    },
    provider="slurm-tasks",
)
