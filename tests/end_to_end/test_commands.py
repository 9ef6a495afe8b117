"""Commands on every kind of cluster: an external program is a task like any other."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurm import Cluster, CommandFailed, Finished, Job, JobCancelled, Retry, command, task, workflow
from slurm.errors import OptionError
from waiting import until

write = command("sh -c 'echo $0 > out.txt' {text}", products=["out.txt"])
copy = command("cp {source} copy.txt", products=["copy.txt"])


@task
def read(done: Finished) -> str:
    return done.products[0].read_text()


def test_a_command_is_a_task_and_its_products_go_to_functions_and_commands(cluster: Cluster) -> None:
    job: Job[Finished] = write("a 'b' c")
    assert read(copy(job)).result(90) == "a 'b' c\n"
    jobs = command("echo {x}").map(["x", "y"], chunk_size=2)
    assert [done.exit_code for done in jobs.results(90)] == [0, 0]
    assert [text.splitlines()[-1] for text in jobs.logs()] == ["x", "y"]


def test_files_are_sent_once_and_are_read_only_there(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "conf").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    Path("fit.py").write_text("import model; print(model.name, open('conf/a.txt').read())\n")
    Path("model.py").write_text("name = 'first'\n")
    Path("conf", "a.txt").write_text("settings")
    Path("run me").write_text("#!/bin/sh\ncat conf/a.txt > out\n")
    Path("run me").chmod(0o755)
    fit = command("python3 fit.py", files=["model.py", "conf/"])
    done = fit().result(90)
    assert (done.directory / "stdout.log").read_text() == "first settings\n"
    assert [(done.directory / name).stat().st_mode & 0o222 for name in ("fit.py", "conf/a.txt")] == [0, 0]
    Path("model.py").write_text("name = 'second'\n")
    assert (fit().result(90).directory / "stdout.log").read_text() == "second settings\n"
    assert command("'./run me'", files="conf", products="o*")().result(90).products[0].read_text() == "settings"
    blobs = [name for name in os.listdir(tmp_path / "job röot" / "blobs") if not name.endswith(".zip")]
    assert sorted(name.partition("-")[2] for name in blobs) == ["file"] * 4 + ["program"]


@workflow
def fit_twice() -> list[str]:
    return [(done.directory / "stdout.log").read_text() for done in in_workflow.map(["a", "b"]).results()]


in_workflow = command("cat needed.txt {x}", stdin="", files=["needed.txt", "a", "b"])


def test_a_workflow_has_the_files_of_its_commands(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("needed.txt", "a", "b"):
        Path(name).write_text(f"{name}\n")
    job = fit_twice()
    monkeypatch.chdir("/")
    assert job.result(90) == ["needed.txt\na\n", "needed.txt\nb\n"]


def test_a_failure_is_raised_where_the_result_is_asked_for(cluster: Cluster) -> None:
    job = command("sh -c 'echo why >&2; exit 3'")()
    with pytest.raises(CommandFailed, match="ended with status 3") as caught:
        job.result(90)
    assert job.logs().endswith("why\n")
    assert (caught.value.exit_code, caught.value.stderr, caught.value.key) == (3, "why", job.key)


def test_workers_run_programs_in_parallel(local: Cluster) -> None:
    of = command("sh -c 'sleep 0.2; echo $0 > out' {x}", products="out")
    jobs = of.map(range(4), workers=2)
    assert [done.products[0].read_text() for done in jobs.results(60)] == ["0\n", "1\n", "2\n", "3\n"]
    outputs = [done.directory.parent.name for done in jobs.results(60)]
    assert outputs == ["0", "1", "2", "3"]


def test_what_is_launched_once_runs_once_in_an_allocation_of_several_tasks(local: Cluster, tmp_path: Path) -> None:
    @task(ntasks=3, launch="once")
    def once(path: Path) -> str:
        with path.open("a") as file:
            file.write("x")
        return os.environ["SLURM_NTASKS"]

    assert once(tmp_path / "f").result(60) == "3"
    assert (tmp_path / "f").read_text() == "x"
    assert once.map([tmp_path / "g"] * 2, chunk_size=2).results(60) == ["3", "3"]
    for option in ({"gather": True}, {"workers": 2}):
        with pytest.raises(OptionError, match=f"once runs once .* so it cannot have {next(iter(option))}"):
            once.with_options(**option)(tmp_path / "f")
    of = command("sh -c 'echo x >> $0' {f}", ntasks=3)
    of(tmp_path / "h").result(60)
    assert (tmp_path / "h").read_text() == "x\n"
    with pytest.raises(OptionError, match="a command runs once"):
        command("true", launch="ranks")


def test_a_retry_by_exit_status_runs_in_a_new_directory(local: Cluster, tmp_path: Path) -> None:
    flaky = command(
        "sh -c 'echo > name_0; mkdir $0 && exit 75; ls > out.txt' {flag}",
        products=["out.txt"],
        retry=Retry(times=2, on=75),
    )
    done = flaky(tmp_path / "flag").result(60)
    assert done.directory.name == "attempt-2"
    assert done.products[0].read_text().split() == ["name_0", "out.txt", "stderr.log", "stdout.log"]
    until(
        lambda: sorted(os.listdir(done.directory.parent)) == ["attempt-2", "output"]
    )  # the other one is removed after the outcome


def test_directories_of_failed_attempts_are_kept_if_that_is_wanted(local: Cluster, tmp_path: Path) -> None:
    flaky = command("sh -c 'mkdir $0 && exit 75; exit 0' {flag}", keep="all", retry=Retry(times=2, on=75))
    done = flaky(tmp_path / "flag").result(60)
    until((done.directory.parent / "output").exists)  # it is made after the outcome
    assert sorted(os.listdir(done.directory.parent)) == ["attempt-1", "attempt-2", "output"]
    assert os.readlink(done.directory.parent / "output") == "attempt-2"
    with pytest.raises(OptionError, match='"all"'):
        command("true", keep="some")


def test_only_the_directory_of_the_last_attempt_stays_if_all_have_failed(local: Cluster, tmp_path: Path) -> None:
    failing = command("sh -c 'echo $0 >> log; exit 75' {x}", retry=Retry(times=2, on=75), chunk_size=2)
    array = failing.map([1, 2, 3])
    for job in array:
        with pytest.raises(CommandFailed) as caught:
            job.result(60)
        assert caught.value.directory
        assert os.listdir(Path(caught.value.directory).parent) == ["attempt-3"]
    job = failing.with_options(keep="all", chunk_size=None)(1)
    with pytest.raises(CommandFailed) as caught:
        job.result(60)
    assert caught.value.directory
    assert sorted(os.listdir(Path(caught.value.directory).parent)) == ["attempt-1", "attempt-2", "attempt-3"]


def test_a_program_that_ignores_sigterm_does_not_survive_a_cancelled_job(cluster: Cluster, tmp_path: Path) -> None:
    stubborn = command(
        "sh -c 'trap \"\" TERM; echo $$ > $0/pid.new; mv $0/pid.new $0/pid; while :; do sleep 1; done' {d}"
    )
    job = stubborn(tmp_path)
    end = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(30)
    pid = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
