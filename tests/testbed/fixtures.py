"""A pytest plugin: what the `slurm` marker means and the fixtures that give a test a cluster.

A test so marked is skipped where there is no Slurm; with SLURMTASKS_REQUIRE_SLURM=1 it fails instead.
SLURMTASKS_TEST_SLURM=24.11 runs all of a session on that release of Slurm.

Load it with `pytest_plugins = ["testbed.fixtures"]` in the top conftest.py, or with `-p testbed.fixtures`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed import pbs_fake
from testbed.apptainer import apptainer_options, apptainer_path, missing_apptainer
from testbed.caches import CachedFiles, cannot_mount, missing_caches
from testbed.configless import ConfiglessMachine, cannot_be_configless
from testbed.containers import ContainerTestbed, missing_containers, missing_ids
from testbed.errors import SlurmTestbedError
from testbed.generations import VARIABLE, activate
from testbed.grid_engine import GridEngineTestbed
from testbed.programs import (
    missing,
    missing_accounting,
    missing_faketime,
    missing_memory_limits,
    missing_root,
    without_slurm,
)
from testbed.slurm import SlurmTestbed
from testbed.slurmrest import SlurmRestTestbed, hidden_slurmrestd, missing_slurmrestd
from testbed.sshd import SSHTestbed, missing_ssh, without_shell

SAME_IDS = {"FirstJobId": "1"}
"""The setting of clusters that give the same ids, as clusters of one accounting do."""
REQUIRE_VARIABLE = "SLURMTASKS_REQUIRE_SLURM"


def pytest_configure(config: pytest.Config) -> None:
    """Put the release of Slurm that the session is to run on first on PATH, for all of its processes."""
    if release := os.environ.get(VARIABLE):
        try:
            activate(release)
        except SlurmTestbedError as error:
            raise pytest.UsageError(f"{VARIABLE}={release}: {error}") from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test that needs Slurm before any fixture of it is set up."""
    if item.get_closest_marker("slurm"):
        _require(missing())


@pytest.fixture(scope="session")
def slurm_testbed() -> Iterator[SlurmTestbed]:
    """Give the two-node cluster that the whole session shares; leave it as it was found."""
    _require(missing())
    with SlurmTestbed() as testbed:
        yield testbed


@pytest.fixture
def slurm_env(slurm_testbed: SlurmTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmTestbed]:
    """Point this process at the shared cluster for one test; jobs that it leaves behind are cancelled."""
    _use(slurm_testbed, monkeypatch)
    yield slurm_testbed
    slurm_testbed.cancel_all()


@pytest.fixture(scope="session")
def grid_engine_testbed() -> Iterator[GridEngineTestbed]:
    """Give the Grid Engine that the whole session shares."""
    if os.geteuid() != 0:
        pytest.skip("Grid Engine needs root, who alone may mount its directories in a namespace")
    with GridEngineTestbed() as testbed:
        yield testbed


@pytest.fixture
def grid_engine(grid_engine_testbed: GridEngineTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[GridEngineTestbed]:
    """Point this process at the shared Grid Engine for one test; jobs that it leaves behind are cancelled."""
    for name, value in grid_engine_testbed.env.items():
        monkeypatch.setenv(name, value)
    yield grid_engine_testbed
    grid_engine_testbed.cancel_all()


@pytest.fixture(scope="session")
def slurmrest_testbed() -> Iterator[SlurmRestTestbed]:
    """Give a slurmrestd and its cluster with accounting, which all tests of the session share."""
    if os.geteuid() != 0:
        pytest.skip("slurmrestd refuses SlurmUser: only root may run it as another user")
    _require(missing() or missing_accounting() or missing_slurmrestd())
    if reason := hidden_slurmrestd():
        pytest.skip(reason)
    with SlurmRestTestbed(accounting=True) as testbed:
        yield testbed


@pytest.fixture
def slurmrest(slurmrest_testbed: SlurmRestTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmRestTestbed]:
    """Point this process at the shared slurmrestd for one test; jobs that it leaves behind are cancelled."""
    for name in os.environ.keys() - without_slurm(os.environ).keys():
        monkeypatch.delenv(name)
    for name, value in slurmrest_testbed.env.items():
        if name.startswith("SLURMTASKS_"):
            monkeypatch.setenv(name, value)
    yield slurmrest_testbed
    slurmrest_testbed.slurm.cancel_all()


@pytest.fixture(params=["openpbs", "torque"])
def fake_pbs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point this process at a fake PBS, and give its dialect; jobs that it leaves behind are deleted."""
    for name, value in pbs_fake.install(tmp_path / "fake pbs", dialect=request.param).items():
        monkeypatch.setenv(name, value)
    yield request.param
    left = subprocess.run(["qselect", "-u", "me"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["qdel", *left], capture_output=True, check=False)


@pytest.fixture(scope="session")
def testbed_pair() -> Iterator[tuple[SlurmTestbed, SlurmTestbed]]:
    """Give two clusters under one slurmdbd, `testbed` (n1, n2) and `other` (m1), that the whole session shares."""
    require(accounting=True)
    with SlurmTestbed(accounting=True, settings=SAME_IDS) as first, first.second_cluster(settings=SAME_IDS) as second:
        yield first, second


@pytest.fixture
def two_clusters(
    testbed_pair: tuple[SlurmTestbed, SlurmTestbed], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SlurmTestbed, SlurmTestbed]]:
    """Point this process at the first of the two shared clusters for one test; both are left without jobs.

    The second is reached by `-M other`, or by its own `env`. A test that breaks one of them starts a pair of its own:
    `first = new_testbed(accounting=True)` and `with first.second_cluster() as second`.
    """
    _use(testbed_pair[0], monkeypatch)
    yield testbed_pair
    for testbed in testbed_pair:
        testbed.cancel_all()


@pytest.fixture(scope="session")
def ssh_testbed(request: pytest.FixtureRequest) -> Iterator[SSHTestbed]:
    """Give the sshd that the whole session shares; whoever logs in can use the shared cluster, if there can be one."""
    _require(missing_ssh())
    if reason := without_shell():
        pytest.skip(reason)
    slurm = {} if missing() else request.getfixturevalue("slurm_testbed").env
    ours = {name: value for name, value in os.environ.items() if name.startswith("SLURMTASKS_")}
    with SSHTestbed(environment={"PATH": os.environ["PATH"], **ours, **slurm}) as testbed:
        yield testbed


@pytest.fixture
def ssh_env(ssh_testbed: SSHTestbed, monkeypatch: pytest.MonkeyPatch) -> SSHTestbed:
    """Have `box` be the name of the shared sshd for one test."""
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(ssh_testbed.config))
    return ssh_testbed


@pytest.fixture
def new_ssh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SSHTestbed]]:
    """Give a function that starts an sshd of the test's own, named `box`; it takes SSHTestbed's arguments."""
    _require(missing_ssh())
    if reason := without_shell():
        pytest.skip(reason)
    with ExitStack() as running:

        def start(**arguments: object) -> SSHTestbed:
            testbed = running.enter_context(SSHTestbed(**arguments))  # type: ignore[arg-type]
            monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(testbed.config))
            return testbed

        yield start


@pytest.fixture(scope="session")
def container_testbed() -> Iterator[ContainerTestbed]:
    """Give the images and the registry that the whole session shares; that a user has no ids only skips a test."""
    _require(missing_containers())
    if reason := missing_ids():
        pytest.skip(reason)
    with ContainerTestbed() as testbed:
        yield testbed


@pytest.fixture
def containers(container_testbed: ContainerTestbed, monkeypatch: pytest.MonkeyPatch) -> ContainerTestbed:
    """Have podman and its kin use the shared images for one test."""
    for name, value in container_testbed.env.items():
        monkeypatch.setenv(name, value)
    return container_testbed


@pytest.fixture
def apptainer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have apptainer on PATH for one test; gives the options that it needs here."""
    _require(missing_apptainer())
    monkeypatch.setenv("PATH", apptainer_path())
    return apptainer_options()


@pytest.fixture(scope="session")
def cached_cluster() -> Iterator[tuple[CachedFiles, SlurmTestbed]]:
    """Give a cluster whose nodes and client remember what they saw of shared files until the end of the session.

    So a test does not hang on how long: what is not looked for past the caches is never seen. Programs of a test run by
    `files.on_client`. That the user can't mount only skips a test.
    """
    if reason := cannot_mount():
        pytest.skip(reason)
    _require(missing() or missing_caches())
    with CachedFiles(3600) as files, SlurmTestbed(node_command=files.on_nodes) as testbed:
        yield files, testbed


@pytest.fixture
def configless_cluster() -> Iterator[tuple[ConfiglessMachine, SlurmTestbed]]:
    """Give a cluster whose nodes have no slurm.conf, and its machine, where a test's program runs by `inside`.

    That the user isn't root only skips a test.
    """
    if reason := cannot_be_configless():
        pytest.skip(reason)
    _require(missing())
    with (
        ConfiglessMachine() as machine,
        SlurmTestbed(configless=True, settings=machine.settings, node_command=machine.inside) as testbed,
    ):
        yield machine, testbed


@pytest.fixture
def new_testbed() -> Iterator[Callable[..., SlurmTestbed]]:
    """Give a function that starts a cluster of the test's own; it takes SlurmTestbed's arguments."""
    with ExitStack() as running:

        def start(**arguments: object) -> SlurmTestbed:
            require(**arguments)  # type: ignore[arg-type]
            return running.enter_context(SlurmTestbed(**arguments))  # type: ignore[arg-type]

        yield start


def require(
    *,
    speedup: float = 1,
    skew: object = None,
    accounting: bool = False,
    memory_limits: bool = False,
    **_others: object,
) -> None:
    """Skip or fail a test that wants a cluster with such arguments, where that can't be had.

    That the user isn't root only skips it, whatever is required: no package brings that.
    """
    _require(missing())
    if speedup != 1 or skew:
        _require(missing_faketime())
    if accounting:
        _require(missing_accounting())
    if memory_limits:
        if reason := missing_root():
            pytest.skip(reason)
        _require(missing_memory_limits())


def _use(testbed: SlurmTestbed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - without_slurm(os.environ).keys():
        monkeypatch.delenv(name)
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)


def _require(lacking: str | None) -> None:
    if lacking is None:
        return
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(f"{lacking} ({REQUIRE_VARIABLE}=1 forbids to skip this)", pytrace=False)
    pytest.skip(lacking)
