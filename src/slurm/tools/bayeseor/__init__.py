"""BayesEoR: Bayesian estimates of the 21 cm power spectrum (https://bayeseor.readthedocs.io)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slurm.tools import Diagnosis, Stage, Tool

if TYPE_CHECKING:
    from pathlib import Path

FIT = "run-analysis.py --config {{config}} {more}--gpu --run --array-dir-prefix {{cpu_precompute}}/matrices"
OPTIONS: dict[str, Any] = {"launch": "mpi", "ntasks": 1, "gpus": 1, "time": "11:00:00", "mem": "64G"}


def diagnose(log: str, exit_status: int) -> Diagnosis | None:
    """Name a failure from the output of BayesEoR."""
    del exit_status
    if "must be <= 100 characters" in log:
        return Diagnosis("PATH_TOO_LONG", "MultiNest takes paths of at most 100 characters: choose a shorter root")
    if "GPU" in log and "could not be" in log:
        return Diagnosis("NO_GPU", "a fit needs a GPU with double precision: see the options gpus and partition")
    return None


def fit(name: str, more: str = "") -> Stage:
    """Return a stage for a fit. Its directory has a fixed name, so that MultiNest finds its own state again."""
    return Stage(
        f"{FIT.format(more=more)} --output-dir chains --file-root {name}/",
        products=[f"chains/{name}/data-.txt", f"chains/{name}/args.json"],
        diagnose=diagnose,
        resumable=True,
        **OPTIONS,
    )


class BayesEoR(Tool):
    """The matrices on CPUs, then two fits on GPUs: a fit of the signal, and a fit with priors that allow no signal."""

    name, taxonomy, config = "bayeseor", ("dataset", "analysis"), "config.yaml"
    max_path = 100  # the limit of MultiNest
    records = ("chains/*/args.json",)
    cpu_precompute = Stage(
        "run-analysis.py --config {config} --cpu --array-dir-prefix matrices",
        products=["matrices"],
        diagnose=diagnose,
        cpus_per_task=4,
        time="3:00:00",
        mem="32G",
    )
    signal_fit = fit("signal_fit")
    no_signal = fit("no_signal", more="--config config/no_signal.yaml ")

    @classmethod
    def recorded(cls, attempt: Path) -> dict[str, Any]:
        """Return the arguments that BayesEoR has recorded: it takes some from the data, not from the configuration."""
        (found,) = attempt.glob(cls.records[0])
        return dict(json.loads(found.read_text()))
