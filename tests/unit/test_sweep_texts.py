"""What `slurm sweep` prints about a sweep whose points have all ended and were collected: no cluster is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from slurm.cli.main import slurm
from slurm.protocol.states import JobState
from slurm.sweeps.directory import SweepDirectory
from slurm.sweeps.records import Collected, Ended, Shard, SweepRecord

if TYPE_CHECKING:
    from pathlib import Path


def sweep(*argv: str, status: int = 0) -> Result:
    """Run `slurm sweep` in this process."""
    found = CliRunner().invoke(slurm, ["sweep", *argv])
    assert found.exit_code == status, found.output + repr(found.exception)
    return found


def ended(number: int) -> Ended:
    """Every third point has failed; the others have a metric."""
    some: dict[str, Any] = {"seconds": 1.5, "peak_memory": 12 << 20}
    if number % 3 == 2:
        return Ended(False, JobState.FAILED, exit_code=1, error="ValueError", message="x", **some)
    return Ended(True, JobState.COMPLETED, metrics={"chi2": float(number)}, **some)


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDirectory:
    """The sweep `two` of six points: order 1 for the first three, order 2 for the others."""
    monkeypatch.chdir(tmp_path)
    points = [{"order": 1 + number // 3, "seed": number % 3} for number in range(6)]
    record = SweepRecord(id="two", task="fit", count=6, created=0.0)
    made = SweepDirectory.create(tmp_path / "sweeps/outputs/two", record, points)
    assert made is not None
    url, key = f"local://{tmp_path}/jobs", "fit/20260102T030405Z-aabbccdd"
    made.claim(1, Shard(cluster={"url": url}, source="local", key=key, points=(0, 5), code="c"))
    made.collect([Collected(number, 1, number, ended(number)) for number in range(6)])
    return made


class TestTable:
    def cells(self, *options: str) -> list[list[str]]:
        return [line.split() for line in sweep("table", "two", *options).output.splitlines()]

    @pytest.mark.parametrize("options", [(), ("--sort", "count", "--largest")])
    def test_a_group_has_each_value_below_its_heading(self, options: tuple[str, ...]) -> None:
        head, *rows = self.cells("--group", "order", *options)
        assert head == ["ORDER", "CHI2", "CHI2_STD", "CHI2_MIN", "CHI2_MAX", "CHI2_COUNT", "COUNT"]
        assert rows == [["1", "0.5", "0.707107", "0", "1", "2", "3"], ["2", "3.5", "0.707107", "3", "4", "2", "3"]]
        found = json.loads(sweep("table", "two", "--group", "order", *options, "--json").stdout)
        assert [name.upper() for name in found[0]] == head

    def test_memory_has_a_unit_in_text_and_is_a_number_of_bytes_in_json(self) -> None:
        head, first, *_ = (line.split("  ") for line in sweep("table", "two").output.splitlines())
        assert "MEMORY" in map(str.strip, head)
        assert "12 MiB" in map(str.strip, first)
        assert json.loads(sweep("table", "two", "--json").stdout)[0]["memory"] == 12 << 20
