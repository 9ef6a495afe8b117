"""`slurm serve`: the process that a user starts, kills and starts again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from served import Client
from slurm import Cluster, task

WAIT = 120.0


@task
def work(x: int) -> int:
    print("working")
    return x


@contextmanager
def serve(*words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines that it prints first."""
    argv = [sys.executable, "-m", "slurm", "serve", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()


def test_a_server_that_was_killed_is_started_again_and_nothing_is_lost(cluster: Cluster) -> None:
    job = work(1)
    assert job.result(WAIT) == 1
    tokens = set()
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        with serve("--on", str(cluster.url)) as (process, lines):
            page = re.fullmatch(r"page: +http://127\.0\.0\.1:(\d+)/#(\S+)\n", lines[0])
            assert page, lines
            assert f"ssh -N -L {page[1]}:127.0.0.1:{page[1]} " in lines[2]
            client, token = Client(int(page[1])), page[2]
            tokens.add(token)
            answer = client.ask("GET", f"/jobs/{job.key}/logs", token=token)
            assert (answer.status, answer.data["text"]) == (200, "working\n")
            assert [each["key"] for each in client.ask("GET", "/overview", token=token).data["jobs"]] == [job.key]
            process.send_signal(how)
            assert process.wait(WAIT) in {status, -how}
            assert process.stdout is not None
            assert process.stdout.read() == ""  # no access log, no traceback
    assert len(tokens) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid:0"),
        (["--on", "nothing://"], "nothing"),
        (["--port", "70000"], "70000"),
    ],
)
def test_bad_arguments_are_one_error(words: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "slurm", "serve", *words], capture_output=True, text=True, check=False)
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert "Traceback" not in done.stderr
