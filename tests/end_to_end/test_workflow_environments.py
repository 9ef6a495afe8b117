"""Workflows and environments on the real Slurm: in a container themselves, and with tasks in others than their own."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, Container, Modules, Python, Wheel, task, workflow
from slurm.errors import ConfigurationError, SchedulerNotFound
from testbed.containers import MINI, ContainerTestbed
from testbed.programs import find_program, plugin_directory
from testbed.slurm import SlurmTestbed

pytestmark = pytest.mark.slurm


@task
def where(number: int) -> tuple[int, str]:
    return number, sys.prefix


@task
def around() -> tuple[str, str | None, str | None]:
    return sys.prefix, os.environ.get("SET"), os.environ.get("LOADEDMODULES")


@workflow
def two_steps() -> list[tuple[int, str]]:
    first = where(1)
    return [*where.map([first.result()[0] + 1]).results(), (0, sys.prefix)]


def test_a_workflow_in_a_container_submits_by_the_client_that_is_mounted(
    slurm_env: SlurmTestbed, containers: ContainerTestbed, root: Path
) -> None:
    environ: dict[str, str | None] = dict.fromkeys(("HOME", *containers.env))
    image = Container(MINI, runtime="podman", env=environ)
    with Cluster("slurm", root=root, environment=image), pytest.raises(SchedulerNotFound) as caught:
        two_steps().result(60)
    assert "in its container there is no env, sbatch, squeue, scancel, scontrol. Have the tasks in" in str(caught.value)

    client = Path(find_program("sbatch") or "").parent
    libraries = next(Path("/usr/lib").glob("*-linux-gnu"))  # an installed Slurm's own are in a directory there
    unpacked = plugin_directory()
    places = {Path("/usr/bin"), libraries, unpacked.parent if unpacked else client}
    mounts = [str(slurm_env.directory), *(f"{place}:{place}:ro" for place in places)]
    environ["PATH"] = f"/usr/local/bin:{client}:/usr/bin:/bin"
    mounted = Container(MINI, runtime="podman", env=environ, mounts=mounts)
    with Cluster("slurm", root=root, environment=mounted):
        job = two_steps()
        assert job.result(100) == [(2, "/usr/local"), (0, "/usr/local")]
    assert [child.key.partition("/")[0] for child in job.children()] == ["where", "where"]


@workflow
def each(environments: list[Any]) -> list[object]:
    found: list[object] = []
    for environment in environments:
        try:
            found.append(around.with_options(environment=environment)().result())
        except ConfigurationError as error:
            found.append(str(error))
    return found


@pytest.mark.skipif(not Path("/usr/share/modules/init/bash").exists(), reason="Environment Modules is not installed")
def test_tasks_of_a_workflow_may_each_have_an_environment_of_their_own(
    slurm_env: SlurmTestbed, containers: ContainerTestbed, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    (tmp_path / "modulefiles").mkdir()
    (tmp_path / "modulefiles/ours").write_text("#%Module\n")
    monkeypatch.setenv("MODULEPATH", str(tmp_path / "modulefiles"))
    image = f"{containers.registry}/of-a-task:1"
    containers.run("podman", "push", "--quiet", "--tls-verify=false", MINI, image)
    container = Container(image, runtime="podman", env={"SET": None, "LOADEDMODULES": None})
    environments = [Python(str(python)), Modules("ours"), container, [Modules("ours"), container], Wheel(tmp_path)]
    with Cluster("slurm", root=root, setup=["export SET=up"]):
        *found, refused = each(environments).result(100)
    assert found == [
        (str(tmp_path / "venv"), "up", None),
        (sys.prefix, "up", "ours"),
        ("/usr/local", "up", None),
        ("/usr/local", "up", "ours"),
    ]
    words = f"{tmp_path} is not a project: it has no pyproject.toml (a workflow prepares the environments of its tasks"
    assert words in str(refused)
