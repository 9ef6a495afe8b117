"""What runs on a node: one job of a multirun, by Hydra's own function."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import open_dict

from slurm.spaces.identity import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class HydraJob:
    """The function of a sweep whose points are the overrides of jobs.

    `known` has the number and the overrides of each point, by the identity of its parameters.
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

    def __call__(self, **params: Any) -> dict[str, Any]:
        """Run the job of a point. The result holds the JobReturn, and numbers that the job returned.

        Raises what the job raised.
        """
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
        return {**numbers(returned.return_value), "job": returned}

    def number(self, params: Mapping[str, Any]) -> int:
        """The number of the job of a point."""
        return self._known[identity(params)][0]

    def config(self, params: Mapping[str, Any]) -> DictConfig:
        """The config of the job of a point."""
        number, overrides = self._known[identity(params)]
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = _job_id() or number
        return config


def numbers(value: Any) -> dict[str, float]:
    """What a job returned as metrics: a number is `return_value`, and a mapping of names to numbers is itself."""
    if isinstance(value, (int, float)):
        return {"return_value": value}
    if isinstance(value, dict) and all(isinstance(each, (int, float)) for each in value.values()):
        return {str(name): each for name, each in value.items()}
    return {}


def _enter(config: DictConfig) -> None:
    """Go to the directory of the program that was launched, if it is here: relative paths are relative to it."""
    with contextlib.suppress(OSError):
        os.chdir(config.hydra.runtime.cwd)


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
