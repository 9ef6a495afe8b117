"""`slurm logs --follow`: output while a job runs, and what it prints at its very end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, command, task
from slurm.storage.log_growth import MOST
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@task
def talk(name: str, go: str) -> None:
    import atexit

    print("begin", name)
    while not Path(go).exists():
        time.sleep(0.05)
    sys.stdout.buffer.write(b"\xff\x00\r\n\x1b[2J")
    atexit.register(print, "exit", name)
    atexit.register(time.sleep, 2)  # called first
    print("end", name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a Slurmfile."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def followed(key: str, on: Cluster, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run the command; give it and the file that it writes to."""
    output = directory / "output"
    argv = [sys.executable, "-m", "slurm", "logs", "-f", key, "--on", on.url]
    with output.open("wb") as file, subprocess.Popen(argv, stdout=file, stderr=subprocess.PIPE) as process:
        try:
            yield process, output
        finally:
            process.kill()


def test_output_is_printed_while_the_job_runs_and_none_is_lost_at_its_end(cluster: Cluster, home: Path) -> None:
    go = home / "go"
    job = talk("ann", str(go))
    with followed(job.key, cluster, home) as (process, output):
        until(lambda: b"begin ann\n" in output.read_bytes())
        assert process.poll() is None
        go.touch()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
    assert output.read_bytes() == Path(job.log_path).read_bytes()
    assert output.read_bytes().endswith(b"exit ann\n")
    assert b"\xff\x00\r\n\x1b[2Jend ann\n" in output.read_bytes()


def test_ctrl_c_leaves_the_job_running_and_says_so(cluster: Cluster, home: Path) -> None:
    go = home / "go"
    job = talk("ann", str(go))
    with followed(job.key, cluster, home) as (process, output):
        until(lambda: b"begin ann\n" in output.read_bytes())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.decode()) == (130, f"interrupted; the job goes on: {job.key}\n")
    assert not job.done()
    go.touch()
    assert job.result(60) is None


def test_python_gets_the_output_as_an_iterator_of_text(cluster: Cluster, home: Path) -> None:
    go = home / "go"
    job = talk("änn", str(go))
    followed = job.logs(follow=True)
    text = ""
    while "begin änn\n" not in text:
        text += next(followed)
    go.touch()
    text += "".join(followed)
    assert text == job.logs() == Path(job.log_path).read_bytes().decode(errors="replace")
    assert text.endswith("exit änn\n")


def test_calls_of_a_map_and_their_programs_are_named(local: Cluster, home: Path) -> None:
    some = talk.starmap([("ann", str(home)), ("bob", str(home))])
    with followed(some.key, local, home) as (process, output):
        process.communicate(timeout=60)
    parts = output.read_text(errors="replace").split("==> ")[1:]
    of = {name: "".join(part for part in parts if part.startswith(f"{some.key}[{name}] <==\n")) for name in (0, 1)}
    assert sum(map(len, of.values())) == sum(map(len, parts))
    assert ("begin ann\n" in of[0], "exit ann\n" in of[0], "exit bob\n" in of[1]) == (True, True, True)
    assert "bob" not in of[0]
    one = command("sh -c 'echo said; sleep 1; echo more; echo why >&2'").on(local)()
    with followed(one.key, local, home) as (process, output):
        process.communicate(timeout=60)
    text = output.read_text()
    assert f"==> {one.key}: work/0/attempt-1/stdout.log <==\nsaid\n" in text
    assert f"==> {one.key}: work/0/attempt-1/stderr.log <==\nwhy\n" in text
    assert "more\n" in text


def test_a_flood_of_output_arrives_whole(cluster: Cluster, home: Path) -> None:
    @task
    def flood(go: str, most: int) -> None:
        while not Path(go).exists():
            time.sleep(0.05)
        sys.stdout.write("0123456789abcdef\n" * (most * 3 // 17))

    job = flood(str(home / "go"), MOST)
    with followed(job.key, cluster, home) as (process, output):
        until(job.running)
        (home / "go").touch()
        process.communicate(timeout=60)
    assert output.stat().st_size > 2.9 * MOST
    assert output.read_bytes() == Path(job.log_path).read_bytes()
