"""What runs on a node: one job of a multirun, by Hydra's own function."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobStatus, run_job, setup_globals
from omegaconf import open_dict

from hydra_plugins.slurm_launcher._overrides import overrides_of
from slurm.protocol import METRICS
from slurm.runner.job_context import current_job
from slurm.spaces.identity import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class HydraJob:
    """The function of a sweep whose points are the overrides of jobs.

    `known` has the number and the overrides of each point, by the identity of its parameters. The number of a point
    that was added to the sweep later is the beginning of its identity.
    """

    dotted_names = True
    """A point with "db" and "db.user" has two parameters: a config group, and a value in it."""

    def __init__(
        self,
        name: str,
        context: HydraContext,
        function: TaskFunction,
        config: DictConfig,
        known: Mapping[str, tuple[int, Sequence[str]]],
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self._context, self._function, self._config, self._known = context, function, config, known
        self._state = Singleton.get_state()

    def __call__(self, **params: Any) -> JobReturn:
        """Run the job of a point, and record the numbers that it returns as metrics. Raises what the job raised."""
        Singleton.set_state(self._state)
        setup_globals()
        _enter(self._config)
        config = self.config(params)
        returned = run_job(
            hydra_context=self._context,
            task_function=self._function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if returned.status is not JobStatus.COMPLETED:
            raise returned._return_value  # noqa: SLF001 - return_value writes to stderr before it raises
        _record(returned.return_value)
        return returned

    def number(self, params: Mapping[str, Any]) -> int:
        """The number of the job of a point."""
        return self._known[identity(params)][0]

    def config(self, params: Mapping[str, Any]) -> DictConfig:
        """The config of the job of a point. A point that no multirun has added has a number from its identity."""
        number, overrides = self._known.get(identity(params)) or (int(identity(params)[:8], 16), overrides_of(params))
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = _job_id() or number
        return config


def _record(value: Any) -> None:
    """Record what a job returned as metrics: a number is `return_value`; a mapping of names to numbers, those.

    The metrics.json of a job that has written its own stays.
    """
    path = current_job().output_directory() / METRICS
    numbers = value if isinstance(value, dict) else {"return_value": value}
    if numbers and all(isinstance(each, (int, float)) for each in numbers.values()) and not path.exists():
        path.write_text(json.dumps(numbers))


def _enter(config: DictConfig) -> None:
    """Go to the directory of the program that was launched, if it is here: relative paths are relative to it."""
    with contextlib.suppress(OSError):
        os.chdir(config.hydra.runtime.cwd)


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
