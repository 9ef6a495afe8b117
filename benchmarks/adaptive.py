"""Adaptive searches: how many points a second are asked for and told, with 1,000 told before."""

from __future__ import annotations

import random
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from common import Row, judged, unmeasured

from slurm.spaces.ranges import integer, uniform
from slurm.sweeps import Sweep
from slurm.sweeps.adaptive.settings import Search
from slurm.sweeps.adaptive.trials import Ending, Trials
from slurm.tasks.decorators import task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Settings

TOLD, LEAST, BATCH = 1000, 1000, 8
RANGES = {"rate": uniform(1e-5, 0.1, log=True), "width": integer(1, 1_000_000)}


@task
def study(rate: float, width: int) -> dict[str, float]:
    """Stand for a task: nothing is run here."""
    return {"loss": rate * width}


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if find_spec("optuna") is None:
        yield unmeasured("an adaptive search", "Optuna is not installed")
        return
    for sampler, count in (("random", 1000), ("tpe", 50)):
        trials, replay = _told(sampler)
        begin = time.process_time()
        for number in range(TOLD, TOLD + count):
            point = trials.ask() or {}
            trials.tell(number, Ending(point["rate"]))
        each = count / (time.process_time() - begin)
        yield judged(
            f'ask and tell, {TOLD:,} points told before, sampler "{sampler}"',
            f"{each:,.0f} a second of CPU",
            budget=f"≥ {LEAST:,} a second",
            kept=each >= LEAST,
        )
        yield Row(
            f'the same by a study of Optuna in memory, sampler "{sampler}"',
            f"{_optuna(sampler, count):,.0f} a second of CPU",
            verdict="for comparison",
        )
        yield Row(f'a new sampler "{sampler}" told of {TOLD:,} points', f"{replay:.2f} s CPU", verdict="no budget")
    sweep = Sweep(study, RANGES, name="asked", directory=settings.workspace / "asked", sampler="random", metric="loss")
    sweep.ask(TOLD)
    begin = time.process_time()
    for _ in range(TOLD // BATCH):
        sweep.ask(BATCH)
    each = TOLD / (time.process_time() - begin)
    yield judged(
        f'`sweep.ask({BATCH})` of a sweep of {TOLD:,} points, its file included, sampler "random"',
        f"{each:,.0f} points a second of CPU",
        budget=f"≥ {LEAST:,} a second",
        kept=each >= LEAST,
    )


def _optuna(sampler: str, count: int) -> float:
    """How many points a second a study of Optuna asks for and is told, with as many told before."""
    from optuna import create_study, logging  # noqa: PLC0415 - for where it is installed
    from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415
    from optuna.samplers import RandomSampler, TPESampler  # noqa: PLC0415
    from optuna.trial import create_trial  # noqa: PLC0415

    source = random.Random(1)
    spaces = {"rate": FloatDistribution(1e-5, 0.1, log=True), "width": IntDistribution(1, 1_000_000)}
    made = {"random": RandomSampler, "tpe": TPESampler}[sampler](seed=0)
    logging.set_verbosity(logging.WARNING)
    study = create_study(sampler=made)
    for number in range(TOLD):
        params = {"rate": source.uniform(1e-5, 0.1), "width": number + 1}
        study.add_trial(create_trial(params=params, distributions=spaces, value=source.random()))
    begin = time.process_time()
    for _ in range(count):
        trial = study.ask(spaces)
        study.tell(trial, trial.params["rate"])
    return count / (time.process_time() - begin)


def _told(sampler: str) -> tuple[Trials, float]:
    """A sampler that was told of points, and the seconds that this has taken."""
    source, begin = random.Random(1), time.process_time()
    trials = Trials(Search(RANGES, "loss", sampler))
    for number in range(TOLD):
        trials.add({"rate": source.uniform(1e-5, 0.1), "width": number + 1})
        trials.tell(number, Ending(source.random()))
    return trials, time.process_time() - begin
