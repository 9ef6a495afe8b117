"""What `slurm sweep` prints about a sweep whose points have all ended and were collected: no cluster is asked."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from slurm import task
from slurm.cli.main import slurm
from slurm.protocol.states import JobState
from slurm.sweeps.code import code_of
from slurm.sweeps.directory import SweepDirectory
from slurm.sweeps.records import Collected, Ended, Shard, SweepRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "sweep: {grid: {order: [1, 2], seed: [0, 1, 2]}}\ntask: sky.py:fit\n"


def fit(order: int, seed: int) -> dict[str, float]:
    return {"chi2": float(order + seed)}


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
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sweep `two` of six points: order 1 for the first three, order 2 for the others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    points = [{"order": 1 + number // 3, "seed": number % 3} for number in range(6)]
    record = SweepRecord(id="two", task="fit", count=6, created=0.0)
    made = SweepDirectory.create(tmp_path / "sweeps/outputs/two", record, points, config=FILE)
    assert made is not None
    code, uploads = code_of(task(fit), ())
    code.write(made.path, uploads)
    url, key = f"local://{tmp_path}/jobs", "fit/20260102T030405Z-aabbccdd"
    made.claim(1, Shard(cluster={"url": url}, source="local", key=key, points=(0, 5), code=code.name))
    made.collect([Collected(number, 1, number, ended(number)) for number in range(6)])
    yield
    sys.modules.pop("sky", None)


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


class TestComplete:
    def test_a_point_that_failed_has_the_command_that_submits_it_again(self) -> None:
        assert "`slurm sweep complete two --failed` submits it again" in sweep("why", "two", "2").output

    def test_points_that_failed_are_followed_by_what_to_do(self) -> None:
        found = sweep("complete", "two", "--on", f"local://{os.getcwd()}/jobs", status=1)
        assert "\ntwo: 6 points: 4 done, 2 failed" in "\n" + found.output
        assert "show the failures: slurm sweep errors two\n" in found.output
        assert "run them again: slurm sweep complete two --failed, with --file FILE if" in found.output

    def test_another_directory_of_sweeps_is_in_the_commands(self) -> None:
        Path("sweeps/outputs").rename("others")
        url = f"local://{os.getcwd()}/jobs"
        found = sweep("complete", "two", "--directory", "others", "--on", url, status=1)
        assert "slurm sweep errors two --directory others\n" in found.output

    @pytest.mark.parametrize(
        ("later", "expected"),
        [
            (-60, "run the function fit as it was stored. To run it as it is now: --file two.yaml\n"),
            (60, "as it was stored, and sky.py was changed after that. To run it as it is now: --file two.yaml\n"),
        ],
    )
    def test_the_stored_code_runs_and_this_is_said(self, later: int, expected: str) -> None:
        for name, text in (("two.yaml", FILE), ("sky.py", "raise SystemExit('not imported')")):
            Path(name).write_text(text)
        written = Path("sweeps/outputs/two/shards/1.json").stat().st_mtime
        os.utime("sky.py", (written + later, written + later))
        found = sweep("complete", "two", "--on", f"local://{os.getcwd()}/jobs", status=1)
        assert expected in found.output


class TestInit:
    def text(self, source: str) -> str:
        Path("sky.py").write_text(source)
        sweep("init", "new.yaml", "--task", "sky.py:fit")
        return Path("new.yaml").read_text()

    def test_a_new_file_has_the_parameters_of_the_function(self) -> None:
        text = self.text("def fit(order: int, beam: str, *, tol: float = 0.5, seed=None): ...")
        assert "    order: [1, 2]\n    beam: [a, b]\n" in text
        assert "#   tol: 0.5\n#   seed: null\n" in text
        assert "lr" not in text
        assert "depth" not in text
        assert sweep("validate", "new.yaml").output == "new.yaml is valid: 4 points of order, beam\n"

    def test_a_function_with_defaults_only_has_the_first_of_them(self) -> None:
        text = self.text("def fit(tol=0.5, seed=1): ...")
        assert "    tol: [0.5]\n" in text
        assert "#   seed: 1\n" in text

    def test_a_file_without_the_function_is_an_error_and_nothing_is_written(self) -> None:
        Path("sky.py").write_text("def fits(x): ...")
        found = sweep("init", "new.yaml", "--task", "sky.py:fit", status=1)
        assert "sky.py has no function 'fit': did you mean 'fits'?" in str(found.exception)
        assert not Path("new.yaml").exists()

    def test_the_file_of_the_function_may_be_written_later(self) -> None:
        sweep("init", "new.yaml", "--task", "later.py:fit")
        assert "lr: [1e-3, 1e-2]" in Path("new.yaml").read_text()


class TestFile:
    def validated(self, **replaced: str) -> str:
        text = FILE
        for old, new in replaced.items():
            text = text.replace(old, new)
        Path("sky.py").write_text("def fit(order: int, seed: int) -> None: ...\n")
        Path("new.yaml").write_text(text)
        return str(sweep("validate", "new.yaml", status=1).exception)

    def test_a_parameter_that_the_function_lacks_is_named_with_the_nearest(self) -> None:
        assert self.validated(order="ordr") == (
            "the parameters ordr, seed do not fit: 'ordr' is not a parameter of fit: did you mean 'order'?"
        )

    def test_all_of_them_are_named(self) -> None:
        found = self.validated(order="ordr.x", seed="sed")
        assert "'ordr' is not a parameter of fit: did you mean 'order'?; 'sed' is not a parameter of fit" in found

    def test_a_parameter_that_is_missing_is_named(self) -> None:
        assert "missing a required argument: 'seed'" in self.validated(**{", seed: [0, 1, 2]": ""})

    def test_a_wrong_option_and_a_wrong_parameter_are_listed_at_once(self) -> None:
        found = self.validated(order="ordr", **{"sky.py:fit": "sky.py:fit\noptions: {partitoin: a}"}).splitlines()
        assert len(found) == 2, found
        assert "partitoin: did you mean partition" in found[0]
        assert found[1] == "new.yaml, line 1: sweep.grid.ordr: not a parameter of fit: did you mean 'order'?"

    def test_a_wrong_option_and_a_function_that_is_not_there_are_listed_at_once(self) -> None:
        found = self.validated(**{"sky.py:fit": "sky.py:fitt\noptions: {partitoin: a}"}).splitlines()
        assert len(found) == 2, found
        assert "sky.py has no function 'fitt'" in found[1]

    def test_a_wrong_key_and_a_field_that_a_command_lacks_are_listed_at_once(self) -> None:
        command = {"task: sky.py:fit": "comand: x\ncommand: python fit.py {order}"}
        assert [line.partition(": ")[2] for line in self.validated(**command).splitlines()] == [
            "comand: unknown key: did you mean 'command'?",
            "sweep.grid.seed: not a parameter of fit; known names: order",
        ]
