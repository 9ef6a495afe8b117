"""`slurm config`: write a first Slurmfile, and check one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, task
from slurm.cli.main import slurm


@task
def twice(x: int) -> int:
    return 2 * x


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a Slurmfile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*argv: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(slurm, ["config", *argv], input=answers)


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_a_first_file_is_checked_and_used(here: Path, url: str, request: pytest.FixtureRequest) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    made = run("init", answers=f'{url}\n{here}/the "jobs"\nmem=20M time=1h\n')
    assert (made.exit_code, made.stdout) == (0, "Slurmfile is written\n"), made.output
    assert made.stderr.count("[") <= 3
    assert f"ok       scheduler   {url}: " in made.stderr
    with Cluster.from_slurmfile() as cluster:
        assert cluster.options.get("time") == "01:00:00"
        job = twice(2)
        assert job.result(60) == 4
    assert job.directory.startswith(f'{here}/the "jobs"/jobs/twice/')
    assert run("validate").output == f"{here}/Slurmfile is valid; its clusters are {url}\n"
    before = Path("Slurmfile").read_text()
    again = run("init", "--yes")
    assert str(again.exception) == (
        "Slurmfile exists and is not changed. Edit it, then run: slurm config validate Slurmfile"
    )
    assert Path("Slurmfile").read_text() == before


def test_nothing_is_asked_if_it_need_not_be(here: Path) -> None:
    made = run("init", "new/Slurmfile", "--yes", "--on", "local", "--option", "cpus-per-task=2", "--json")
    assert made.exit_code == 0, made.output
    facts = json.loads(made.stdout)
    assert (facts["file"], facts["url"], "reach" in {item["check"] for item in facts["findings"]}) == (
        "new/Slurmfile",
        "local",
        True,
    )
    shown = {item["key"]: item for item in json.loads(run("show", "--file", "new/Slurmfile", "--json").stdout)}
    assert (shown["options.cpus_per_task"]["value"], shown["root"]["origin"]) == ("2", "default")


def test_an_error_of_the_doctor_leaves_no_file_unless_it_is_wanted(here: Path) -> None:
    Path("file").touch()
    for words in (["--yes", "--json"], []):
        made = run("init", "--on", "local", "--root", f"{here}/file/below", *words, answers="\n\nn\n")
        assert (made.exit_code, Path("Slurmfile").exists()) == (1, False)
        assert "Slurmfile is not written, because the doctor found errors" in made.stderr
        assert not words or json.loads(made.stdout)["file"] is None
    wanted = run("init", "--on", "local", "--root", f"{here}/file/below", answers="\ny\n")
    assert (wanted.exit_code, wanted.stdout) == (0, "Slurmfile is written\n")
    wrong = run("init", "other", "--yes", "--on", "local", "--option", "meme=2G")
    assert "sbatch has no option meme: did you mean mem?" in str(wrong.exception)
    assert not Path("other").exists()


def test_all_errors_are_shown_at_once_with_line_key_and_near_name(here: Path) -> None:
    Path("Slurmfile").write_text(
        "defalt: a\nclusters:\n  a: {url: local, opions: {mem: 2X}}\n  b:\n    extends: aa\n    options: {meme: 2G}\n"
    )
    shown = run("validate")
    assert shown.exit_code == 1
    assert [line.partition("Slurmfile, ")[2] for line in shown.output.splitlines()] == [
        "line 1: defalt: unknown key: did you mean 'default'?",
        "line 3: clusters.a.opions: unknown key: did you mean 'options'?",
        "line 5: clusters.b.extends: there is no cluster 'aa': did you mean 'a'?",
        "line 6: clusters.b.options.meme: sbatch has no option meme: did you mean mem?",
    ]
    told = json.loads(run("validate", "Slurmfile", "--json").stdout)
    assert [(item["line"], item["key"]) for item in told["problems"]] == [
        (1, "defalt"),
        (3, "clusters.a.opions"),
        (5, "clusters.b.extends"),
        (6, "clusters.b.options.meme"),
    ]
    Path("Slurmfile").unlink()
    assert "there is no Slurmfile" in str(run("validate").exception)


def test_the_options_of_a_tool_are_shown_with_their_layers_and_lines(here: Path) -> None:
    (here / "Slurmfile").write_text(
        "default: a\nclusters: {a: {url: local}}\ntools:\n  bayeseor:\n    stages:\n"
        "      signal_fit: {options: {gpus: null, mem: 8G}}\n"
    )
    shown = run("show", "--tool", "bayeseor", "--option", "nice=3", "--json")
    assert shown.exit_code == 0, shown.output
    found = {row["key"]: (row["value"], row["origin"]) for row in json.loads(shown.stdout)}
    line = f"stage: {here / 'Slurmfile'}:6"
    assert found["bayeseor.signal_fit.mem"] == ("8G", line)
    assert found["bayeseor.signal_fit.gpus"] == ("null", line)
    assert found["bayeseor.no_signal.gpus"] == ("1", "built-in: slurm.tools.bayeseor:BayesEoR.no_signal")
    assert found["bayeseor.no_signal.nice"] == ("3", "command line")
    assert "did you mean 'bayeseor'" in str(run("show", "--tool", "bayeseo").exception)
    assert run("show", "--option", "nice=3").exit_code == 2
