"""pyuvsim: simulations of radio interferometers (https://pyuvsim.readthedocs.io)."""

from __future__ import annotations

from slurm.tools import Diagnosis, Stage, Tool


def diagnose(log: str, exit_status: int) -> Diagnosis | None:
    """Name a failure from the output of pyuvsim."""
    del exit_status
    if "layout_csv file" in log and "does not exist" in log:
        return Diagnosis("BAD_LAYOUT", "telescope.array_layout names a file that is not beside the parameter file")
    if "KeyError" in log or "must be specified" in log:
        return Diagnosis("BAD_PARAMETERS", "a key of the parameter file is missing or misspelt: see the log")
    return None


class Pyuvsim(Tool):
    """A simulation from a parameter file. pyuvsim reads the paths in the file relative to the file."""

    name, taxonomy = "pyuvsim", ("telescope", "observation_id")
    config = "obsparam.yaml"
    simulate = Stage(
        "run_pyuvsim --param {config}",
        products=["*.uvh5"],
        diagnose=diagnose,
        launch="mpi",
        ntasks=2,
        time="1:00:00",
        mem="4G",
    )
