"""Fixtures that all tests share."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from matrix import MARK
from slurm import Cluster
from slurm.places import place as places
from slurm.schedulers.grid_engine import GridEngineScheduler
from slurm.schedulers.local_queue import client
from slurm.schedulers.slurm import SlurmScheduler
from slurm.storage.runner_zip import bundle
from timing import set_timings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.testing import InlineCluster

pytest_plugins = ["testbed.fixtures", "slurm.testing.plugin"]  # its entry point may not be installed yet


MOST_WORKERS = 8


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two a CPU, because tests wait more than they compute; files that are picked run in this process."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS or any(map(os.path.isdir, config.args))
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS) if whole else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name in reports the tests that need a real Slurm: `matrix` counts them."""
    for item in items:
        if item.get_closest_marker(MARK):
            item.user_properties.append((MARK, "1"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at all modules and items again and again: they live until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what is in the background with SIGINT ignored, and all that a test starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A cache of this process. It has the runner's zip, which takes seconds and is built once for all processes."""
    own = tmp_path_factory.mktemp("cache")
    if worker_id == "master":
        return own
    shared = tmp_path_factory.getbasetemp().parent / "cache"
    with FileLock(f"{shared}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared))
        bundle()
    return shutil.copytree(shared, own, dirs_exist_ok=True)


@pytest.fixture(scope="session", autouse=True)
def own_machine(own_cache: Path) -> Iterator[None]:
    """A local scheduler and a cache of this session's own: nothing of the user's is touched, nothing is left."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-tests-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURMTASKS_LOCAL_DIR", str(directory / "local"))
        patch.setenv("SLURMTASKS_LOCAL_CPUS", "4")
        patch.setenv("XDG_CACHE_HOME", str(own_cache))
        patch.setattr(SlurmScheduler, "patience", (0.5, 3.0))  # seconds: these controllers are asked by nobody else
        patch.setattr(GridEngineScheduler, "patience", (0.5, 2.0))
        patch.setattr(GridEngineScheduler, "flush", 2.0)  # seconds: the testbed's qmaster writes its accounting at once
        for name in ("SCRATCH", "WORK"):
            patch.delenv(name, raising=False)
        yield
        with contextlib.suppress(OSError):
            client.stop()
    shutil.rmtree(directory, ignore_errors=True)  # the supervisor takes its socket with it


@pytest.fixture(autouse=True)
def process_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that changes what all code of a process shares fails itself, and not tests that run after it."""
    before = _shared_state()
    yield
    _forget_jobs(request.node.funcargs.get("tmp_path"))
    assert _shared_state() == before


def _forget_jobs(directory: Path | None) -> None:
    """Forget the places in a test's directory, and inline clusters that have ended, and follow no jobs there.

    A job that a test leaves would be asked for until the session ends, and its cluster may be gone: warnings would be
    logged in other tests.
    """
    for spec, place in tuple(places._places.items()):
        root = Path(place.url.root or "/")
        removed = place.url.scheduler == "inline" and not root.exists()
        if removed or (directory and root.is_relative_to(directory)):
            del places._places[spec]
            if place.known_registry:
                place.known_registry._states.clear()
    for thread in threading.enumerate():
        if thread.name == "slurm-poll" and thread.is_alive():  # one that is about to start cannot be joined
            thread.join(10)


def _shared_state() -> dict[str, object]:
    """Not `sys.path`: a command adds the directory of the users' modules, and many tests run commands here."""
    ours = logging.getLogger("slurm")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "logging": (logging.root.manager.disable, ours.disabled, ours.level, ours.propagate, list(ours.handlers)),
        "directory": os.getcwd(),
        "umask": status["Umask"],
        "gc": gc.isenabled(),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)},
        "hook": sys.excepthook,
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root for job directories, with a space and an accent in its path."""
    return tmp_path / "job röot"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root, who alone may mount one")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "none", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end without an outcome is believed after two seconds: the file systems here show new files at once."""
    set_timings(monkeypatch, unexplained_grace=2.0)


@pytest.fixture
def inline(slurm_inline: InlineCluster) -> InlineCluster:
    """A cluster in this process, active, and the failures that it plays."""
    return slurm_inline


@pytest.fixture
def local(root: Path) -> Iterator[Cluster]:
    """A cluster on this machine, active."""
    with Cluster("local", root=root) as cluster:
        yield cluster


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def place(request: pytest.FixtureRequest, root: Path) -> Iterator[Cluster]:
    """A cluster whose files this process sees."""
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    with Cluster(request.param, root=root) as cluster:
        yield cluster


@pytest.fixture
def wide_local(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster on this machine that runs twelve calls at a time, and ends them with the test."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-wide-"))
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(directory))
    monkeypatch.setenv("SLURMTASKS_LOCAL_CPUS", "12")
    with Cluster("local", root=root) as cluster:
        yield cluster
    client.stop()
    shutil.rmtree(directory, ignore_errors=True)  # the supervisor takes its socket with it


GRID_ENGINE = "SLURMTASKS_TEST_GRID_ENGINE"
"""With 1, tests of a `cluster` run on a real Grid Engine only; `nox -s grid_engine` sets it."""
SLURMREST = "SLURMTASKS_TEST_SLURMREST"
"""If this variable is 1, tests with a `cluster` run only through a real slurmrestd. `nox -s slurmrest` sets it."""
EVERY_URL = "SLURMTASKS_TEST_EVERY_URL"
"""With 1, each test of a `cluster` runs on `local`, on `slurm` and over SSH."""
URLS = ("local", "slurm", "slurm+ssh://box")
MORE_URLS = ("local+ssh://box", "slurm+paramiko://box")
OF_CALLS = ("test_calls", "test_errors")
"""The modules whose tests of a `cluster` run on all URLs; each of the others', of what lies above calls, on one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of a `cluster` on URLs."""
    if "cluster" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        urls = [*URLS, *MORE_URLS] if module in OF_CALLS else URLS if os.environ.get(EVERY_URL) == "1" else []
        urls = urls or [URLS[zlib.crc32(metafunc.function.__name__.encode()) % len(URLS)]]
        urls = ["sge"] if os.environ.get(GRID_ENGINE) == "1" else urls
        urls = ["slurmrest"] if os.environ.get(SLURMREST) == "1" else urls
        marks = {True: [pytest.mark.slurm], False: []}
        params = [pytest.param(url, marks=marks[url.startswith("slurm")]) for url in urls]
        metafunc.parametrize("cluster", params, indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, root: Path) -> Iterator[Cluster]:
    """The active cluster of a test that runs on every URL."""
    if request.param == "slurmrest":
        request.getfixturevalue("slurmrest")
    elif request.param.startswith("slurm"):
        request.getfixturevalue("slurm_env")
    if request.param == "sge":
        request.getfixturevalue("grid_engine")
    if "+" in request.param:
        request.getfixturevalue("ssh_env")
    with Cluster(request.param, root=root) as found:
        yield found
