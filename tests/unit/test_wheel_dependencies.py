"""Of what wheels need: whether it is anything, and when it is something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm.environments.wheel_building import BuiltWheel
from slurm.environments.wheel_dependencies import deciding, need_more


def built(name: str, *requires: str, version: str = "1") -> BuiltWheel:
    return BuiltWheel(Path(f"{name}.whl"), name, version, (), requires, "")


@pytest.mark.parametrize(
    ("requires", "extras", "needs"),
    [
        ((), False, False),
        (("numpy>=1",), False, True),
        (('numpy; python_version < "3"',), False, True),  # told where it is installed
        (('numpy ; extra == "x"',), False, False),
        (('numpy ; extra == "x"',), True, True),
        (("be-side (>=2)",), False, False),
        (("Be.Side",), False, False),
        (("be_side[more]",), False, True),
        (("be-side-tools",), False, True),
    ],
)
def test_whether_more_is_needed(requires: tuple[str, ...], extras: bool, needs: bool) -> None:
    assert need_more([built("main", *requires), built("be_side")], extras=extras) == needs


def test_what_decides_is_what_is_required_and_the_version_that_another_asks_for() -> None:
    before = deciding([built("main", "beside"), built("beside")])
    assert deciding([built("main", "beside", version="2"), built("beside")]) == before
    assert deciding([built("main", "beside"), built("beside", version="2")]) != before
    assert deciding([built("main", "beside"), built("beside", "numpy")]) != before
    itself = [built("main", "main[a]; extra == 'all'", version=version) for version in "12"]
    assert deciding(itself[:1]) == deciding(itself[1:])
