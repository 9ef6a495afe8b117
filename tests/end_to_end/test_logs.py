"""Logs: standard error in one of its own, those of all ranks, and those of a map while it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from slurm import Cluster, command, task
from slurm.cli.main import slurm
from slurm.errors import ConfigurationError, TaskExited

if TYPE_CHECKING:
    from pathlib import Path


@task(separate_stderr=True)
def speak(name: str) -> None:
    print("out", name)
    print("err", name, file=sys.stderr)


@task(ntasks=3)
def rank(name: str) -> None:
    print(f"{name}, rank {os.environ['RANK']}")
    print(f"error of {os.environ['RANK']}", file=sys.stderr)


@task
def slow(name: str) -> None:
    for number in range(3):
        print(name, number)
        time.sleep(0.3)


def shown(key: str, cluster: Cluster, *options: str) -> str:
    argv = [sys.executable, "-m", "slurm", "logs", key, "--on", cluster.url, *options]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without a Slurmfile."""
    monkeypatch.chdir(tmp_path)


def test_standard_error_has_a_log_of_its_own(cluster: Cluster) -> None:
    job, array = speak("ann"), speak.map(["bob", "eve"])
    job.result(60)
    array.results(60)
    assert (job.logs(), job.logs(stderr=True)) == ("out ann\n", "err ann\n")
    assert (array.logs(), array.logs(stderr=True)) == (["out bob\n", "out eve\n"], ["err bob\n", "err eve\n"])
    assert "".join(job.logs(stderr=True, follow=True)) == "err ann\n"


def test_the_command_prints_standard_error(local: Cluster) -> None:
    job = speak.on(local)("ann")
    job.result(60)
    assert (shown(job.key, local), shown(job.key, local, "--stderr")) == ("out ann\n", "err ann\n")
    assert shown(job.key, local, "--stderr", "-f") == "err ann\n"


def test_without_the_option_it_is_an_error_that_names_it(local: Cluster) -> None:
    job = slow.on(local)("ann")
    with pytest.raises(ConfigurationError, match="separate_stderr=True"):
        job.logs(stderr=True)
    with pytest.raises(ValueError, match='expected a whole number from 0, or "all"'):
        job.logs(rank="every")  # type: ignore[call-overload]


def test_a_process_that_dies_shows_the_end_of_its_standard_error(local: Cluster) -> None:
    @task(separate_stderr=True)
    def die() -> None:
        print("all is well")
        print("not so well", file=sys.stderr, flush=True)
        os._exit(3)

    with pytest.raises(TaskExited, match="not so well"):
        die.on(local)().result(60)


def test_a_program_writes_to_two_files(local: Cluster) -> None:
    run = command("sh -c 'echo said; echo why >&2'", separate_stderr=True).on(local)()
    run.result(60)
    assert run.logs().splitlines()[1:] == ["said"]
    assert run.logs(stderr=True).splitlines()[1:] == ["why"]
    assert "why\n" in "".join(run.logs(stderr=True, follow=True))


def test_the_logs_of_all_ranks(cluster: Cluster) -> None:
    job = rank("ann")
    array = rank.with_options(separate_stderr=True).map(["bob", "eve"])
    job.result(60)
    array.results(60)
    assert ["error" in text and f"ann, rank {n}\n" in text for n, text in enumerate(job.logs("all"))] == [True] * 3
    assert array.logs("all") == [[f"{name}, rank {n}\n" for n in range(3)] for name in ("bob", "eve")]
    assert [text.splitlines()[-1] for text in array[0].logs("all", stderr=True)] == [f"error of {n}" for n in range(3)]
    lines = list(array.logs("all", follow=True))
    assert sorted(lines) == [
        f"[{i}] rank {n}: {name}, rank {n}\n" for i, name in ((0, "bob"), (1, "eve")) for n in range(3)
    ]


def test_the_command_prints_all_ranks(local: Cluster) -> None:
    job = rank.on(local).with_options(separate_stderr=True)("ann")
    job.result(60)
    expected = "".join(f"==> {job.key} rank {n} <==\nann, rank {n}\n" for n in range(3))
    assert shown(job.key, local, "--rank", "all") == expected
    assert sorted(re.findall(r"rank \d <==", shown(job.key, local, "--rank", "all", "-f"))) == [
        f"rank {n} <==" for n in range(3)
    ]


def test_lines_of_a_map_begin_with_the_index(cluster: Cluster) -> None:
    array = slow.map(["ann", "bob"])
    lines = list(array.logs(follow=True))
    assert [line for line in lines if line.startswith("[0]")] == [f"[0] ann {n}\n" for n in range(3)]
    assert [line for line in lines if line.startswith("[1]")] == [f"[1] bob {n}\n" for n in range(3)]


def test_a_log_that_other_calls_share_is_said_to_be_shared(local: Cluster) -> None:
    greet = task(print)
    array = greet.map(["ann", "bob", "cid", "dan"], chunk_size=3)
    array.results(30)
    runner, said = CliRunner(), f"calls 0-2 of {array.key} share one element, so they share this log\n"
    for arguments in ([], ["--follow"], ["--json"]):
        done = runner.invoke(slurm, ["logs", f"{array.key}[1]", "--on", local.url, *arguments])
        assert (done.exit_code, done.stderr) == (0, said)
    for name in (array.key, f"{array.key}[3]"):
        assert not runner.invoke(slurm, ["logs", name, "--on", local.url]).stderr
