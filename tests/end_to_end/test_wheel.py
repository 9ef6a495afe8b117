"""The user's own project, on nodes that have neither it nor what it needs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from projects import project, wheel
from slurm import Cluster, JobArray, Python, Wheel, task
from slurm.environments.base import BuildListener
from slurm.errors import BuildFailed, ConfigurationError

CODE = """\
    import lacking
    from slurm import Wheel, task, workflow

    VERSION = 1

    def helper(x):
        return [x, VERSION, lacking.ANSWER, __file__]

    @task
    def compute(x):
        return helper(x)

    @workflow
    def several(project, house):
        own = compute.with_options(environment=Wheel(project, wheelhouse=house))
        return [own(1).result(), compute(2).result()]
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A directory of wheels, with the dependency that nobody has."""
    wheel(tmp_path / "house", "lacking", "ANSWER = 42\n")
    return tmp_path / "house"


@pytest.fixture
def training(tmp_path: Path) -> Path:
    return project(tmp_path / "a project", "training", CODE, requires=("lacking>=1",))


@pytest.fixture
def module(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The project's module as a working copy; this machine has another version of the dependency."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "lacking.py").write_text("ANSWER = -1\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    monkeypatch.syspath_prepend(training / "src")
    monkeypatch.setenv("PYTHONPATH", str(training / "src"))
    yield importlib.import_module("training")
    for name in ("training", "lacking"):
        del sys.modules[name]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the environments that are made."""
    keys: list[str] = []
    monkeypatch.setattr(BuildListener, "begin", lambda self, key: keys.append(key))
    return keys


def test_a_project_and_what_the_nodes_lack_is_installed_once_for_all(
    cluster: Cluster, module: ModuleType, training: Path, house: Path, made: list[str]
) -> None:
    compute = module.compute.with_options(environment=Wheel(training, wheelhouse=house))
    array: JobArray[list[object]] = compute.map(range(20))
    single = compute(7)
    results = array.results(120)
    assert [result[:3] for result in results] == [[x, 1, 42] for x in range(20)]
    environment = array[0]._place.store.records(array.key).submission.environment
    assert single.result(120)[3] == results[0][3] != module.__file__
    outcome = single.status().outcome
    assert outcome is not None
    assert (outcome.interpreter, outcome.distributions) == (environment.python, environment.digest)
    assert (environment.packages, environment.modules) == (("training==1.2",), ("training",))
    assert made == [environment.key, environment.below]


def test_what_is_queued_has_the_code_of_its_submission(
    local: Cluster, module: ModuleType, training: Path, house: Path, tmp_path: Path, made: list[str]
) -> None:
    @task
    def wait(path: str) -> None:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    compute = module.compute.with_options(environment=Wheel(training, wheelhouse=house))
    queued = compute.after(wait(str(tmp_path / "gate")))(1)
    source = training / "src" / "training" / "__init__.py"
    source.write_text(source.read_text().replace("VERSION = 1", "VERSION = 2"))
    edited = compute(1)
    (tmp_path / "gate").touch()
    assert (queued.result(60)[1], edited.result(60)[1]) == (1, 2)
    source.write_text(source.read_text().replace("VERSION = 2", "VERSION = 1"))
    assert compute(1).result(60)[1] == 1
    assert [key.partition("-")[0] for key in made] == ["wheel", "dependencies", "wheel"]


def test_what_a_workflow_submits_runs_in_its_environment_though_no_source_is_there(
    local: Cluster, module: ModuleType, training: Path, house: Path, made: list[str]
) -> None:
    several = module.several.with_options(environment=Wheel(training, wheelhouse=house))
    job = several(str(training), str(house))
    training.rename(training.with_name("elsewhere"))
    assert [result[:3] for result in job.result(60)] == [[1, 1, 42], [2, 1, 42]]
    assert len(made) == 2  # its dependencies, and it


def test_pip_does_where_there_is_no_uv_with_extras_and_other_projects(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "house", "extra", "WHAT = 'extra'\n")
    wheel(tmp_path / "house", "asked", "WHAT = 'asked'\n")
    wheel(tmp_path / "house", "asked", "WHAT = 'too new'\n", version="2.0")
    (tmp_path / "lock.txt").write_text("asked==1.0\n")
    main = project(tmp_path / "main", "main", "", requires=("beside", "extra; extra == 'more'"))
    beside = project(tmp_path / "beside", "beside", "WHAT = 'beside'")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    base = Python(sys._base_executable)  # type: ignore[attr-defined]
    environment = Wheel(
        main,
        packages=beside,
        extras="more",
        dependencies="asked",
        lock=tmp_path / "lock.txt",
        find_links=str(tmp_path / "house"),
        wheelhouse=True,
    )

    @task(environment=[base, environment])
    def imported(*names: str) -> list[str]:
        return [importlib.import_module(name).WHAT for name in names]

    assert imported("beside", "extra", "asked").result(60) == ["beside", "extra", "asked"]
    with pytest.raises(ConfigurationError, match="must be the last"):
        imported.with_options(environment=[environment, base])("beside")


@pytest.mark.slurm
def test_it_is_installed_in_a_job_where_that_is_asked_for(
    slurm_env: object, root: Path, module: ModuleType, training: Path, house: Path
) -> None:
    with Cluster("slurm", root=root, environment=Wheel(training, wheelhouse=house, install_in="job")) as cluster:
        assert module.compute(1).result(60)[2] == 42
        assert {job.key.partition("/")[0] for job in cluster.jobs()} == {"run_here", "compute"}


def test_what_cant_be_built_or_installed_is_one_clear_error(local: Cluster, tmp_path: Path, house: Path) -> None:
    broken = project(tmp_path / "broken", "broken", "", building="sys.exit('the compiler is missing')")
    foreign = project(tmp_path / "foreign", "foreign", "", tag="cp399-cp399-macosx_99_0_arm64")
    nothing = project(tmp_path / "nothing", "nothing", "", requires=("no-such-thing>=1",))
    for directory, words in (
        (broken, ["could not be built", "the compiler is missing"]),
        (foreign, ["could not be installed", "a wheel is for another platform"]),
        (nothing, ["could not be installed", "check the name", "no-such-thing"]),
    ):
        with pytest.raises(BuildFailed) as caught:
            task(environment=Wheel(directory, wheelhouse=house))(print)("x")
        for word in words:
            assert word in str(caught.value)
        log = str(caught.value.log)
        assert f"output is in {log}" in str(caught.value)
        assert Path(log).read_text().strip()[-20:] in caught.value.output
    assert local.jobs() == []


def test_where_there_is_no_project_it_says_so(local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for environment, words in (
        (Wheel(), "there is no pyproject.toml"),
        (Wheel("nowhere"), "nowhere is not a project"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            task(environment=environment)(print)("x")


def test_a_password_in_an_url_is_refused_since_it_would_be_kept() -> None:
    with pytest.raises(ConfigurationError, match="contains a password") as caught:
        Wheel(index_url="https://me:secret@index/simple")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="contains a password"):
        Wheel(find_links=["https://token@index/wheels"])
    with pytest.raises(ConfigurationError, match="contains a password"):
        Wheel(dependencies=["mine @ git+https://token@host/mine"])
    assert Wheel(dependencies=["mine @ git+ssh://git@host/mine"])
