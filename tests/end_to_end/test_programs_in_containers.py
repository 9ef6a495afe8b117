"""Commands in an image of one static program: the runner is outside of it, and the image has no Python and no shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from slurm import Cluster, CommandFailed, Container, JobCancelled, command, task
from slurm.errors import OptionError, PythonNotFound
from slurm.protocol import ATTEMPTS, STOPPED, attempt_name
from slurm.protocol.outcomes import Outcome
from testbed.containers import MINI, OCI_SINCE, ContainerTestbed, oci_conf
from testbed.programs import slurm_release
from testbed.slurm import SlurmTestbed
from waiting import until

WORDS = 'it\'s "$HOME" `x`\n  é*'
"""A value that a shell would change."""


@pytest.fixture(
    params=[
        ("local", "podman"),
        *(
            pytest.param(("slurm", name), marks=pytest.mark.slurm)
            for name in ("podman", "docker", "apptainer", "slurm")
        ),
    ],
    ids="-by-".join,
)
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A URL, and the runtime of the containers there."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def place(
    where: tuple[str, str], request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A cluster on this machine, or Slurm."""
    if where[0] == "slurm":
        request.getfixturevalue("slurm_env")
    monkeypatch.chdir(root.parent)
    with Cluster(where[0], root=root) as cluster:
        yield cluster


@pytest.fixture
def image(
    where: tuple[str, str],
    request: pytest.FixtureRequest,
    containers: ContainerTestbed,
    monkeypatch: pytest.MonkeyPatch,
) -> Container:
    """The image, kept here and sent as a file."""
    _, runtime = where
    options: list[str] = []
    if runtime == "docker":
        if shutil.which("docker") is None or os.geteuid() != 0:
            pytest.skip("podman can be spoken to by docker only as root, and with a docker command")
        for name, value in containers.docker().items():
            monkeypatch.setenv(name, value)
    elif runtime == "apptainer":
        options = request.getfixturevalue("apptainer")
    elif runtime == "slurm":
        if slurm_release() < OCI_SINCE:
            pytest.skip("this Slurm runs no containers itself")
        conf: Path = request.getfixturevalue("slurm_env").conf
        conf.with_name("oci.conf").write_text(oci_conf(containers.directory / "oci"))
    return Container(
        containers.static_image(),
        runtime=runtime,
        runtime_options=options,
        builder="podman",
        # Podman's service for docker does not say that a program is missing, and Slurm's runtime works in jobs only.
        python=None if runtime in ("docker", "slurm") else "python3",
    )


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
    assert (caught.value.exit_code, caught.value.stderr.splitlines()[0]) == (3, "why")  # srun adds a line of its own


@command(environment=Container(MINI, runtime="podman", builder="podman"), products=["prefix"])
def says_its_prefix() -> list[str]:
    return ["python3", "-c", f"import sys; open('prefix', 'w').write('{sys.prefix} ' + sys.prefix)"]


@pytest.mark.usefixtures("containers")
def test_function_of_a_command_runs_in_the_python_of_an_image_that_has_one(local: Cluster) -> None:
    assert says_its_prefix().result(90).products[0].read_text() == "/usr/local /usr/local"


def test_image_for_programs_is_an_error_for_a_function_and_for_mpi_by_an_engine(
    local: Cluster, containers: ContainerTestbed
) -> None:
    image = Container(containers.static_image(), runtime="podman", builder="podman")
    run = command("/program out {x}", environment=image)
    assert [done.exit_code for done in run.map(["a", "b", "c"], chunk_size=2).results(90)] == [0, 0, 0]
    with pytest.raises(PythonNotFound, match="has no python3"):
        task(environment=image)(os.getcwd)()
    with pytest.raises(OptionError, match="cannot start the processes of a world in containers of podman"):
        run.with_options(launch="mpi", ntasks=2)("d")
    with pytest.raises(CommandFailed, match=r"status 127 \(a command was not found\)") as caught:
        command("no-such-program", environment=image)().result(90)
    assert "no-such-program: not found" in caught.value.stderr
    wrong = Container(image.image, runtime="podman", builder="podman", runtime_options=["--device=/dev/none-such"])
    with pytest.raises(CommandFailed, match=r"125 \(its container was not started\)(?s:.*)none-such"):
        command("/program", environment=[wrong])().result(90)


@pytest.mark.parametrize("where", [("slurm", "apptainer")], indirect=True, ids="-by-".join)
@pytest.mark.slurm
def test_processes_of_an_mpi_program_keep_the_sockets_of_their_launcher(place: Cluster, image: Container) -> None:
    run = command("/program env PMI_SIZE socket PMI_FD env PMI_RANK", environment=image, launch="mpi", mpi="pmi2")
    done = run.with_options(ntasks=2)().result(90)
    lines = (done.directory / "stdout.log").read_text().splitlines()
    assert sorted(lines) == ["PMI_RANK=0", "PMI_RANK=1", "PMI_SIZE=2", "PMI_SIZE=2", "a socket", "a socket"]


@pytest.mark.parametrize("where", [("slurm", "apptainer")], indirect=True, ids="-by-".join)
@pytest.mark.slurm
def test_an_mpi_library_of_the_image_is_one_world_with_srun(
    place: Cluster, image: Container, containers: ContainerTestbed
) -> None:
    mpicc = shutil.which("mpicc", path=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    if mpicc is None:
        pytest.skip("an image with an MPI library needs mpicc: pip install mpich")
    own = Container(
        containers.mpi_image(mpicc), runtime=image.runtime, runtime_options=image.runtime_options, builder="podman"
    )
    done = command("/program", environment=own, launch="mpi", mpi="pmi2", ntasks=2)().result(90)
    printed = (done.directory / "stdout.log").read_text().splitlines()
    lines = [line for line in printed if " UCX " not in line]  # an ordinary user's containers share no memory
    assert [line.partition(" by ")[0] for line in lines] == ["2 of 2", "2 of 2"]
    found = [line.partition(" by ")[2] for line in lines]
    at = ("/tmp/", os.path.expanduser("~/"))  # noqa: S108 - what apptainer mounts
    mounted = sys.prefix.startswith(at)  # then the library of this environment is found
    assert mounted or all(path.startswith(("/lib", "/usr/lib")) for path in found)


def test_cancel_ends_the_program_and_leaves_no_process_and_no_container(
    place: Cluster, image: Container, containers: ContainerTestbed, root: Path
) -> None:
    hears = command("/program fork hear wait {mark}", environment=image)(root / "hears")
    deaf = command("/program fork deaf wait {mark}", environment=image)(root / "deaf")
    for job in (hears, deaf):
        until((root / ("hears" if job is hears else "deaf")).exists, timeout=60)
        job.cancel()
        with pytest.raises(JobCancelled):
            job.result(90)
    until(lambda: not containers.containers(), timeout=60)
    until(lambda: not _programs(root), timeout=60)
    heard = Path(place.place.store.directory(hears.key), "work", "0", "attempt-1", "heard")
    assert heard.read_text() == "signal 15"


@pytest.mark.parametrize("where", [("slurm", "podman")], indirect=True, ids="-by-".join)
@pytest.mark.slurm
def test_stop_signal_reaches_the_program_which_asks_for_another_attempt(
    slurm_env: SlurmTestbed, image: Container, containers: ContainerTestbed, root: Path, tmp_path: Path
) -> None:
    run = command("/program hear wait {mark}", environment=image, signal_lead=30, requeue=True)
    with Cluster("slurm", root=root, options={"chdir": str(tmp_path)}) as cluster:
        job = run(root / "begun")
        until((root / "begun").exists, timeout=60)
        slurm_env.run("scancel", "--batch", "--signal=USR1", job.job_id or "")
        attempt = Path(cluster.place.store.directory(job.key), ATTEMPTS, attempt_name(0, 1))
        until(attempt.exists, timeout=30)
        assert Outcome.loads(attempt.read_bytes(), where="").phase == STOPPED, attempt.read_text()
        job.cancel()
    until(lambda: not containers.containers(), timeout=60)


@pytest.mark.parametrize("when", ["the container starts", "the program runs"])
def test_program_does_not_survive_the_death_of_all_processes_of_the_job_outside_of_the_container(
    when: str, place: Cluster, image: Container, containers: ContainerTestbed, root: Path
) -> None:
    if when == "the container starts" and image.runtime == "apptainer":
        pytest.skip("its containers are children of the job")
    before = set(containers.containers())  # of tests before this one
    job = command("/program fork deaf wait {mark}", environment=image)(root / "begun")
    if when == "the program runs":
        until((root / "begun").exists, timeout=60)
        assert len(_programs(root)) == 2
    else:
        home = Path(place.place.store.directory(job.key))
        until(lambda: list(home.glob("work/0/attempt-1/.control.*")), timeout=60)
    while victims := _of_job(job.key):
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    until(lambda: not _programs(root), timeout=30)
    until(lambda: set(containers.running()) <= before, timeout=30)
    assert job.exception(90) is not None
    # An engine that is killed while it starts a container leaves one that never runs. The next job there removes it.
    assert command("/program", environment=image)().result(90).exit_code == 0
    until(lambda: set(containers.containers()) <= before, timeout=30)


def test_a_job_removes_containers_whose_launcher_is_gone(local: Cluster, containers: ContainerTestbed) -> None:
    own = os.getpid()
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = {f"slurm-0-0-{own}-1", f"slurm-0-0-{ended.pid}-{start}", f"slurm-0-0-{ended.pid}", f"slurm-0-1-{ended.pid}-"}
    kept = {f"slurm-0-0-{own}-{start}", f"slurm-0-0-{own}", "slurm-db"}
    image = containers.static_image()
    for name in left | kept:
        containers.run("podman", "create", "--name", name, image, "/program")
    try:
        run = command("/program out {x}", environment=Container(image, runtime="podman", builder="podman"))
        assert run("a").result(90).exit_code == 0
        assert set(containers.containers()) & (left | kept) == kept
    finally:
        containers.run("podman", "rm", "--ignore", *left, *kept)


def _of_job(key: str) -> list[int]:
    """The processes of a job outside of its container: all that have its key in a variable or an argument."""
    own = os.readlink("/proc/self/ns/pid")
    found = []
    for pid, text in _processes():
        with suppress(OSError):  # it has ended
            if pid != os.getpid() and key.encode() in text and os.readlink(f"/proc/{pid}/ns/pid") == own:
                found.append(pid)
    return found


def _programs(root: Path) -> list[int]:
    """The programs that have a root among their arguments."""
    return [pid for pid, text in _processes() if text.startswith(b"/program\0") and str(root).encode() in text]


def _processes() -> Iterator[tuple[int, bytes]]:
    """The processes of this machine, with their arguments and variables."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            yield int(path.name), (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
