"""The real pyuvsim: prepared from a template, run by MPI on every place, its products read back by pyuvdata.

Needs `pip install 'pyuvsim[sim]' mpich`; the session `tools` of the noxfile has them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyuvdata import UVData

from slurm import CommandFailed
from slurm.tools.pyuvsim import Pyuvsim

if TYPE_CHECKING:
    from slurm import Cluster


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of this environment, such as mpiexec, as in an activated one."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def options(cluster: Cluster) -> dict[str, str]:
    return {"mpi": "pmi2", "mem": "1500M"} if cluster.url.startswith("slurm") else {}


@pytest.mark.parametrize("channels", [3])
def test_a_simulation_writes_what_was_asked_for(cluster: Cluster, tmp_path: Path, channels: int) -> None:
    class Here(Pyuvsim):
        templates = Pyuvsim.templates_directory()
        simulate = Pyuvsim.simulate.with_options(**options(cluster))

    run = Here.prepare(
        "ref1",
        telescope="HERA",
        observation_id="2458098",
        template="small",
        override={"freq.Nfreqs": channels, "filing.outfile_name": "three"},
        root=tmp_path / "results",
    )
    job = run.submit()["simulate"]
    assert [product.name for product in job.result().products] == ["three.uvh5"]
    (fetched,) = job.fetch("output/*.uvh5", to=tmp_path / "got")
    found = UVData.from_file(fetched)
    assert (found.Nfreqs, found.Nants_data, found.Ntimes) == (channels, 3, 2)
    assert run.status()["simulate"].state == "COMPLETED"  # type: ignore[union-attr]


def test_a_missing_layout_is_diagnosed_by_name(local: Cluster, tmp_path: Path) -> None:
    run = Pyuvsim.prepare(
        "bad",
        telescope="HERA",
        observation_id="1",
        template="small",
        override={"telescope.array_layout": "nowhere.csv"},
        root=tmp_path,
    )
    error = run.submit()["simulate"].exception()
    assert isinstance(error, CommandFailed)
    assert error.diagnosis == "BAD_LAYOUT"
    assert str(error).startswith("BAD_LAYOUT: telescope.array_layout names a file")
