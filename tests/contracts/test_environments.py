"""The environment seam: what every environment gives. A new one is a subclass with an `environment`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from slurm.environments.base import Environment
from slurm.environments.current import Current
from slurm.protocol import Prepared
from slurm.transports.local import LocalTransport


class EnvironmentContract:
    """Subclasses give `environment`."""

    @pytest.fixture
    def prepared(self, environment: Environment, tmp_path: Path) -> Prepared:
        return environment.prepare(LocalTransport(), str(tmp_path / "root"))

    def test_its_python_is_of_the_clients_minor_version(self, prepared: Prepared) -> None:
        asks = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = LocalTransport().run([*prepared.launch, prepared.python, "-c", asks])
        assert done.stdout.strip() == prepared.tag == "{}.{}".format(*sys.version_info[:2])

    def test_what_is_prepared_is_data_that_travels(self, prepared: Prepared) -> None:
        assert Prepared.from_json(json.loads(json.dumps(prepared.to_json()))) == prepared

    def test_preparing_again_gives_the_same(self, environment: Environment, prepared: Prepared, tmp_path: Path) -> None:
        assert environment.prepare(LocalTransport(), str(tmp_path / "root")) == prepared


class TestCurrent(EnvironmentContract):
    @pytest.fixture(params=["this very interpreter", "one by its name"])
    def environment(self, request: pytest.FixtureRequest) -> Environment:
        return Current() if request.param == "this very interpreter" else Current(Path(sys.executable).name)
