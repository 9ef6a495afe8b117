"""What waits moves from one source to another: by a few commands, however many points there are."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task
from slurm.sweeps.moving import waiting_calls
from slurm.sweeps.rebalancing import Move, take
from slurm.sweeps.snapshot import State
from slurm.sweeps.sources import sources_of
from slurm.sweeps.sweep import Sweep
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.transports.base import Transport


@task
def begin(x: int, directory: str, gate: str) -> int:
    """Leave a file when it begins; the first call waits for a gate."""
    os.close(tempfile.mkstemp(prefix=f"{x}.", dir=directory)[0])
    if x == 0:
        until(Path(gate).exists)
    return x


def count_commands(transport: Transport, monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    """Note each command that this thread runs over a transport, or has run; the tracker has threads of its own."""
    me, inside = threading.get_ident(), list[str]()

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            mine = threading.get_ident() == me or threading.current_thread().name == "slurm-act"
            if mine and not inside:  # put and fetch may use run
                log.append(f"{name} {str(args[0])[:80]}")
            inside.extend([name] * mine)
            try:
                return method(*args, **keywords)
            finally:
                del inside[len(inside) - mine :]

        return call

    for name in ("run", "put", "fetch", "list"):
        monkeypatch.setattr(transport, name, counted(name, getattr(transport, name)))


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_a_thousand_waiting_points_move_by_five_commands(
    url: str, request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    begun.mkdir()
    slow, fast = Cluster(url, root=root / "slow"), Cluster("local", root=root / "fast")
    points = [{"x": x, "directory": str(begun), "gate": str(gate)} for x in range(1001)]
    Sweep(begin, points[1:2], name="warm", directory=tmp_path).run(on=[(fast, 1)]).drive()
    sweep = Sweep(begin, points[:600], name="moved", directory=tmp_path).run(on=[(slow, 1)])
    sweep.extend(points).run(on=[(slow, 1)])  # so that what waits is in two submissions
    until(lambda: any(name.startswith("0.") for name in os.listdir(begun)))
    sweep.running.sources = sources_of([(slow, 1), (fast, 2)])
    snapshot = sweep.snapshot()
    waiting = waiting_calls(snapshot, sweep.reader)
    assert sum(map(len, waiting.values())) == 1000
    left, reached = list[str](), list[str]()
    to = sweep.running.sources[1]
    with monkeypatch.context() as patch:
        count_commands(slow.place.transport, patch, left)
        count_commands(fast.place.transport, patch, reached)
        moved = take(
            Move(slow.url, to, 1000, "test"), snapshot, sweep.reader, sweep.places, waiting, directory=sweep.directory
        )
        assert sweep.running.resubmit(moved, why="test", sources=[to], look=False) == 1000
    assert sorted(moved) == list(range(1, 1001))
    assert 0 < len(left) <= 3, left
    assert 0 < len(reached) <= 2, reached
    gate.touch()
    kept = Sweep.open("moved", directory=tmp_path)
    assert kept.cancel() > 0  # a thousand processes would take minutes
    counts = kept.snapshot().counts
    assert counts[State.DONE] + counts[State.MISSING] == 1001
    times = Counter(name.partition(".")[0] for name in os.listdir(begun))
    times["1"] -= 1  # of the warm-up
    assert max(times.values()) == 1


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_what_begins_between_the_look_and_the_hold_is_not_moved(
    url: str, request: pytest.FixtureRequest, root: Path, tmp_path: Path
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    begun.mkdir()
    slow, fast = Cluster(url, root=root / "slow"), Cluster("local", root=root / "fast")
    points = [{"x": x, "directory": str(begun), "gate": str(gate)} for x in range(6)]
    sweep = Sweep(begin, points, name="race", directory=tmp_path).run(on=[(slow, 1)])
    until(lambda: os.listdir(begun))
    snapshot = sweep.snapshot()
    waiting = waiting_calls(snapshot, sweep.reader)
    assert [list(calls) for calls in waiting.values()] == [[1, 2, 3, 4, 5]]
    gate.touch()
    until(lambda: len(os.listdir(begun)) > 1)  # after the look
    to = sources_of([(fast, 2)])[0]
    moved = take(
        Move(slow.url, to, 5, "test"), snapshot, sweep.reader, sweep.places, waiting, directory=sweep.directory
    )
    assert not sweep.directory.holds()
    assert 1 not in moved
    sweep.running.sources = [to]
    sweep.running.resubmit(moved, why="test", look=False)
    assert sweep.drive().counts == {State.DONE: 6}
    assert Counter(name.partition(".")[0] for name in os.listdir(begun)) == {str(x): 1 for x in range(6)}
