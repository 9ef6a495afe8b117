"""Containers without a scheduler: what is prepared runs, is made once, and what can't be is told beforehand."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from contracts.test_environments import EnvironmentContract
from slurm import Container
from slurm.environments.base import BuildTarget, Environment, is_made
from slurm.environments.current import TAG, Python
from slurm.errors import BuildFailed, EnvironmentNotReady, PythonNotFound
from slurm.transports.local import LocalTransport
from testbed.containers import BARE, MINI, ContainerTestbed

PREPARES = """\
import logging, sys
from slurm import Container
from slurm.environments.base import BuildTarget
from slurm.transports.local import LocalTransport
logging.basicConfig(level="INFO", stream=sys.stderr)
print(Container(context=sys.argv[2], runtime="podman").prepare(BuildTarget.at(LocalTransport(), sys.argv[1])).image)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildTarget:
    """A place on this machine, which podman's command line can be had of."""
    monkeypatch.chdir(tmp_path)
    return BuildTarget.at(LocalTransport(), str(tmp_path / "root"))


def context(directory: Path, *lines: str) -> Path:
    """A directory with a Containerfile that goes on from the image with this Python."""
    directory.mkdir()
    (directory / "Containerfile").write_text("\n".join([f"FROM {MINI}", *lines, ""]))
    return directory


def pushed(containers: ContainerTestbed, image: str, name: str, registry: str = "") -> str:
    """The reference of an image that is in a registry then."""
    reference = f"{registry or containers.registry}/{name}"
    containers.run("podman", "push", "--quiet", "--tls-verify=false", image, reference)
    return reference


class TestContainer(EnvironmentContract):
    @pytest.fixture
    def environment(self, containers: ContainerTestbed) -> Environment:
        return Container(pushed(containers, MINI, "contract:1"), runtime="podman")


def test_image_is_built_once_by_eight_processes(containers: ContainerTestbed, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", PREPARES, str(tmp_path / "root"), str(context(tmp_path / "context"))]
    running = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(8)
    ]
    outputs = [process.communicate(timeout=100) for process in running]
    assert [process.returncode for process in running] == [0] * 8, outputs
    assert len({output for output, _ in outputs}) == 1
    assert "".join(errors for _, errors in outputs).count(": building ") == 1


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        ("nothing:1", EnvironmentNotReady, "manifest unknown"),
        (BARE, PythonNotFound, "has no python3"),
        ("arm:1", EnvironmentNotReady, "is for linux/arm64, but the cluster is linux/amd64"),
    ],
)
def test_unusable_image_is_an_error_at_submission(
    containers: ContainerTestbed, place: BuildTarget, image: str, error: type[Exception], words: str
) -> None:
    if image == "arm:1":
        tar = str(containers.directory / "bare.tar")
        containers.run("podman", "import", "--quiet", "--arch", "arm64", tar, "localhost/arm:1")
        pushed(containers, "localhost/arm:1", image)
    reference = image if image.startswith("localhost/") else f"{containers.registry}/{image}"
    with pytest.raises(error, match=words):
        Container(reference, runtime="podman").prepare(place)


def test_image_without_python_is_the_environment_of_a_program(containers: ContainerTestbed, place: BuildTarget) -> None:
    of_program, image = replace(place, for_program=True), containers.static_image()
    without = Container(image, runtime="podman")
    with pytest.raises(PythonNotFound, match="has no python3"):
        without.prepare(place)
    assert not is_made(without.planned(of_program))
    prepared = without.prepare(of_program)
    assert (prepared.launch, prepared.python) == ((), Python(sys.executable).prepare(place).python)
    assert without.planned(of_program) == prepared
    done = LocalTransport().run(["bash", prepared.program or "", "/program", "out", "a  b", "status", "5"])
    assert (done.status, done.stdout) == (5, "a  b\n")
    with pytest.raises(PythonNotFound, match="has no python3"):
        without.prepare(place)
    with pytest.raises(PythonNotFound, match="has no python3"):
        without.planned(place)
    assert Container(MINI, runtime="podman").prepare(of_program).program is None
    chosen = Container(MINI, runtime="podman", python=None)
    assert chosen.prepare(of_program).program
    with pytest.raises(PythonNotFound, match="for programs of commands only"):
        chosen.prepare(place)


def test_image_with_another_python_is_an_error(
    containers: ContainerTestbed, place: BuildTarget, tmp_path: Path
) -> None:
    built = context(tmp_path / "old", "COPY --chmod=755 old /usr/local/bin/python3.0")
    (built / "old").write_text("#!/bin/sh\necho Python 3.0\n")
    with pytest.raises(PythonNotFound, match=rf"has Python 3\.0, and this program runs on Python {TAG}"):
        Container(context=built, runtime="podman", python="python3.0").prepare(place)


def test_image_that_does_not_build_is_an_error(
    containers: ContainerTestbed, place: BuildTarget, tmp_path: Path
) -> None:
    broken = context(tmp_path / "broken", """RUN ["python3", "-c", "raise SystemExit('for this ' + 'reason')"]""")
    with pytest.raises(BuildFailed, match=r"(?s)cannot build .*Containerfile .*for this reason") as caught:
        Container(dockerfile=broken / "Containerfile", runtime="podman").prepare(place)
    assert caught.value.log is not None
    assert "for this reason" in Path(caught.value.log).read_text()


def test_registry_that_requires_a_login_is_an_error(
    containers: ContainerTestbed, place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = containers.new_registry(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    (tmp_path / "auth.json").write_text("{}")
    sent = Container(MINI, registry=registry, runtime="podman")
    with pytest.raises(BuildFailed, match=r"(?s)cannot push.*authentication required"):
        sent.prepare(place)
    with pytest.raises(EnvironmentNotReady, match=r"authentication required.*log in"):
        Container(f"{registry}/mini:1", runtime="podman").prepare(place)
    login = {"auth": base64.b64encode(b"ann:secret").decode()}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry: login}}))
    image = sent.prepare(place).image
    assert image is not None
    assert image.startswith(f"{registry}/mini@sha256:")
    assert Container(f"{registry}/mini:1", runtime="podman").prepare(place).image == image


def test_missing_container_runtime_is_an_error(
    containers: ContainerTestbed, place: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("bash", "sh", "uname", "id", "grep", "srun"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(EnvironmentNotReady, match="no container runtime found"):
        Container(f"{containers.registry}/mini").prepare(place)


def test_disk_without_space_for_an_image_is_an_error(
    containers: ContainerTestbed, place: BuildTarget, tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = pushed(containers, MINI, "large:1")
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{disk}/graph"\nrunroot = "{disk}/run"\n'
    (tmp_path / "storage.conf").write_text(storage)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("TMPDIR", str(disk))
    with pytest.raises(EnvironmentNotReady, match="no space left on device"):
        Container(reference, runtime="podman").prepare(place)
