"""Which environments `slurm envs gc` and `slurm envs rm` remove."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurm import task
from slurm.clusters.environment_cleanup import collect, list_environments, remove
from slurm.errors import ConfigurationError, EnvironmentInUse
from slurm.protocol import ENVS
from slurm.testing import InlineCluster

DAY = 86_400


@task(time="5")
def nothing() -> None:
    """Make the root."""


def stored(cluster: InlineCluster, key: str, *, days: float, base: str = "", failed: bool = False) -> None:
    """Write the files of an environment that nothing has used for some days, as a build leaves them."""
    envs = Path(cluster.place.store.root, ENVS)
    made = envs / key / "1a2b3c4d"
    made.mkdir(parents=True)
    if base:
        (made / "below").write_text(base)
    at = envs / f"{key}.lock" / "1" if failed else envs / f"{key}.json"
    if failed:
        at.mkdir(parents=True)
        (at / "failed").touch()
    else:
        at.touch()
    os.utime(at, (time.time() - days * DAY,) * 2)


@pytest.fixture
def with_envs(inline: InlineCluster) -> InlineCluster:
    nothing().result(30)
    stored(inline, "base", days=40)
    stored(inline, "project", days=3, base="base")
    stored(inline, "old-base", days=40)
    stored(inline, "old-project", days=40, base="old-base")
    stored(inline, "failed", days=0, failed=True)
    return inline


def names(cluster: InlineCluster) -> set[str]:
    return {one.key for one in list_environments(cluster)}


def test_what_is_old_or_unfinished_is_removed_and_a_base_in_use_is_kept(with_envs: InlineCluster) -> None:
    assert [one.key for one in collect(with_envs, days=30, dry_run=True)] == ["failed", "old-project", "old-base"]
    assert len(names(with_envs)) == 5
    collect(with_envs, days=30)
    assert names(with_envs) == {"base", "project"}
    assert [one.key for one in collect(with_envs, days=2)] == ["project", "base"]
    assert names(with_envs) == set()


def test_a_base_is_removed_only_with_its_dependents(with_envs: InlineCluster) -> None:
    with pytest.raises(EnvironmentInUse, match="environment base is in use: by project"):
        remove(with_envs, ["base"])
    with pytest.raises(ConfigurationError, match="there is no environment other under"):
        remove(with_envs, ["project", "other"])
    assert len(names(with_envs)) == 5
    remove(with_envs, ["base", "project"])
    assert names(with_envs) == {"old-base", "old-project", "failed"}
