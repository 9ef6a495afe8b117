"""Environments as values: where they may be named, which one counts, how they are combined."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from slurm import Cluster, Conda, Current, Modules, Python, task
from slurm.environments.base import BuildTarget, Environment, Interpreter, prepare_all
from slurm.environments.setup import load_modules
from slurm.environments.wheel_building import run
from slurm.errors import BuildFailed, ConfigurationError, SlurmfileError
from slurm.protocol import ResolvedEnvironment
from slurm.slurmfile import load
from slurm.transports.local import LocalTransport


@task(environment=[Modules("cuda/12"), Python("/p")], mem="1G")
def special() -> None:
    """A task with an environment of its own."""


class Asked(Environment):
    """Tells which interpreter it would have looked for."""

    def prepare(self, place: BuildTarget) -> ResolvedEnvironment:
        return ResolvedEnvironment(
            key="k", python=place.interpreter.python or "-", tag="t", setup=place.interpreter.setup
        )


def test_environments_are_values() -> None:
    assert Modules("a", "b") == Modules("a", "b") != Modules("b", "a")
    assert len({Current(), Current(), Python("p"), Conda("p"), Conda("p")}) == 3
    assert repr([Modules("a"), Conda("b"), Python("c"), Current()]) == (
        "[Modules('a'), Conda('b'), Python('c'), Current()]"
    )
    assert pickle.loads(pickle.dumps(Modules("a"))) == Modules("a")


def test_a_task_keeps_its_environment_in_copies_and_pickles() -> None:
    own = (Modules("cuda/12"), Python("/p"))
    for copy in (special, special.with_options(mem="2G"), special.after(), pickle.loads(pickle.dumps(special))):
        assert copy.terms.environment == own
    assert special.with_options(environment=Current()).terms.environment == (Current(),)
    assert special.with_options(environment=None).terms.environment == ()


@pytest.mark.parametrize("wrong", ["wheel", Conda, 3, [Current(), None]])
def test_what_is_no_environment_is_refused_where_it_is_written(wrong: Environment) -> None:
    for write in (lambda: Cluster(environment=wrong), lambda: task(environment=wrong)):
        with pytest.raises(ConfigurationError, match="expected an environment"):
            write()


def test_each_of_a_list_is_on_top_of_those_before() -> None:
    place = BuildTarget.at(LocalTransport(), "/root", Interpreter("python3", ("export A=1",)))
    found = prepare_all([Modules("m"), Python("/p"), Asked()], place)
    assert (found.python, found.setup) == ("/p", ("export A=1", *load_modules(["m"])))
    assert prepare_all([Python("/p"), Conda("e"), Asked()], place).python == "python"
    with pytest.raises(ConfigurationError, match=r"Asked\(\) must be the last"):
        prepare_all([Asked(), Current()], place)


@pytest.mark.parametrize(
    ("text", "environments"),
    [
        ("current", (Current(),)),
        ("~", ()),
        ("{conda: training}", (Conda("training"),)),
        ("{conda: {environment: training}}", (Conda("training"),)),
        ("[{modules: [gcc/12, cuda/12]}, {python: '~/p'}]", (Modules("gcc/12", "cuda/12"), Python("~/p"))),
    ],
)
def test_a_slurmfile_names_environments_and_what_they_take(
    tmp_path: Path, text: str, environments: tuple[Environment, ...]
) -> None:
    path = tmp_path / "Slurmfile"
    shown = text if environments else "null"
    path.write_text(
        f"clusters: {{a: {{url: local, environment: {shown}}}, b: {{extends: a}},"
        " c: {extends: a, environment: current}}"
    )
    assert load("b", path).environment == Cluster.from_slurmfile("a", path=path).settings.environment == environments
    assert load("c", path).environment == (Current(),)
    [(value, cluster)] = [(s.value, s.cluster) for s in load("b", path).settings if s.key == "environment"]
    assert (value, cluster) == ((text.replace("'", ""), "a") if environments else ("current", None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modles", "there is no environment 'modles': did you mean 'modules'?"),
        ("{conda: {enviroment: x}}", "unknown key: did you mean 'environment'?"),
        ("{conda: x, current: null}", "expected one environment"),
        ("python", "missing 1 required"),
        ("modules", "name the modules to load"),
    ],
)
def test_an_environment_that_cant_be_is_a_line_of_the_slurmfile(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "Slurmfile"
    path.write_text(f"clusters:\n  a:\n    url: local\n    environment: {text}\n")
    with pytest.raises(SlurmfileError, match=r"line 4: clusters\.a\.environment") as caught:
        load("a", path)
    assert words in str(caught.value)


def test_a_python_that_is_named_from_here_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert Python("./python").prepare(BuildTarget.at(LocalTransport(), str(tmp_path))).python == f"{tmp_path}/./python"


def test_a_python_behind_a_shim_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "shims" / "python-of-a-project"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\n[ -f .python-version ] || exit 127\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    (tmp_path / ".python-version").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=":")
    for named in (shim.name, str(shim)):
        assert Python(named).prepare(BuildTarget.at(LocalTransport(), str(tmp_path))).python == sys.executable


def test_what_a_builder_prints_may_be_in_any_encoding(tmp_path: Path) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes([99, 255])); sys.exit(sys.argv[1])"
    log = tmp_path / "log"
    with pytest.raises(BuildFailed, match=r"(?s)failed.*c.missing"):
        run([sys.executable, "-c", program, "missing"], "failed", log)
    assert "missing" in log.read_text(encoding="utf-8")
