"""The tracker: no future hangs, whatever the scheduler says."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from slurm.errors import SchedulerError, SchedulerNotFound, TransportError
from unit.job_directories import follow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.job_control import Answers


class Cluster:
    """One job, of which the scheduler can't tell at first; its outcome is there after that."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = threading.Event()

    def listing(self, keys: Sequence[str]) -> Mapping[str, frozenset[int]]:
        return dict.fromkeys(keys, frozenset({0} if self.asked.is_set() else ()))

    def query(self, ids: Sequence[str]) -> Answers:
        self.asked.set()
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        SchedulerError("slurm doesn't tell"),
        TransportError("the place can't be reached"),
        SchedulerNotFound("squeue: command not found"),
        ValueError("invalid literal for int() with base 10: '...'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_question_that_fails_keeps_nobody_waiting(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    cluster = Cluster(error)
    tracker, watched = follow(cluster.listing, cluster.query)
    with caplog.at_level(logging.ERROR):
        assert tracker.wait(watched, [0], timeout=30)
