"""Recovery: the ids of submissions whose client died before it recorded them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task
from slurm.protocol import SUBMITTED
from slurm.testing.inline.scheduler import InlineScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.testing import InlineCluster


@task
def square(x: int) -> int:
    return x * x


@pytest.mark.parametrize(("options", "asked"), [({}, ""), ({"clusters": "b"}, "b")])
def test_the_job_is_searched_on_the_clusters_that_its_options_name(
    inline: InlineCluster, options: dict[str, Any], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inline.queue.held():
        job = square.with_options(**options)(3)
        Path(job.directory, SUBMITTED).unlink()
        searched: list[str] = []
        find = InlineScheduler.find_command

        def note(self: InlineScheduler, cluster: str = "") -> Sequence[str]:
            searched.append(cluster)
            return find(self, cluster)

        monkeypatch.setattr(InlineScheduler, "find_command", note)
        place = Cluster("inline", root=inline.url.partition("://")[2], python=sys.executable).place
        state = place.registry.get(job.key)
        place.recovery.complete([state])
        assert searched == [asked]
        assert state.submitted == job.part.state.submitted
        assert Path(job.directory, SUBMITTED).exists()
