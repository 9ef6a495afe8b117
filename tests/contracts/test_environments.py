"""The environment seam: what every environment gives. A new one is a subclass with an `environment`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from projects import project
from slurm.environments.base import UNKNOWN_PYTHON, BuildTarget, Environment, is_made
from slurm.environments.current import Current, Python
from slurm.environments.wheel import Wheel
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport


def tree(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """The time and the content of everything in a directory."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
        if "__pycache__" not in path.parts
    }


class EnvironmentContract:
    """Subclasses give `environment`."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> BuildTarget:
        return BuildTarget.at(LocalTransport(), str(tmp_path / "root"))

    @pytest.fixture
    def prepared(self, environment: Environment, place: BuildTarget) -> ResolvedEnvironment:
        return environment.prepare(place)

    def test_its_python_is_of_the_clients_minor_version(self, prepared: ResolvedEnvironment) -> None:
        asks = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = LocalTransport().run([*prepared.launch, prepared.python, "-c", asks])
        assert done.stdout.strip() == prepared.tag == "{}.{}".format(*sys.version_info[:2])

    def test_what_is_prepared_is_data_that_travels(self, prepared: ResolvedEnvironment) -> None:
        assert ResolvedEnvironment.from_json(json.loads(json.dumps(prepared.to_json()))) == prepared

    def test_preparing_again_gives_the_same(
        self, environment: Environment, prepared: ResolvedEnvironment, place: BuildTarget
    ) -> None:
        assert environment.prepare(place) == prepared

    def test_planning_changes_nothing_and_says_what_preparing_gives(
        self, environment: Environment, place: BuildTarget, tmp_path: Path
    ) -> None:
        before = tree(tmp_path)
        planned = environment.planned(place)
        assert tree(tmp_path) == before
        prepared = environment.prepare(place)
        assert planned == prepared or (is_made(planned), planned.python) == (False, UNKNOWN_PYTHON)
        before = tree(tmp_path)
        if type(environment).planned is not Environment.planned:  # else a plan always shows it as "to be made"
            assert environment.planned(place) == prepared
        assert tree(tmp_path) == before


class TestCurrent(EnvironmentContract):
    @pytest.fixture(params=["this very interpreter", "one by its name"])
    def environment(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Environment:
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        return Current() if request.param == "this very interpreter" else Python(Path(sys.executable).name)


class TestWheel(EnvironmentContract):
    @pytest.fixture
    def environment(self, tmp_path: Path) -> Environment:
        return Wheel(project(tmp_path / "own", "own", ""), wheelhouse=tmp_path)

    def test_nothing_is_there_but_what_was_asked_for(self, prepared: ResolvedEnvironment) -> None:
        done = LocalTransport().run([prepared.python, "-c", "import own, sys; import numpy"])
        assert "No module named 'numpy'" in done.stderr
