"""The option `env` on every kind of cluster: what is written arrives."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, JobContext, Retry, command, task
from testbed.generations import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

ODD = {
    "T_SPACES": "  a  b ",
    "T_QUOTES": """it's "quoted" `x` $HOME \\ \\n""",
    "T_LINES": "one\ntwo\r\n#SBATCH --time=1\n\ttab",
    "T_TEXT": "größe 日本 \U0001f600 \u2028",
    "T_EMPTY": "",
    "T_LONG": "x" * 100_000,
}


@task
def see(names: list[str]) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def test_values_arrive_unchanged_and_are_recorded(cluster: Cluster, root: Path) -> None:
    job = see.with_options(env=ODD)(list(ODD))
    assert job.result(90) == ODD
    record = json.loads((root / "jobs" / job.key / "submission.json").read_text())
    assert record["options"]["env"] == ODD
    assert job.retry().result(90) == ODD


def test_layers_are_added_and_none_removes(local: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_OUTSIDE", "outside")
    other = Cluster(local.url, options={"env": {"T_A": "cluster", "T_B": "cluster"}})
    asked = see.with_options(env={"T_B": "task"}).on(other)
    names = ["T_A", "T_B", "T_OUTSIDE"]
    assert asked(names).result(60) == {"T_A": "cluster", "T_B": "task", "T_OUTSIDE": "outside"}
    removed = asked.with_options(env={"T_A": None, "T_OUTSIDE": None})
    assert removed(names).result(60) == {"T_A": None, "T_B": "task", "T_OUTSIDE": None}
    assert asked.with_options(env=None)(names).result(60) == {"T_A": None, "T_B": None, "T_OUTSIDE": "outside"}


def test_all_ranks_and_workers_have_the_variables(cluster: Cluster) -> None:
    asked = see.with_options(env={"T_LINES": ODD["T_LINES"]})
    expected = {"T_LINES": ODD["T_LINES"]}
    assert asked.with_options(ntasks=2, gather=True)(["T_LINES"]).result(90) == [expected] * 2
    assert asked.map([["T_LINES"]] * 2, workers=2).results(90) == [expected] * 2


@pytest.mark.usefixtures("local")
def test_variables_set_before_python_starts(tmp_path: Path) -> None:
    (tmp_path / "only_by_path.py").write_text("name = 'found'\n")

    @task(env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "3"}, cpus_per_task=1)
    def load() -> list[str]:
        import only_by_path  # type: ignore[import-not-found]

        return [only_by_path.name, os.environ["OMP_NUM_THREADS"]]

    assert load().result(60) == ["found", "3"]


@pytest.mark.usefixtures("local")
def test_a_retried_call_keeps_the_variables() -> None:
    @task(env={"T_A": "x y", "PATH": "/nowhere"}, signal_lead=5, time=1, retry=Retry(1, on="TaskExited"))
    def second(ctx: JobContext | None = None) -> list[str | int]:
        assert ctx is not None
        if ctx.attempt == 1:
            os._exit(7)
        return [os.environ["T_A"], os.environ["PATH"], ctx.attempt]

    assert second().result(90) == ["x y", "/nowhere", 2]


def test_a_command_has_the_variables_of_all_layers(cluster: Cluster) -> None:
    show = command("env -0", env={"T_FIELD": "n={n}", "T_LINES": ODD["T_LINES"], "T_B": "{{command}}"})
    asked = show.with_options(env={"T_A": "call"}).on(
        Cluster(cluster.url, options={"env": {"T_C": "cluster", "T_B": "cluster"}})
    )
    done = asked(5).result(90)
    found = dict(
        item.split("=", 1) for item in (done.directory / "stdout.log").read_bytes().decode().split("\0") if item
    )
    expected = {"T_FIELD": "n=5", "T_LINES": ODD["T_LINES"], "T_B": "{command}", "T_A": "call", "T_C": "cluster"}
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.usefixtures("local")
def test_a_path_is_used_as_given() -> None:
    job = command("/usr/bin/env", env={"PATH": "/usr/bin:/bin"})()
    assert "PATH=/usr/bin:/bin\n" in (job.result(60).directory / "stdout.log").read_text()


def test_a_script_can_be_submitted_by_hand(local: Cluster) -> None:
    text = local.script(see.with_options(env={"T_A": "it's"}))
    assert """export T_A='it'"'"'s'""" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.usefixtures("local")
def test_calls_with_other_variables_are_other_calls() -> None:
    def ask(value: str) -> tuple[str, dict[str, str | None]]:
        job = see.with_options(reuse=True, env={"T_A": value})(["T_A"])
        return job.key, job.result(60)

    first, second = ask("1"), ask("2")
    assert (first[1], second[1]) == ({"T_A": "1"}, {"T_A": "2"})
    assert ask("1") == first


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.skipif(VARIABLE in os.environ, reason="the login shell of such a job finds the installed Slurm only")
def test_amounts_and_variables_reach_a_job_without_the_clients_environment(root: Path) -> None:
    with Cluster("slurm", root=root):
        asked = see.with_options(env={"T_A": "x y"}, time="1h 30min", mem="0.05 GB", export="NONE")
        job = asked.with_options(ntasks=2, gather=True)(["T_A"])
        assert job.result(90) == [{"T_A": "x y"}] * 2
        script = (root / "jobs" / job.key / "script.sh").read_text()
    assert "#SBATCH --time=01:30:00\n" in script
    assert "#SBATCH --mem=52M\n" in script
