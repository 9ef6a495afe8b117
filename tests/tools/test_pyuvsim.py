"""The real pyuvsim: prepared from a template, run by MPI on every place, its products read back by pyuvdata.

Needs `pip install 'pyuvsim[sim]' mpich`; the session `tools` of the noxfile has them.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyuvdata import UVData

from slurm import Cluster, CommandFailed
from slurm.sweeps import Sweep, grid
from slurm.tools.pyuvsim import Pyuvsim
from waiting import until

if TYPE_CHECKING:
    from slurm.tools import Run
    from testbed.slurm import SlurmTestbed


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of this environment, such as mpiexec, as in an activated one."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def prepared(place: Cluster, root: Path, *, mpi: str = "pmi2", **override: Any) -> Run:
    """A run of the small template, with the interface between srun and MPICH."""

    class Here(Pyuvsim):
        templates = Pyuvsim.templates_directory()
        simulate = Pyuvsim.simulate.with_options(mem="1500M", **({"mpi": mpi} if place.url.startswith("slurm") else {}))

    names = {"telescope": "HERA", "observation_id": "2458098"}
    return Here.prepare("ref1", template="small", override=override, root=root, **names)  # type: ignore[arg-type]


def test_a_simulation_writes_what_was_asked_for(place: Cluster, tmp_path: Path) -> None:
    values: dict[str, Any] = {"freq.Nfreqs": 3, "filing.outfile_name": "three", "time": {"Ntimes": 1}}
    run = prepared(place, tmp_path / "results", **values)
    template = Pyuvsim.templates_directory() / "small" / "obsparam.yaml"
    before = template.read_text().splitlines()
    after = (run.directory / "config" / "obsparam.yaml").read_text().splitlines()
    assert [new.strip() for old, new in zip(before, after, strict=True) if old != new] == [
        "outfile_name: three", "Nfreqs: 3", "Ntimes: 1",
    ]  # fmt: skip
    job = run.submit()["simulate"]
    assert [product.name for product in job.result().products] == ["three.uvh5"]
    (fetched,) = job.fetch("output/*.uvh5", to=tmp_path / "got")
    found = UVData.from_file(fetched)
    assert (found.Nfreqs, found.Nants_data, found.Ntimes) == (3, 3, 1)
    assert run.status()["simulate"].state == "COMPLETED"  # type: ignore[union-attr]


def test_a_missing_layout_is_diagnosed_by_name_and_leaves_no_rank(place: Cluster, tmp_path: Path) -> None:
    run = prepared(place, tmp_path, **{"telescope.array_layout": "nowhere.csv"})
    job = run.submit()["simulate"]
    error = job.exception()
    assert isinstance(error, CommandFailed)
    assert error.diagnosis == "BAD_LAYOUT"
    assert str(error).startswith("BAD_LAYOUT: telescope.array_layout names a file")
    until(lambda: not ranks_of(error.directory or ""))


def ranks_of(directory: str) -> list[str]:
    """The processes that work in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += [process.name] if (process / "cwd").readlink() == Path(directory) else []
    return found


@pytest.mark.slurm
def test_a_wrong_interface_of_mpi_is_named_and_simulates_nothing(
    slurm_env: SlurmTestbed, root: Path, tmp_path: Path
) -> None:
    with Cluster("slurm", root=root) as cluster:
        error = prepared(cluster, tmp_path, mpi="cray_shasta").submit()["simulate"].exception()
    assert isinstance(error, CommandFailed)
    assert "cray_shasta" in str(error)


def test_a_sweep_over_channels(local: Cluster, tmp_path: Path) -> None:
    unit = Pyuvsim.at(telescope="HERA", template="small").with_options(ntasks=1, mem="1G")
    channels: dict[str, Any] = {"freq.Nfreqs": [1, 4]}
    sweep = Sweep(unit, grid(**channels), name="channels", directory=tmp_path).run()
    sweep.drive()
    found = [Pyuvsim.open(point) for point in sweep.points]
    files = [next(run.directory.glob("*.uvh5")) for run in found]
    assert [UVData.from_file(file).Nfreqs for file in files] == [1, 4]
    assert [run.manifest.overrides for run in found] == [{"freq.Nfreqs": 1}, {"freq.Nfreqs": 4}]
