"""Messages to tasks that run: each arrives once, in order, whoever sends it and wherever the job runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, Retry, current_job, task
from slurm.cli.main import slurm
from slurm.errors import ConfigurationError, ConnectionLost, JobEnded, TransportError
from slurm.protocol.shell import program
from slurm.storage import inbox
from slurm.testing import InlineCluster
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport
from waiting import until


@task(time="5")
def listen() -> list[Any]:
    """Return all messages up to the first "stop"."""
    found: list[Any] = []
    while "stop" not in found:
        found += current_job().messages(wait=60)
    return found


@task(time="5", retry=Retry(1, on=ValueError))
def listen_twice() -> list[Any]:
    """The same, after an attempt that fails."""
    found: list[Any] = []
    while "stop" not in found:
        found += current_job().messages(wait=60)
    if current_job().attempt == 1:
        raise ValueError(found)
    return found


@task(time="5")
def listen_later(gate: str) -> list[Any]:
    """The same, once there is a file."""
    Path(f"{gate}.running").touch()
    while not Path(gate).exists():
        time.sleep(0.05)
    return listen.unwrapped()


@task(time="5")
def deaf() -> None:
    return None


VALUES = [None, 1, 0.5, True, "é'\"\n$(touch x)", [1, [2]], {"rate": {"new": 0.1}}, []]


def test_messages_arrive_in_order_also_those_of_before_the_start(cluster: Cluster) -> None:
    job = listen()
    for value in VALUES:
        job.send(value)
    Cluster(cluster.url).job(job.key).send((1, 2))  # another process's view
    job.send("stop")
    assert job.result(90) == [*VALUES, [1, 2], "stop"]
    with pytest.raises(JobEnded, match=f"no message was sent to {job.key}, which has ended"):
        job.send("late")


def test_each_call_of_a_map_gets_its_own_messages_and_those_for_all(cluster: Cluster) -> None:
    jobs = listen.starmap([()] * 4)
    jobs[1].send("one")
    jobs[2:].send("some")
    jobs.send("stop")
    assert jobs.results(90) == [["stop"], ["one", "stop"], ["some", "stop"], ["some", "stop"]]


def test_many_senders_at_once_lose_and_repeat_nothing(local: Cluster) -> None:
    job = listen()
    numbers = range(24)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(job.send, numbers))
    names = sorted(int(path.stem) for path in Path(job.directory, "inbox").iterdir())
    assert names == [number + 1 for number in numbers]
    job.send("stop")
    *found, _ = job.result(60)
    assert sorted(found) == list(numbers)


def test_the_command_sends_json_or_text(local: Cluster, root: Path) -> None:
    job = listen()
    for message in ('{"rate": 0.1}', "{not json", "stop"):
        done = CliRunner().invoke(slurm, ["send", job.key, message, "--on", f"local://{root}"])
        assert done.exit_code == 0, done.output
    assert job.result(60) == [{"rate": 0.1}, "{not json", "stop"]


def test_a_retry_gets_all_messages_again(local: Cluster) -> None:
    job = listen_twice()
    job.send("one")
    job.send("stop")
    assert job.result(60) == ["one", "stop"]


def test_what_cannot_be_sent_is_one_clear_error(local: Cluster) -> None:
    job = listen()
    for value in (object(), {1, 2}, b"bytes", 1 << 70):
        with pytest.raises(ConfigurationError, match="1048576 bytes; this one is not: "):
            job.send(value)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ConfigurationError, match="a message is a JSON value"):
        job.send(deep)
    with pytest.raises(ConfigurationError, match=r"this one takes 2097.*send its path"):
        job.send("x" * (1 << 21))
    assert not Path(job.directory, "inbox", "1.json").exists()
    job.send("stop")
    assert job.result(60) == ["stop"]


def test_a_message_that_is_damaged_or_somebody_else_could_write_is_left_out(local: Cluster) -> None:
    job = listen()
    job.send("one")
    directory = Path(job.directory, "inbox")
    new = directory / "new"
    new.write_text('{"protocol": 1, "calls": 7}')
    new.rename(directory / "2.json")
    new.write_text((directory / "1.json").read_text().replace("one", "bad"))
    new.chmod(0o666)
    new.rename(directory / "3.json")
    job.send("stop")
    assert job.result(60) == ["one", "stop"]
    assert job.logs().count("a message is left out: ") == 2


def test_a_job_without_a_directory_gets_no_message(local: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = listen_later(str(gate))
    until(Path(f"{gate}.running").exists)
    other = f"{job.directory}-away"
    Path(job.directory).rename(other)
    with pytest.raises(TransportError):
        job.send("one")
    assert not Path(job.directory).exists()
    Path(other).rename(job.directory)
    gate.touch()
    job.send("stop")
    assert job.result(60) == ["stop"]


def test_a_task_that_does_not_listen_is_left_alone(local: Cluster) -> None:
    job = deaf()
    try:
        job.send("x")
    except JobEnded:
        pass
    assert job.result(60) is None
    with pytest.raises(JobEnded):
        job.send("y")


def test_messages_of_the_inline_cluster() -> None:
    with InlineCluster():
        jobs = listen.starmap([(), ()])
        jobs.send("stop")
        assert jobs.results(20) == [["stop"], ["stop"]]


def test_messages_are_no_part_of_the_start_of_other_tasks(local: Cluster) -> None:
    @task
    def loaded() -> list[str]:
        current_job()
        return sorted(name for name in sys.modules if name in {"slurm.runner.inbox", "slurm.protocol.messages"})

    assert loaded().result(60) == []


class Cut(LocalTransport):
    """A connection that breaks after the command has run: a real one cannot be cut at that moment."""

    left = 1

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        done = super().run(argv, stdin=stdin, timeout=timeout)
        if self.left:
            self.left -= 1
            raise ConnectionLost("cut")
        return done


def test_a_message_whose_answer_was_lost_is_stored_once(tmp_path: Path) -> None:
    for _ in range(2):
        inbox.send(Cut(), str(tmp_path), inbox.message_record("x", [0]))
    assert sorted(path.name for path in (tmp_path / "inbox").iterdir()) == ["1.json", "2.json"]


def test_an_input_that_ends_early_is_no_message(tmp_path: Path) -> None:
    argv = ["sh", "-c", program(inbox.__name__, "send.sh"), "sh", str(tmp_path / "inbox"), "word", "10", ""]
    assert subprocess.run(argv, input=b"half", check=False).returncode != 0
    assert list((tmp_path / "inbox").iterdir()) == []
