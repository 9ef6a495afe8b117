"""What calls were called with, and what became of them, from any process and as a table."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slurm import Cluster, JobArray, JobContext, command, task
from slurm.errors import NoSuchJob


@task(time="5", reuse=True)
def power(x: float, exponent: int = 2, state: str = "solid") -> float:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return float(x**exponent)


@task(time="5")
def everything(first: Any, *rest: Any, ctx: JobContext | None = None, **more: Any) -> None:
    del first, rest, ctx, more


@task(time="5")
def among(ctx: JobContext, first: Any, second: Any) -> None:
    del ctx, first, second


@task(time="5")
def total(weights: Any, x: int) -> float:
    return float(sum(weights) * x)


def test_a_table_has_a_row_for_each_call(cluster: Cluster) -> None:
    jobs = power.starmap([{"x": 2.0, "exponent": 3}, {"x": -1.0}, {"x": 3.0, "state": "gas"}])
    assert jobs.exceptions(90)[0] is None
    again = Cluster(cluster.url).job(jobs.key)
    assert isinstance(again, JobArray)
    rows = again.table()
    assert again.arguments() == [{"x": 2.0, "exponent": 3}, {"x": -1.0}, {"x": 3.0, "state": "gas"}]
    assert [row["x"] for row in rows] == [2.0, -1.0, 3.0]
    assert [row["result"] for row in rows] == [8.0, None, 9.0]
    assert [row["error"] for row in rows] == [None, "ValueError: -1.0 is negative", None]
    assert [row.get("state_", row["state"]) for row in rows] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert rows[2]["state"] == "gas"
    assert all(row["node"] and row["seconds"] >= 0 and row["memory"] > 1 << 20 for row in rows)
    frame = again[:2].to_pandas()
    assert list(frame["x"]) == [2.0, -1.0]
    assert list(frame.columns) == ["x", "exponent", "state", "result", "error", "node", "seconds", "memory"]


def test_a_table_of_a_map_that_found_calls_of_earlier_ones_has_all(local: Cluster) -> None:
    assert power.map([1.0, 2.0]).results(60) == [1.0, 4.0]
    jobs = power.map([2.0, 5.0, 1.0])
    assert jobs.results(60) == [4.0, 25.0, 1.0]
    assert len(jobs.keys) == 2
    assert [(row["x"], row["result"]) for row in jobs.table()] == [(2.0, 4.0), (5.0, 25.0), (1.0, 1.0)]


def test_arguments_have_the_names_of_the_parameters(local: Cluster) -> None:
    upstream = power(2.0)
    jobs = power.map([3.0])
    put = local.put([1, 2])
    call = everything(upstream, jobs, put, key="value")
    found = call.arguments()
    assert found["first"] == upstream
    assert found["rest"][0] == jobs
    assert found["rest"][1].sha256 == put.sha256
    assert found["more"] == {"key": "value"}
    assert among(1, second=[2]).arguments() == {"first": 1, "second": [2]}
    assert command("echo {x} {y}")(x=1, y="z").arguments() == {"x": 1, "y": "z"}
    assert "ctx" not in found


def test_an_object_that_calls_share_is_read_once(local: Cluster) -> None:
    weights = np.arange(50_000)
    jobs = total.map([weights] * 3, [1, 2, 3])
    one, other = jobs[1:].arguments()
    assert (one["weights"] == weights).all()
    assert one["weights"] is other["weights"]
    assert (one["x"], other["x"]) == (2, 3)


def test_arguments_of_a_function_that_is_not_here(local: Cluster) -> None:
    job = task(textwrap.shorten)("some text", width=7)
    assert job.arguments() == {"text": "some text", "width": 7}
    program = f"""
        import sys
        from slurm import Cluster
        job = Cluster({local.url!r}).job({job.key!r})
        sys.modules["textwrap"] = None
        print(job.arguments())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], text=True, capture_output=True, check=True)
    assert done.stdout == "{'0': 'some text', '1': 7}\n"


def test_what_was_removed_is_one_clear_error(local: Cluster) -> None:
    job = power(2.0)
    assert job.result(60) == 4.0
    Path(job.directory, "calls.pkl").unlink()
    with pytest.raises(NoSuchJob, match=f"the calls of {job.key} no longer exist"):
        job.arguments()


def test_a_data_frame_without_pandas_says_what_to_do(local: Cluster) -> None:
    program = textwrap.dedent(
        f"""
        import sys
        sys.modules["pandas"] = None
        from slurm import Cluster
        Cluster({local.url!r}).job({power.map([1.0]).key!r}).to_pandas()
        """
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=False)
    assert done.stderr.endswith("ImportError: to_pandas() needs pandas: install it here, or use table()\n")
