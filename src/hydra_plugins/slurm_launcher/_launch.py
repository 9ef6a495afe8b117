"""Launch: the jobs of one batch become points of a sweep; their outcomes become what Hydra's sweepers expect."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from omegaconf import OmegaConf, open_dict

from hydra_plugins.slurm_launcher._job import HydraJob
from hydra_plugins.slurm_launcher._overrides import overrides_of, params_of
from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError, SlurmError
from slurm.options import Options
from slurm.spaces.identity import canonical, identity
from slurm.sweeps.running import in_states
from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep
from slurm.tasks.decorators import task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from slurm.sweeps.sweep_point import SweepPoint

_log = logging.getLogger(__name__)


class Submitted(JobReturn):
    """What a job returns that was submitted and not waited for: None, with the status UNKNOWN."""

    return_value: Any = None


class Launch:
    """Launches one batch of jobs."""

    def __init__(
        self,
        context: HydraContext,
        function: TaskFunction,
        config: DictConfig,
        *,
        own: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self._context, self._function, self._config = context, function, config
        self._own, self._options = own, options
        self.name: str | None = own["name"] and str(own["name"])

    def run(self, jobs: Sequence[Sequence[str]]) -> list[JobReturn]:
        """Run jobs with these overrides; returns one value for each."""
        setup_globals()
        hydra = self._config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        points = [canonical(params_of(overrides)) for overrides in jobs]
        sweep, job = self._sweep(points, jobs)
        _log.info("Launching %d jobs as the sweep %s", len(jobs), sweep.name)
        for params, overrides in zip(points, jobs, strict=True):
            _log.info("\t#%s : %s", job.number(params), " ".join(filter_overrides(overrides)))
        self._submit(sweep)
        if self._own["wait"]:
            self._drive(sweep)
        else:
            _log.info("Not waiting: slurm sweep watch %s", sweep.name)
        found = {identity(point.params): point for point in sweep.points}
        returns = [self._returned(found[identity(params)], job) for params in points]
        configure_log(hydra.hydra_logging, hydra.verbose)
        return returns

    def _sweep(self, points: Sequence[dict[str, Any]], jobs: Sequence[Sequence[str]]) -> tuple[Sweep, HydraJob]:
        """The sweep of this multirun, with the jobs of this batch."""
        directory, opened = Path(self._own["directory"]), None
        if self.name and (directory / self.name).exists():
            opened = Sweep.open(self.name, directory=directory)
        known: dict[str, tuple[int, Sequence[str]]] = {}
        for point in opened.directory.points() if opened else ():
            known[identity(point)] = len(known), overrides_of(point)
        for params, overrides in zip(points, jobs, strict=True):
            number, _ = known.get(identity(params), (len(known), ()))
            known[identity(params)] = number, tuple(overrides)
        job = HydraJob(self._config.hydra.job.name, self._context, self._function, self._config, known)
        job.config(points[0])  # an override that does not fit is an error before anything is submitted
        space = list({identity(params): params for params in points}.values())
        if opened:
            sweep = Sweep.open(opened.name, task(job), directory=directory)
        else:
            sweep = Sweep(task(job), space, name=self.name, directory=directory)
        self.name = sweep.name
        return sweep.extend(space), job

    def _submit(self, sweep: Sweep) -> None:
        """Submit the points that are missing or have failed."""
        on = self._own["clusters"]
        if on is None:
            on = _default_cluster()
        how = {name: self._own[name] for name in ("strategy", "chunk", "seconds")}
        wanted = in_states(State.MISSING, State.FAILED)
        sweep.running.submit(on, wanted, why="run", options=Options.parse(self._options), **how)

    def _drive(self, sweep: Sweep) -> None:
        """Wait until all that was submitted has ended."""
        try:
            sweep.drive(stop_after=self._own["stop_after"])
        except KeyboardInterrupt:
            _log.warning("The sweep %s goes on: slurm sweep watch %s, or slurm sweep cancel %s", *[sweep.name] * 3)
            raise
        if failed := sweep.snapshot().counts.get(State.FAILED, 0):
            _log.error("%d points have failed: slurm sweep errors %s", failed, sweep.name)

    def _returned(self, point: SweepPoint, job: HydraJob) -> JobReturn:
        """What the job of a point returns."""
        if point.state is State.DONE:
            done: JobReturn = point.result()
            return done
        config = job.config(point.params)
        with open_dict(config):
            hydra = config.pop("hydra")
        returned = JobReturn() if self._own["wait"] else Submitted()
        returned.overrides, returned.cfg = list(hydra.overrides.task), config
        returned.hydra_cfg, returned.task_name = OmegaConf.create({"hydra": hydra}), self._config.hydra.job.name
        if self._own["wait"] or point.state is State.FAILED:
            returned.status, returned.return_value = JobStatus.FAILED, _error_of(point)
        return returned


def _default_cluster() -> Cluster:
    try:
        return Cluster.from_slurmfile()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"name the clusters to compute at, such as hydra.launcher.clusters=slurm: {error}"
        ) from None


def _error_of(point: SweepPoint) -> BaseException:
    """The exception of a point that has not succeeded."""
    if point.state is State.FAILED and (error := point.exception()):
        return error
    return SlurmError(f"point {point.number} is {point.state}: the sweep was cancelled, or its source is silent")
