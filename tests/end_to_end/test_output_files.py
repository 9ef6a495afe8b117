"""Files that tasks leave in their output directories come to this machine."""

from __future__ import annotations

import logging
import pickle
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster, Job, current_job, task
from slurm.cli.main import slurm
from slurm.errors import ConfigurationError, TransportError
from waiting import until


@task
def write(x: int) -> int:
    directory = current_job().output_directory()
    (directory / "out").mkdir()
    (directory / "out" / f"{x}.h5").write_bytes(bytes([x]) * x * 1000)
    (directory / "it's ü.txt").write_text(f"{x}")
    (directory / "passwords").symlink_to("/etc/passwd")
    if x == 0:
        raise ValueError("zero")
    return x


@task
def slowly(go: str) -> None:
    (current_job().output_directory() / "early").write_text("early")
    while not Path(go).exists():
        time.sleep(0.05)
    (current_job().output_directory() / "late").write_text("late")


@task
def silent() -> None:
    pass


def test_files_of_jobs_arrive_whole_also_after_a_failure(cluster: Cluster, tmp_path: Path) -> None:
    here = tmp_path / "here"
    array = write.map([2, 0, 1])
    assert array.fetch("out/*.h5", "*.txt", to=here) == [
        [here / f"{index}" / "out" / f"{x}.h5", here / f"{index}" / "it's ü.txt"] for index, x in enumerate([2, 0, 1])
    ]
    assert (here / "0" / "out" / "2.h5").read_bytes() == b"\2" * 2000
    assert (here / "1" / "it's ü.txt").read_text() == "0"
    assert not list(here.rglob("passwords"))
    job = pickle.loads(pickle.dumps(array[2]))
    assert job.fetch("out/", to=tmp_path / "one") == [tmp_path / "one" / "out" / "1.h5"]
    assert [(file.name, file.size) for file in job.files()] == [("it's ü.txt", 1), ("out/1.h5", 1000)]


def test_a_slice_keeps_the_numbers_of_its_calls(local: Cluster, tmp_path: Path) -> None:
    array = write.map([1, 2, 3])
    assert array[1:].fetch("**/*.h5", to=tmp_path) == [[tmp_path / "1/out/2.h5"], [tmp_path / "2/out/3.h5"]]
    assert array[1:].fetch("out/3.h5", to=tmp_path) == [[], [tmp_path / "2/out/3.h5"]]


def test_a_fetch_waits_for_the_end_unless_it_is_told_not_to(local: Cluster, tmp_path: Path) -> None:
    job = slowly(str(tmp_path / "go"))
    until(lambda: [file.name for file in job.files()] == ["early"])
    assert job.fetch(to=tmp_path / "now", wait=False) == [tmp_path / "now" / "early"]
    assert not job.done()
    (tmp_path / "go").touch()
    assert job.fetch(to=tmp_path / "end") == [tmp_path / "end" / "early", tmp_path / "end" / "late"]


def test_what_cannot_be_fetched_is_one_clear_error_and_copies_nothing(
    local: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, nothing = write(1), silent()
    here = tmp_path / "here"
    with pytest.raises(TransportError, match=r"no file that matches 'no\*'; it has it's ü.txt, out/1.h5"):
        job.fetch("*.txt", "no*", to=here)
    with pytest.raises(TransportError, match=r"passwords of write/.* is a link to /etc/passwd"):
        job.fetch("passwords", to=here)
    with pytest.raises(TransportError, match="no file that matches 'x'; it has none"):
        nothing.fetch("x", to=here)
    with pytest.raises(ConfigurationError, match="leads out of the job's output directory"):
        job.fetch("../../submission.json", to=here)
    assert nothing.fetch(to=here) == []
    assert not here.exists()
    with caplog.at_level(logging.WARNING):
        assert len(job.fetch(to=here)) == 2
    assert "passwords of write/" in caplog.text
    (tmp_path / "file").touch()
    with pytest.raises(TransportError, match="cannot be written on this machine"):
        job.fetch(to=tmp_path / "file")


def fetch_command(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(slurm, ["fetch", *arguments, "--on", str(cluster.url)])
    return done.exit_code, done.output


def test_the_command_copies_and_lists_files(local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = write.map([1, 2])
    job: Job[int] = write(3)
    assert fetch_command(local, array.key, "out/*.h5", "--to", "here") == (0, "2 files in here\n")
    assert sorted(map(str, Path("here").rglob("*.h5"))) == ["here/0/out/1.h5", "here/1/out/2.h5"]
    assert fetch_command(local, job.key, "*.txt") == (0, "1 file in .\n")
    assert Path("it's ü.txt").read_text() == "3"
    status, listed = fetch_command(local, array.key, "--list")
    assert (status, len(listed.splitlines())) == (0, 5)
    assert "1     1.95 KiB  out/2.h5" in listed
    status, listed = fetch_command(local, f"{array.key}[1]", "--list", "--json")
    assert '"index": 1' in listed
    assert fetch_command(local, job.key, "--list", "*.txt")[0] == 2
    assert CliRunner().invoke(slurm, ["fetch", job.key, "x", "--on", str(local.url)]).exit_code == 1
