"""The groups of the command `slurm`: words that are no command, and Ctrl-C."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click
import pytest
from click import Context
from click.testing import CliRunner

from slurm.cli import one_job
from slurm.cli.main import slurm
from slurm.cli.synonyms import SYNONYMS

if TYPE_CHECKING:
    from pathlib import Path


def test_ctrl_c_ends_each_command_quietly_with_the_status_of_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one_job, "job_of", interrupt)
    done = CliRunner().invoke(slurm, ["show", "last"])
    assert (done.exit_code, done.output) == (130, "")


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (["status"], "'jobs' or 'show'"),
        (["submit"], "'run'"),
        (["queue"], "'jobs' or 'watch'"),
        (["scancel"], "'cancel'"),
        (["log"], "'logs'"),
        (["list"], "'jobs' or 'watch'"),
        (["clean"], "'gc'"),
        (["sohw"], "'show'"),
        (["sweep", "resume"], "'complete'"),
        (["tool", "run"], "'submit'"),
        (["script", "kill"], "'stop'"),
        (["script", "strat"], "'start'"),
        (["config", "new"], "'init'"),
        (["envs", "prune"], "'gc'"),
    ],
)
def test_words_of_the_field_and_slips_suggest_a_command(words: list[str], suggested: str, tmp_path: Path) -> None:
    on = ["--on", f"local://{tmp_path}"] if words[0] == "script" else []  # it takes keys of jobs, too
    done = CliRunner().invoke(slurm, words + on)
    assert (done.exit_code, f"there is no command {words[-1]!r}: did you mean {suggested}?" in done.output) == (2, True)


def test_synonyms_name_commands_and_no_command_is_a_synonym() -> None:
    for name, words in SYNONYMS.items():
        group = slurm if name == "slurm" else slurm.get_command(Context(slurm), name)
        assert isinstance(group, click.Group)
        commands = set(group.list_commands(Context(group)))
        assert {each for meant in words.values() for each in meant} <= commands
        assert not words.keys() & commands


def test_a_client_that_left_the_server_is_not_reported() -> None:
    serving = pytest.importorskip("slurm.server.serving")
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, "socket.send() raised exception.", (), None)
    assert not serving.is_about_the_server(record)
    record.msg = "another problem"
    assert serving.is_about_the_server(record)
