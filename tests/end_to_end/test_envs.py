"""`slurm envs`: list environments with their users, and remove unused ones."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from projects import project, wheel
from slurm import Cluster, Wheel, task
from slurm.cli.main import slurm
from waiting import until


@task
def wait(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, ["envs", *argv])


def listed(url: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("list", url, "--json").output)
    return found


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def url(request: pytest.FixtureRequest, root: Path) -> Iterator[str]:
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    with Cluster(request.param, root=root) as cluster:
        yield cluster.url


def test_environments_are_listed_and_removed_when_nothing_uses_them(url: str, tmp_path: Path) -> None:
    assert run("list", url).output.startswith("there are no environments in ")
    wheel(tmp_path / "house", "lacking", "")
    first, second = (
        wait.with_options(
            environment=Wheel(project(tmp_path / name, name, "", requires=r), wheelhouse=tmp_path / "house")
        )
        for name, r in (("first", ("lacking",)), ("second", ()))
    )
    running, over = first(str(tmp_path / "gate")), second(str(tmp_path))
    over.result(60)
    until(running.running)
    lower, free, used = sorted(listed(url), key=lambda item: (not item["dependents"], bool(item["used_by"])))
    assert (lower["used_by"], used["used_by"], free["used_by"]) == ([running.key], [running.key], [])
    assert lower["dependents"] == [used["key"]]
    assert (used["state"], int(str(used["bytes"])) > 10_000, float(str(used["unused"])) < 600) == ("ready", True, True)
    refused = run("rm", str(free["key"]), str(used["key"]), "--on", url)
    assert refused.exit_code == 1
    assert f"in use: by {running.key}" in str(refused.exception)
    refused = run("rm", str(lower["key"]), "--on", url)
    assert f"in use: by {running.key}, {used['key']}" in str(refused.exception)
    assert len(listed(url)) == 3
    long_ago = time.time() - 40 * 86400  # when a process that still submits to it has asked for it
    os.utime(next(tmp_path.glob(f"*/envs/{free['key']}.json")), (long_ago, long_ago))
    assert str(free["key"]) not in run("gc", url).output
    assert str(free["key"]) in run("gc", url, "--days", "0", "--dry-run").output
    assert str(free["key"]) in run("gc", url, "--days", "0").output
    assert {item["key"] for item in listed(url)} == {lower["key"], used["key"]}
    (tmp_path / "gate").touch()
    running.result(60)
    refused = run("rm", str(lower["key"]), "--on", url)
    assert str(refused.exception).endswith(f"in use: by {used['key']}")
    assert [line.split()[0] for line in run("gc", url, "--days", "0").output.splitlines()[1:]] == [
        used["key"],
        lower["key"],
    ]
    assert listed(url) == []


def test_the_environment_of_an_open_pool_is_in_use(url: str, tmp_path: Path) -> None:
    environment = Wheel(project(tmp_path / "first", "first", "", requires=()))
    with Cluster(url) as cluster:
        with cluster.pool(workers=(0, 1), time="10:00", idle=1, environment=environment) as pool:
            assert wait.on(pool)(str(tmp_path)) is not None
            until(lambda: len(pool.jobs) > 0 and pool.jobs.done())
            (used,) = listed(url)
            assert used["used_by"] == [pool.key]
            assert run("gc", url, "--days", "0").exit_code == 0
            assert [item["key"] for item in listed(url)] == [used["key"]]
        until(pool.jobs.done)
        assert listed(url)[0]["used_by"] == []
        assert str(used["key"]) in run("gc", url, "--days", "0").output
        assert listed(url) == []


def test_unfinished_builds_stay_and_abandoned_ones_are_removed(root: Path, tmp_path: Path) -> None:
    url = f"local://{root}"
    for key in ("dead", "alive", "failed"):
        (root / "envs" / key / "1a2b3c4d").mkdir(parents=True)
        (root / "envs" / key / "1a2b3c4d" / "below").write_text("lower\n")
        (root / "envs" / f"{key}.lock" / "1").mkdir(parents=True)
        (root / "envs" / f"{key}.lock" / "1" / "beat").touch()
    (root / "envs" / "failed.lock" / "1" / "failed").touch()
    long_ago = time.time() - 86400
    (root / "envs" / "lower").mkdir()
    (root / "envs" / "lower.json").touch()
    for path in (root / "envs" / "dead.lock" / "1" / "beat", root / "envs" / "dead.lock" / "1"):
        os.utime(path, (long_ago, long_ago))
    assert {str(item["key"]): item["state"] for item in listed(url)} == {
        "alive": "making",
        "dead": "left",
        "failed": "left",
        "lower": "ready",
    }
    assert str(run("rm", "dead", "lower", "--on", url).exception).endswith("lower is in use: by alive")
    assert "is in use" in str(run("rm", "alive", "--on", url).exception)
    assert "there is no environment other" in str(run("rm", "other", "--on", url).exception)
    run("rm", "failed", "--on", url)
    assert [line.split()[:2] for line in run("gc", url, "--days", "0").output.splitlines()[1:]] == [["dead", "left"]]
    kept = ["alive", "alive.lock", "lower", "lower.json"]
    assert [path.name for path in sorted((root / "envs").iterdir())] == kept
