"""Setup lines and modules: a job runs in all of it, or not at all."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from slurm import Cluster, task
from slurm.environments.setup import load_modules
from slurm.errors import PythonNotFound, SetupFailed
from slurm.transports.local import LocalTransport

INIT = Path("/usr/share/modules/init/bash")


@task
def variables(*names: str) -> list[str | None]:
    import os

    return [os.environ.get(name) for name in names]


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    return str(request.param)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modules, for the real Environment Modules, and a shell that has no `module` yet."""
    if not INIT.exists():
        pytest.skip("Environment Modules is not installed: apt-get install environment-modules")
    directory = tmp_path / "modulefiles"
    (directory / "gcc").mkdir(parents=True)
    (directory / "gcc" / "12").write_text("#%Module\nsetenv GCC twelve\n")
    (directory / "broken").write_text('#%Module\nerror "this module is broken"\n')
    for name in [name for name in os.environ if name.startswith(("MODULE", "LMOD", "BASH_FUNC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MODULEPATH", str(directory))
    return directory


def test_what_the_setup_exports_a_task_has(url: str, root: Path) -> None:
    with Cluster(url, root=root, setup=["A='x  y'", "export A B=2"]):
        assert variables("A", "B").result(60) == ["x  y", "2"]


def test_a_job_with_a_setup_is_the_same_after_pickling_and_runs_again_in_it(url: str, root: Path) -> None:
    with Cluster(url, root=root, setup=["export A=1"]):
        job = variables("A")
    again = pickle.loads(pickle.dumps(job))
    assert (again, again.result(60), again.retry().result(60)) == (job, ["1"], ["1"])


def test_a_setup_line_that_fails_is_a_typed_error_with_its_words(url: str, root: Path) -> None:
    with Cluster(url, root=root, setup=["true", "ls /no/such/place"]):
        error = variables.map(["A", "B"]).exceptions(60)[1]
    assert isinstance(error, SetupFailed)
    assert "was not run: its setup failed" in str(error)
    assert "/no/such/place" in str(error)
    assert "setup: failed with status 2 at: ls /no/such/place" in str(error)


def test_modules_are_loaded_in_a_shell_that_has_none(url: str, root: Path, modules: Path, tmp_path: Path) -> None:
    (tmp_path / "Slurmfile").write_text(
        f"clusters: {{a: {{url: {url}, root: '{root}', modules: [gcc/12], setup: 'export B=\"$GCC\"'}},"
        f" b: {{extends: a, modules: broken}}, c: {{extends: a, modules: nope/1}}}}"
    )
    with Cluster.from_slurmfile("a", path=tmp_path / "Slurmfile"):
        assert variables("GCC", "B", "LOADEDMODULES").result(60) == ["twelve", "twelve", "gcc/12"]
    for name, words in (("b", "this module is broken"), ("c", "nope/1")):
        with Cluster.from_slurmfile(name, path=tmp_path / "Slurmfile"):
            error = variables("GCC").exception(60)
        assert isinstance(error, SetupFailed)
        assert words in str(error)


def test_without_a_module_command_it_says_so(root: Path, tmp_path: Path) -> None:
    steps = [step.replace("/etc", "/no").replace("/usr", "/no") for step in load_modules(["gcc"])]
    with Cluster(root=root, setup=["unset MODULESHOME LMOD_PKG; unset -f module", *steps]):
        error = variables().exception(60)
    assert isinstance(error, SetupFailed)
    assert "there is no module command on" in str(error)


def test_a_python_that_the_setup_brings_is_found(root: Path, tmp_path: Path) -> None:
    import sys

    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "my-python").symlink_to(sys.executable)
    with Cluster(root=root, python="my-python", setup=[f"PATH={programs}:$PATH"]):
        assert variables().result(60) == []
    with (
        Cluster(root=root, python="my-python", setup=["echo no luck >&2; false"]),
        pytest.raises(PythonNotFound, match="no luck"),
    ):
        variables()


def test_a_python_in_the_home_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from slurm import Python
    from slurm.environments.base import BuildTarget

    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Python("~/python").prepare(BuildTarget.at(LocalTransport(), str(tmp_path))).python == f"{tmp_path}/python"


# No conda is to be had for tests: this does what its manual says of `conda shell.posix hook` and `conda activate`.
STAND_IN_FOR_CONDA = """\
#!/bin/sh
[ "$*" = "shell.posix hook" ] || { echo "run conda init" >&2; exit 1; }
cat <<'END'
conda() {
    [ -d ~/miniforge3/envs/"$2" ] || { echo "EnvironmentNameNotFound: $2" >&2; return 1; }
    export PATH=~/miniforge3/envs/"$2"/bin:$PATH CONDA_DEFAULT_ENV="$2"
}
END
"""


def test_a_conda_environment_is_activated_in_a_shell_that_has_no_conda(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from slurm import Conda, Modules

    programs = tmp_path / "miniforge3" / "envs" / "training" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    conda = tmp_path / "miniforge3" / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(STAND_IN_FOR_CONDA)
    conda.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    here = variables.with_options(environment=Conda("training"))
    with Cluster(root=root):
        job = here("CONDA_DEFAULT_ENV")
        assert job.result(60) == ["training"]
        outcome = job.status().outcome
        assert outcome is not None
        assert outcome.interpreter == f"{programs}/python"
        with pytest.raises(PythonNotFound, match="EnvironmentNameNotFound: other"):
            here.with_options(environment=Conda("other"))()
        conda.unlink()
        for environment in (Conda("mine"), [Modules("no/such/module"), Conda("mine")]):
            with pytest.raises(PythonNotFound, match=r"there is no conda command|no/such/module|there is no module"):
                here.with_options(environment=environment)()


@pytest.mark.parametrize("python", [None, "an old Python"])
def test_a_program_runs_in_a_conda_environment_without_a_python_for_the_runner(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str | None
) -> None:
    from slurm import Conda, command

    programs = tmp_path / "miniforge3" / "envs" / "tools" / "bin"
    conda = tmp_path / "miniforge3" / "bin" / "conda"
    scripts = {conda: STAND_IN_FOR_CONDA, programs / "solve": "#!/bin/sh\necho $CONDA_DEFAULT_ENV > out\n"}
    if python:
        scripts |= dict.fromkeys((programs / "python", programs / "python3"), "#!/bin/sh\necho 2.7\n")
    for path, text in scripts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # whose Python may be another version
    with Cluster(root=root):
        solve = command("solve", products="out", environment=Conda("tools"))
        assert solve().result(60).products[0].read_text() == "tools\n"
        if python:
            with pytest.raises(PythonNotFound):
                variables.with_options(environment=Conda("tools"))("PATH")
        with pytest.raises(PythonNotFound, match="EnvironmentNameNotFound: other"):
            solve.with_options(environment=Conda("other"))()
