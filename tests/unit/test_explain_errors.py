"""`slurm explain ERROR`: what an error class means, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm.cli.main import slurm
from slurm.errors import SlurmError


def explain(*words: str) -> Result:
    return CliRunner().invoke(slurm, ["explain", *words])


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default cluster is one that does not exist."""
    file = tmp_path / "Slurmfile"
    file.write_text("default: away\nclusters: {away: {url: 'slurm+ssh://nobody@no.such.host.invalid'}}\n")
    monkeypatch.setenv("SLURMFILE", str(file))


@pytest.mark.parametrize("word", ["JobOutOfMemory", "slurm.errors.JobOutOfMemory"])
def test_an_error_is_explained_without_its_cluster(word: str) -> None:
    done = explain(word)
    assert done.exit_code == 0, done.output
    happened, caught, *more = done.output.splitlines()
    assert happened == "JobOutOfMemory: The job used more memory than it requested."
    assert caught == "`except JobError` catches it, too. More precise errors: `CommandOutOfMemory`."
    assert "slurm retry KEY --failed --mem 16G" in done.output
    assert [line for line in more if not line.startswith("  - ")] == ["Common causes:", "What to do:"]


def test_errors_of_sweeps_and_tools_are_explained() -> None:
    assert "slurm sweep errors NAME" in explain("SweepStopped").output
    assert explain("slurm.tools.errors.AlreadySubmitted").output.startswith("AlreadySubmitted: A stage was submitted")


def test_the_base_of_errors_names_those_that_are_more_precise() -> None:
    assert "More precise errors: `TaskFailed`, `TaskExited`, " in explain("JobError").output


def test_json_is_the_list_of_lines_and_links_name_their_page() -> None:
    lines = json.loads(explain("JobLost", "--json").output)
    assert "\n".join(lines) + "\n" == explain("JobLost").output
    assert any(line.endswith("shared file systems (docs/how-to/shared-file-systems.md).") for line in lines)


def test_a_name_of_no_error_is_said_to_be_none(tmp_path: Path) -> None:
    done = explain("Nonsense", "--on", f"local://{tmp_path}")
    assert str(done.exception).endswith("No error of this library has that name, either")


@pytest.mark.parametrize("word", ["JobOutOfMemmory", "joboutofmemory", "JobOutOfMemoryError"])
def test_a_name_that_is_nearly_an_error_is_suggested(word: str, tmp_path: Path) -> None:
    done = explain(word, "--on", f"local://{tmp_path}")
    assert done.exit_code == 1
    assert isinstance(done.exception, SlurmError)
    assert str(done.exception).startswith(f"there is no job '{word}' in ")
    assert str(done.exception).endswith("Do you mean the error JobOutOfMemory?")


def test_a_name_that_is_like_no_error_gets_no_suggestion(tmp_path: Path) -> None:
    done = explain("train", "--on", f"local://{tmp_path}")
    assert "there is no job 'train'" in str(done.exception)
    assert "Do you mean" not in str(done.exception)


def test_with_a_cluster_or_reuse_the_name_is_that_of_a_job(tmp_path: Path) -> None:
    assert "there is no job 'JobLost'" in str(explain("JobLost", "--on", f"local://{tmp_path}").exception)
    (tmp_path / "Slurmfile").write_text(f"default: here\nclusters: {{here: {{url: 'local://{tmp_path}'}}}}\n")
    assert "there is no job 'JobLost'" in str(explain("JobLost", "--reuse").exception)


def test_names_of_errors_are_completed() -> None:
    asked = {"_SLURM_COMPLETE": "bash_complete", "COMP_WORDS": "slurm explain JobO", "COMP_CWORD": "2"}
    done = CliRunner().invoke(slurm, prog_name="slurm", env=asked)
    assert done.output.splitlines() == ["plain,JobOutOfMemory"]
