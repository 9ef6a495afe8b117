"""Tasks in containers: real images, run by real runtimes inside real Slurm jobs."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, Container, JobCancelled, JobTimedOut, current_job, task
from slurm.callbacks.events import CompletedEvent, RunBeginEvent
from slurm.errors import OptionError, SetupFailed
from slurm.protocol import ATTEMPTS, STOPPED, attempt_name
from slurm.protocol.outcomes import Outcome
from testbed.containers import BARE, MINI, OCI_SINCE, ContainerTestbed, oci_conf
from testbed.programs import slurm_release
from testbed.slurm import SlurmTestbed
from waiting import until

pytestmark = pytest.mark.slurm

ODD = "a b'c\"d,$HOME`x`é;&*~\\"
"""The name of a directory that is mounted."""

HOSTILE = "a b'c\"d $(touch x) `touch y` $HOME %d é🙂;&|*~!,\\ \n#{x}"

CONTAINERFILE = f"""\
FROM {MINI}
ARG LABEL
COPY data /data
ENV LABEL=$LABEL
RUN ["python3", "-c", "open('/made', 'w').write('while building')"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What an image is built from."""
    context = tmp_path / "my image"
    context.mkdir()
    (context / "Containerfile").write_text(CONTAINERFILE)
    (context / ".containerignore").write_text("# not these\n**/*.log\n!**/keep.log\n")
    (context / "data").mkdir()
    for name in ("value", "noise.log", "keep.log"):
        (context / "data" / name).write_text(name)
    return context


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs see the client's working directory in their containers, and write there."""
    monkeypatch.chdir(tmp_path)


@task
def look(argument: str) -> dict[str, Any]:
    """What a task sees of the container that it is in."""
    Path("written").write_text("by the task")
    return {
        "prefix": sys.prefix,
        "directory": os.getcwd(),
        "argument": argument,
        "variable": os.environ.get("HOSTILE"),
        "label": os.environ.get("LABEL"),
        "data": sorted(os.listdir("/data")) if os.path.isdir("/data") else [],
        "mounted": Path("/mounted").read_text() if os.path.exists("/mounted") else "",
        "odd": [str(path) for path in Path("/mnt").glob("*/value")],
        "job": os.environ.get("SLURM_JOB_ID"),
        "networks": os.listdir("/sys/class/net"),
    }


@task
def sleep_for_ever(mark: str) -> None:
    """Never end; say when it has begun."""
    Path(mark).write_text("begun")
    time.sleep(3600)


@task(signal_lead=30, requeue=True)
def checkpointed(mark: str) -> None:
    """Save a checkpoint when told to stop."""
    Path(mark).write_text("begun")
    while not current_job().should_stop:
        time.sleep(0.02)
    current_job().checkpoint("saved in the container")


def test_a_built_image_is_pushed_pinned_pulled_and_run(
    slurm_env: SlurmTestbed,
    containers: ContainerTestbed,
    context: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "slurm.environments")
    monkeypatch.chdir(root.parent)
    registry = f"{containers.registry}/ann"
    image = Container(
        context=context,
        build_args={"LABEL": "labelled"},
        registry=registry,
        runtime="podman",
        env={"HOSTILE": HOSTILE},
        mounts=[f"{context / 'data' / 'value'}:/mounted:ro"],
        network=False,
    )
    with Cluster("slurm", root=root, environment=image) as cluster:
        jobs = look.map([HOSTILE, "two"])
        for index, seen in enumerate(jobs.results(timeout=60)):
            assert seen["prefix"] == "/usr/local"
            assert seen["directory"] == str(root.parent)
            assert seen["argument"] == [HOSTILE, "two"][index]
            assert (seen["variable"], seen["label"]) == (HOSTILE, "labelled")
            assert seen["data"] == ["keep.log", "value"]
            assert seen["mounted"] == "value"
            assert seen["networks"] == ["lo"]
            assert seen["job"]
        assert (root.parent / "written").stat().st_uid == os.getuid()
        environment = cluster.place.store.records(jobs.key).submission.environment
        assert environment.runtime == "podman"
        assert environment.image == environment.digest
        assert str(environment.image).startswith(f"{registry}/my-image@sha256:")
    words = [
        word
        for word in ("building the environment", "building /", "pushing", "finished the build")
        if word in caplog.text
    ]
    assert words == ["building the environment", "building /", "pushing", "finished the build"]
    caplog.clear()

    other = Container(context=context, build_args={"LABEL": "labelled"}, registry=registry, runtime="podman")
    with Cluster("slurm", root=root, environment=other):
        assert look("again").result(timeout=60)["data"] == ["keep.log", "value"]
    assert caplog.text == "", "unchanged, so there is nothing to make"
    until(lambda: not containers.containers())


def test_job_keeps_the_image_of_its_submission(
    slurm_env: SlurmTestbed, containers: ContainerTestbed, root: Path
) -> None:
    tag = f"{containers.registry}/moving:latest"
    containers.run("podman", "push", "--quiet", "--tls-verify=false", MINI, tag)
    with Cluster("slurm", root=root, environment=Container(tag, runtime="podman"), options={"hold": True}):
        job = look("held")
        containers.run("podman", "push", "--quiet", "--tls-verify=false", BARE, tag)
        slurm_env.run("scontrol", "release", job.job_id or "")
        assert job.result(timeout=60)["prefix"] == "/usr/local"


@pytest.fixture(params=["podman", "docker", "apptainer", "slurm"])
def anyhow(
    request: pytest.FixtureRequest,
    slurm_env: SlurmTestbed,
    containers: ContainerTestbed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Container:
    """An image that is kept here, sent as a file, and run by each runtime in turn."""
    options = []
    if os.geteuid() == 0:  # who has no use for it; others have theirs
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/of-a-login-elsewhere")
    if request.param == "docker":
        if shutil.which("docker") is None:
            pytest.skip("there is no docker command here to talk to podman by")
        if os.geteuid() != 0:
            pytest.skip("without root, podman loses what a container prints and its status when it speaks to docker")
        for name, value in containers.docker().items():
            monkeypatch.setenv(name, value)
    elif request.param == "apptainer":
        options = request.getfixturevalue("apptainer")
    elif request.param == "slurm":
        if slurm_release() < OCI_SINCE:
            pytest.skip("this Slurm runs no containers itself")
        slurm_env.conf.with_name("oci.conf").write_text(oci_conf(containers.directory / "oci"))
    odd = ODD.replace('"', "").replace(",", "") if request.param == "docker" else ODD  # which podman's service minds
    (tmp_path / odd).mkdir()
    (tmp_path / odd / "value").touch()
    return Container(
        MINI,
        runtime=request.param,
        env={"HOSTILE": HOSTILE},
        mounts=[f"{tmp_path / odd}:/mnt/{odd}:ro"],
        runtime_options=options,
        builder="podman",
    )


def test_every_runtime_forwards_signals_and_leaves_no_container(
    anyhow: Container, slurm_env: SlurmTestbed, containers: ContainerTestbed, root: Path
) -> None:
    with Cluster("slurm", root=root, environment=anyhow, options={"chdir": str(root.parent)}) as cluster:
        seen = look.with_options(env={"LABEL": HOSTILE})(HOSTILE)
        if anyhow.runtime == "slurm" and slurm_release() < (23, 2):
            with pytest.raises(OptionError, match=r"of this Slurm runs a single process only: choose another"):
                place()
        stopped, cancelled = checkpointed(str(root / "stopped")), sleep_for_ever(str(root / "cancelled"))
        result, odd = seen.result(60), anyhow.mounts[0].split(":")[1]
        assert (result["argument"], result["variable"], result["odd"]) == (HOSTILE, HOSTILE, [f"{odd}/value"])
        assert result["label"] == HOSTILE
        until((root / "stopped").exists)
        slurm_env.run("scancel", "--batch", "--signal=USR1", stopped.job_id or "")
        until((root / "cancelled").exists)
        cancelled.cancel()
        with pytest.raises(JobCancelled):
            cancelled.result(60)
        attempt = Path(cluster.place.store.directory(stopped.key), ATTEMPTS, attempt_name(0, 1))
        until(attempt.exists)
        assert Outcome.loads(attempt.read_bytes(), where="").phase == STOPPED, attempt.read_text()
    until(lambda: not containers.containers(), timeout=30)
    until(lambda: not _processes(str(root)), timeout=30)


@task(time="3", signal_lead=60)
def never_ends(directory: Path) -> None:
    """Hear neither the signal ahead of the time limit, of which it leaves word, nor SIGTERM."""
    (directory / "begun").touch()
    while True:
        time.sleep(0.02)
        if current_job().should_stop:
            (directory / "told").touch()


def test_time_limit_ends_the_container_of_every_runtime(
    new_testbed: Callable[..., SlurmTestbed],
    containers: ContainerTestbed,
    apptainer: list[str],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    testbed = new_testbed(nodes=1, speedup=20)
    testbed.conf.with_name("oci.conf").write_text(oci_conf(containers.directory / "oci"))
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value if name != "PATH" else f"{os.environ['PATH']}:{value}")
    with Cluster("slurm", root=root, options={"chdir": str(tmp_path)}):
        jobs = {}
        options = {"slurm": [], "podman": [], "apptainer": apptainer}  # what ends last is first
        if slurm_release() < OCI_SINCE:
            del options["slurm"]
        for runtime, runtime_options in options.items():
            place = root / runtime
            place.mkdir(parents=True, mode=0o700)
            environment = Container(MINI, runtime=runtime, runtime_options=runtime_options)
            jobs[runtime] = never_ends.with_options(environment=environment)(place)
        errors = {runtime: type(job.exception(100)) for runtime, job in jobs.items()}
        assert errors == dict.fromkeys(jobs, JobTimedOut)
        assert [path.name for runtime in jobs for path in sorted((root / runtime).iterdir())] == [
            "begun",
            "told",
        ] * len(jobs)
    until(lambda: not containers.containers(), timeout=30)
    until(lambda: not _processes(str(root)), timeout=30)


def _processes(mark: str) -> list[str]:
    """The processes that have a text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if mark.encode() in path.read_bytes() else []
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("storage", "not a directory"),
        ("space", "[Nn]o space left on device"),
        ("start", "none-such"),
    ],
)
@pytest.mark.usefixtures("slurm_env")
def test_container_that_fails_on_the_node_is_setup_failed(
    trouble: str, words: str, containers: ContainerTestbed, root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    image = f"{containers.registry}/nodes:1"
    containers.run("podman", "push", "--quiet", "--tls-verify=false", MINI, image)
    place = tmp_path / "file"
    place.touch()
    if trouble == "space":
        place = request.getfixturevalue("disk")
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
    (tmp_path / "storage.conf").write_text(storage)
    setup = f'[ -z "$SLURM_JOB_ID" ] || export CONTAINERS_STORAGE_CONF={tmp_path}/storage.conf TMPDIR={place}'
    options = ["--device=/dev/none-such"] if trouble == "start" else []
    environment = Container(image, runtime="podman", runtime_options=options)
    with Cluster("slurm", root=root, environment=environment, setup=[setup] if trouble != "start" else []):
        error = look("").exception(100)
    assert isinstance(error, SetupFailed)
    assert re.search(words, str(error))


class Notes(Callback):
    """Hooks that say where they are called."""

    def on_run_begin(self, event: RunBeginEvent) -> None:
        print("begin in", sys.prefix)

    def on_completed(self, event: CompletedEvent) -> None:
        print("completed in", sys.prefix)


@task(ntasks=2, gather=True)
def place() -> tuple[int, int, str]:
    """Which rank this is, of how many, in which Python."""
    context = current_job()
    return context.rank, context.world_size, sys.prefix


@pytest.mark.usefixtures("slurm_env", "containers")
def test_ranks_and_hooks_are_in_containers_too(root: Path) -> None:
    environment = Container(MINI, runtime="podman")
    with Cluster("slurm", root=root, environment=environment, callbacks=[Notes()]):
        job = place()
        gathered: object = job.result(timeout=100)
        assert gathered == [(0, 2, "/usr/local"), (1, 2, "/usr/local")]
        told = ["begin in /usr/local", "completed in /usr/local"]  # the last one after the result is there
        until(lambda: [line for line in job.logs().splitlines() if " in " in line] == told)
