"""Dry runs of each kind of call change no file: not under the root, in the cache, or in the working directory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from projects import project
from slurm import Cluster, Container, Modules, Wheel, command, task, workflow
from slurm.cli.main import slurm
from testbed.containers import MINI, ContainerTestbed

MODULES = Path("/usr/share/modules/init/bash")


@task(time="5", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@task
def first(values: list[int]) -> int:
    return values[0]


@workflow
def flow(x: int) -> int:
    return square(x).result()


def contents(*directories: Path) -> dict[str, tuple[int, str]]:
    """The mode, and the digest or the target, of all entries below some directories."""
    found = {}
    for path in (path for directory in directories for path in directory.rglob("*")):
        data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = path.lstat().st_mode, hashlib.sha256(data).hexdigest()
    return found


def test_dry_runs_leave_all_files_as_they_are(
    cluster: Cluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("settings.txt").write_text("settings")
    program = command("cat settings.txt", files=["settings.txt"])
    values = cluster.put([3, 1, 2])
    job = square(2)
    assert job.result(90) == 4
    watched = root, here, Path(os.environ["XDG_CACHE_HOME"])
    before = contents(*watched)
    assert any(name.endswith("settings.txt") for name in before)
    for offline in (False, True):
        cluster.plan(square, [(1,), (2,)], offline=offline)
        cluster.plan(square.with_options(chunk_size=2), [(1,), (2,), (3,)], offline=offline)
    for plan in (square.plan(3), square.plan(job), first.plan(values), flow.plan(3), program.plan()):
        assert plan.script
    assert square.with_options(reuse=True).plan(3).script
    assert square.after(job).plan(3).dependencies == ()  # it has ended
    id_ = str(job.job_id).partition("_")[0]
    for offline in (False, True):
        outside = cluster.plan(square.after(id_), [(3,)], offline=offline)
        assert outside.dependencies == (f"afterok:{id_}",)
        assert f"asked for at the submission: jobs {id_}" in outside.notes
    assert cluster.script(square)
    assert [found.key for found in Cluster(cluster.url, root=root).jobs()] == [job.key]
    job.logs()
    assert job.files() == []
    assert contents(*watched) == before


def test_dry_runs_in_an_environment_make_nothing(
    cluster: Cluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project(tmp_path / "own", "own", "")
    (tmp_path / "house").mkdir()
    modules = tmp_path / "modulefiles"
    modules.mkdir()
    (modules / "ours").write_text("#%Module\nsetenv OURS 1\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    wheel = Wheel(source, wheelhouse=tmp_path / "house")
    cluster = Cluster(cluster.url, setup=[f"export MODULEPATH='{modules}'"])
    of_wheel = square.with_options(environment=wheel).on(cluster)
    of_modules = square.with_options(environment=Modules("ours")).on(cluster)
    watched = tmp_path, Path(os.environ["XDG_CACHE_HOME"])
    before = contents(*watched)
    for offline, name in ((False, "to be made: wheel-"), (True, "to be made: ")):
        assert cluster.plan(of_wheel, [(2,), (3,)], offline=offline).environment.key.startswith(name)
    if MODULES.exists():
        assert "ours" in of_modules.plan(2).script
    assert "Modules('ours')" in str(cluster.plan(of_modules, [(2,)], offline=True))
    assert contents(*watched) == before
    assert not root.exists()
    assert of_wheel(2).result(90) == 4
    key = of_wheel.plan(3).environment.key
    before = contents(*watched)
    assert of_wheel.plan(3).environment.key == key
    arguments = ["envs", "gc", cluster.url, "--days", "0", "--dry-run"]
    done = CliRunner().invoke(slurm, arguments)
    assert (done.exit_code, key in done.output) == (0, True)
    for reading in (["envs", "list"], ["jobs"]):
        assert CliRunner().invoke(slurm, [*reading, cluster.url]).exit_code == 0
    assert contents(*watched) == before


def test_dry_runs_in_a_container_pull_and_build_nothing(
    local: Cluster, containers: ContainerTestbed, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"{containers.registry}/dry:1"
    containers.run("podman", "push", "--quiet", "--tls-verify=false", MINI, image)
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Containerfile").write_text(f"FROM {MINI}\nRUN touch /made\n")
    monkeypatch.chdir(tmp_path)
    kinds = Container(image, runtime="podman"), Container(context=tmp_path / "context", runtime="podman")
    images = containers.run("podman", "images", "--all", "--quiet", "--no-trunc")
    watched = tmp_path, Path(os.environ["XDG_CACHE_HOME"])
    before = contents(*watched)
    for kind in kinds:
        of = square.with_options(environment=kind)
        assert of.plan(3).environment.key.startswith("to be made: container-")
        assert local.plan(of, [(3,)], offline=True).script
    assert containers.run("podman", "images", "--all", "--quiet", "--no-trunc") == images
    assert contents(*watched) == before
    assert not root.exists()
