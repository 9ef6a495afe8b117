"""The groups of the command `slurm`: words that are no command, and Ctrl-C."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner

from slurm.cli import jobs
from slurm.cli.main import slurm


def test_ctrl_c_ends_each_command_quietly_with_the_status_of_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "job_of", interrupt)
    done = CliRunner().invoke(slurm, ["show", "last"])
    assert (done.exit_code, done.output) == (130, "")


def test_a_client_that_left_the_server_is_not_reported() -> None:
    serving = pytest.importorskip("slurm.server.serving")
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, "socket.send() raised exception.", (), None)
    assert not serving.is_about_the_server(record)
    record.msg = "another problem"
    assert serving.is_about_the_server(record)
