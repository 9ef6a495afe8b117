"""Commands in an image of one static program: the runner is outside of it, and the image has no Python and no shell."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from slurm import Cluster, CommandFailed, Container, JobCancelled, command
from slurm.protocol import ATTEMPTS, STOPPED, attempt_name
from slurm.protocol.outcomes import Outcome
from testbed.containers import ContainerTestbed
from testbed.slurm import SlurmTestbed
from waiting import until

WORDS = 'it\'s "$HOME" `x`\n  é*'
"""A value that a shell would change."""


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def place(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster on this machine, and Slurm."""
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    monkeypatch.chdir(root.parent)
    with Cluster(request.param, root=root) as cluster:
        yield cluster


@pytest.fixture
def image(containers: ContainerTestbed) -> Container:
    """The image, kept here and sent as a file."""
    return Container(containers.static_image(), runtime="podman", builder="podman")


def test_products_status_logs_input_and_variables_of_a_program_without_python(
    place: Cluster, image: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("given.txt").write_text("a file of the project\n")
    run = command(
        "/program out {text} err problem cat given.txt cat - env WORDS env PATH write out.txt {text}",
        files=["given.txt"],
        products=["out.txt"],
        env={"WORDS": "{text}", "PATH": "/own/bin"},
        stdin="from {text}\n",
        check="/program cat {product}",
        environment=image,
    )
    job = run(WORDS)
    done = job.result(90)
    assert done.products[0].read_text() == WORDS
    lines = [WORDS, "a file of the project", f"from {WORDS}", f"WORDS={WORDS}", "PATH=/own/bin", WORDS]
    assert (done.directory / "stdout.log").read_text() == "\n".join(lines)
    assert (done.directory / "stderr.log").read_text() == "problem\n"
    assert sorted(path.name for path in done.directory.iterdir()) == [
        "given.txt",
        "out.txt",
        "stderr.log",
        "stdout.log",
    ]
    assert "problem\n" in job.logs()

    failed = command("/program err why status {n}", environment=image)(3)
    with pytest.raises(CommandFailed, match="ended with status 3") as caught:
        failed.result(90)
    assert (caught.value.exit_code, caught.value.stderr) == (3, "why")


def test_cancel_ends_the_program_and_leaves_no_process_and_no_container(
    place: Cluster, image: Container, containers: ContainerTestbed, tmp_path: Path
) -> None:
    hears = command("/program fork hear wait {mark}", environment=image)(tmp_path / "hears")
    deaf = command("/program fork deaf wait {mark}", environment=image)(tmp_path / "deaf")
    for job in (hears, deaf):
        until((tmp_path / ("hears" if job is hears else "deaf")).exists, timeout=60)
        job.cancel()
        with pytest.raises(JobCancelled):
            job.result(90)
    until(lambda: not containers.containers(), timeout=60)
    until(lambda: not _programs(), timeout=60)
    heard = Path(place.place.store.directory(hears.key), "work", "0", "attempt-1", "heard")
    assert heard.read_text() == "signal 15"


@pytest.mark.slurm
def test_stop_signal_reaches_the_program_which_asks_for_another_attempt(
    slurm_env: SlurmTestbed, image: Container, containers: ContainerTestbed, root: Path, tmp_path: Path
) -> None:
    run = command("/program hear wait {mark}", environment=image, signal_lead=30, requeue=True)
    with Cluster("slurm", root=root, options={"chdir": str(tmp_path)}) as cluster:
        job = run(tmp_path / "begun")
        until((tmp_path / "begun").exists, timeout=60)
        slurm_env.run("scancel", "--batch", "--signal=USR1", job.job_id or "")
        attempt = Path(cluster.place.store.directory(job.key), ATTEMPTS, attempt_name(0, 1))
        until(attempt.exists, timeout=30)
        assert Outcome.loads(attempt.read_bytes(), where="").phase == STOPPED, attempt.read_text()
        job.cancel()
    until(lambda: not containers.containers(), timeout=60)


@pytest.mark.parametrize("when", ["the container starts", "the program runs"])
def test_program_does_not_survive_the_death_of_all_processes_of_the_job_outside_of_the_container(
    when: str, place: Cluster, image: Container, containers: ContainerTestbed, tmp_path: Path
) -> None:
    job = command("/program fork deaf wait {mark}", environment=image)(tmp_path / "begun")
    if when == "the program runs":
        until((tmp_path / "begun").exists, timeout=60)
        assert len(_programs()) == 2
    else:
        home = Path(place.place.store.directory(job.key))
        until(lambda: list(home.glob("work/0/attempt-1/.control.*")), timeout=60)
    while victims := _of_job(job.key):
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    until(lambda: not _programs(), timeout=30)
    until(lambda: not containers.containers(), timeout=30)
    assert job.exception(90) is not None


def _of_job(key: str) -> list[int]:
    """The processes of a job outside of its container: all that have its key in a variable or an argument."""
    own = os.readlink("/proc/self/ns/pid")
    return [
        pid
        for pid, text in _processes()
        if pid != os.getpid() and key.encode() in text and os.readlink(f"/proc/{pid}/ns/pid") == own
    ]


def _programs() -> list[int]:
    return [pid for pid, text in _processes() if text.startswith(b"/program\0")]


def _processes() -> Iterator[tuple[int, bytes]]:
    """The processes of this machine, with their arguments and variables."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            yield int(path.name), (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
