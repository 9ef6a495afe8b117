"""The Slurmfile: what it says is what a cluster is, and an error names the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import Cluster
from slurm.errors import SlurmfileError
from slurm.slurmfile import find, load

EXAMPLE = Path(__file__).parents[2] / "Slurmfile.example"


@pytest.fixture(autouse=True)
def no_slurmfile_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_example_is_whole_and_reads_as_people_mean_it() -> None:
    assert load(path=EXAMPLE).url == "local"
    assert dict(load("cpu", EXAMPLE).options.set()) == {"time": "12:30:00", "mem": "4G", "cpus_per_task": "2"}
    gpu = load("gpu", EXAMPLE).options
    assert dict(gpu.set()) == {"partition": "gpu,gpu-short", "gpus": "1", "requeue": True}
    assert gpu.sbatch == {"--ntasks-per-node": "1"}


def test_a_cluster_is_made_of_its_entry(tmp_path: Path) -> None:
    (tmp_path / "Slurmfile").write_text(
        f"clusters: {{here: {{url: local, root: {tmp_path}/jobs, options: {{mem: 1G}}}}}}"
    )
    cluster = Cluster.from_slurmfile("here", path=tmp_path / "Slurmfile")
    assert cluster.url == f"local://{tmp_path}/jobs"
    assert cluster.options.get("mem") == "1G"


def test_the_nearest_file_upward_counts_then_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(SlurmfileError, match="there is no Slurmfile"):
        find(deep)
    users = tmp_path / "config" / "slurm-tasks" / "Slurmfile"
    users.parent.mkdir(parents=True)
    users.touch()
    assert find(deep) == users
    (tmp_path / "project" / "Slurmfile").touch()
    assert find(deep) == tmp_path / "project" / "Slurmfile"
    monkeypatch.setenv("SLURMFILE", str(EXAMPLE))
    assert find(deep) == EXAMPLE
    monkeypatch.setenv("SLURMFILE_PROFILE", "cpu")
    assert load().options.get("mem") == "4G"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clusters:\n  a:\n    ulr: local\n", r"line 3: cluster a has no key 'ulr': did you mean 'url'\?"),
        ("clusters:\n  a:\n    root: /x\n", "line 2: cluster a needs a url"),
        ("clusters:\n  a:\n    url: local\n    options:\n      tiem: 3\n", "line 5: .*did you mean time"),
        ("clusters:\n  a:\n    url: local\n    options:\n      time: soon\n", "line 5: option time='soon'"),
        ("clusters:\n  a: {url: local}\n  a: {url: slurm}\n", "line 3: 'a' stands twice in clusters"),
        ("clusters: [1]\n", "line 1: clusters must be a mapping"),
        ("clusters: {b: {url: local}}\n", "line 1: there is no cluster 'a'; there are: b"),
        ("clusters:\n  a: [\n", "line 3: "),
        ("", "line 1: the file must be a mapping"),
    ],
)
def test_an_error_names_the_file_and_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "Slurmfile"
    path.write_text(text)
    with pytest.raises(SlurmfileError, match=f"{path}, {message}"):
        load("a", path)
