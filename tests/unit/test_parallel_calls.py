"""The workers of an element: each call has one result or one failure, whatever happens to its worker."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slurm.protocol import PROCESS, RUN
from slurm.protocol.outcomes import CallFailure
from slurm.runner import child, journal, parallel_calls
from slurm.runner.job_context import JobContext
from slurm.runner.journal import Journal
from slurm.runner.parallel_calls import run_parallel
from waiting import until

if TYPE_CHECKING:
    from slurm.runner.journal import Done

ENDS = {"exit": 7, "leave": 0, "kill": 128 + signal.SIGKILL, "fault": 128 + signal.SIGSEGV}
KINDS = st.sampled_from(["return", "much", "raise", "fork", *ENDS])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes dead workers fail their calls at once, as no scheduler ends these elements; writes every call at once."""
    monkeypatch.setattr(child, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(journal, "SECONDS", 0.0)


def make(kind: str, place: int) -> Done:
    """Run a call in a worker."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "fault":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest's handler prints a traceback
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind in ENDS:
        os._exit(ENDS[kind])
    if kind == "raise":
        return CallFailure(call=place, phase=RUN)
    if kind == "fork" and os.fork() == 0:
        return b"the child's"
    return b"%d" % place * (100_000 if kind == "much" else 1)


def expected(kind: str, place: int) -> Done:
    if kind in ENDS:
        return CallFailure(call=place, phase=PROCESS, exit_code=ENDS[kind])
    return (
        CallFailure(call=place, phase=RUN) if kind == "raise" else make("much" if kind == "much" else "return", place)
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=20
)
@given(kinds=st.lists(KINDS, max_size=12), workers=st.integers(1, 5), stops=st.lists(st.integers(0, 12), max_size=2))
@example(kinds=["return"] * 5000, workers=3, stops=[100])
def test_any_mix_of_calls_and_stops_gives_each_call_one_result(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], workers: int, stops: list[int]
) -> None:
    """A stop is the number of calls after which an attempt ends and the next one takes over."""
    root = tmp_path_factory.mktemp("root")
    (root / "jobs" / "f" / "1" / "results").mkdir(mode=0o700, parents=True)
    ends: Counter[int] = Counter()
    for attempt, stop in enumerate([*stops, len(kinds)], start=1):
        ours = Journal(JobContext(root=str(root), key="f/1", index=0, attempt=attempt), 0)
        done = ours.earlier()
        assert set(done) == set(ends), "what an attempt has put down is known to the next"
        left = [place for place in range(len(kinds)) if place not in done]
        results = run_parallel(lambda place: make(kinds[place], place), left, workers)
        for _, (place, found) in zip(range(stop), results, strict=False):
            ends[place] += 1
            done[place] = found
            ours.add(place, found)
        results.close()
        ours.close()
    assert done == {place: expected(kind, place) for place, kind in enumerate(kinds)}
    assert ends == Counter(range(len(kinds)))


def test_a_slow_call_delays_no_other(tmp_path: Path) -> None:
    received = tmp_path / "all others received"

    def run(place: int) -> Done:
        if place == 0:
            until(received.exists)
        return b"%d" % place

    order: list[int] = []
    for place, _ in run_parallel(run, range(100), 2):
        order.append(place)
        if len(order) == 99:
            received.touch()
    assert order[-1] == 0
    assert sorted(order) == list(range(100))


def test_calls_run_parallel(tmp_path: Path) -> None:
    def run(place: int) -> Done:
        (tmp_path / str(place)).touch()
        until(lambda: len(list(tmp_path.iterdir())) == 4)
        return b"%d" % os.getpid()

    assert len({found for _, found in run_parallel(run, range(4), 4)}) == 4


def test_no_two_workers_draw_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A fake of numpy, which is not a test requirement, with the one function that is called.
    seeded: list[int] = []
    monkeypatch.setitem(sys.modules, "numpy.random", SimpleNamespace(seed=lambda: seeded.append(os.getpid())))
    random.seed(0)

    def run(place: int) -> Done:
        (tmp_path / str(place)).touch()
        until(lambda: len(list(tmp_path.iterdir())) == 3)
        assert seeded == [os.getpid()]
        return b"%r" % random.random()  # noqa: S311 - no secret

    assert len({found for _, found in run_parallel(run, range(3), 3)}) == 3


def test_workers_that_die_before_any_call_fail_the_remaining_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This fault cannot be provoked: a worker runs no user code between its fork and its first call.
    monkeypatch.setattr(parallel_calls._WorkerPool, "_make_calls", lambda *_: os._exit(9))
    found = dict(run_parallel(lambda _: b"", range(3), 2))
    assert found == {place: CallFailure(call=place, phase=PROCESS, exit_code=9) for place in range(3)}


def test_a_call_whose_worker_is_killed_fails_only_after_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "HOLD_SECONDS", 2.0)
    begin = time.monotonic()
    at = {
        place: time.monotonic() - begin
        for place, _ in run_parallel(lambda place: make("return" if place else "kill", place), range(20), 2)
    }
    assert at[0] >= 2.0
    assert max(at[place] for place in range(1, 20)) < at[0]


def test_a_signal_that_the_parent_handles_is_forwarded_to_the_workers(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))

    def run(place: int) -> Done:
        (tmp_path / str(place)).touch()
        if place == 0:
            until(lambda: len(list(tmp_path.iterdir())) == 2)
            os.kill(os.getppid(), signal.SIGUSR1)
        until(lambda: heard)
        return b"%d" % place

    assert dict(run_parallel(run, range(2), 2)) == {0: b"0", 1: b"1"}
    signal.signal(signal.SIGUSR1, before)


def test_no_worker_outlives_the_reader_of_the_results(tmp_path: Path) -> None:
    def run(place: int) -> Done:
        (tmp_path / str(place)).write_text(str(os.getpid()))
        until(lambda: place == 0)
        return b""

    results = run_parallel(run, range(3), 3)
    assert next(results) == (0, b"")
    until(lambda: len(_pids(tmp_path)) == 3)
    results.close()
    assert not any(map(_lives, _pids(tmp_path)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent_for_longer_than_its_call(tmp_path: Path, number: signal.Signals) -> None:
    """A parent that receives SIGTERM ends its workers, even those that ignore SIGTERM."""

    def run(place: int) -> Done:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (tmp_path / str(place)).write_text(str(os.getpid()))
        until((tmp_path / "go").exists)
        return b""

    parent = os.fork()
    if parent == 0:
        list(run_parallel(run, range(50), 2))
        os._exit(0)
    until(lambda: len(_pids(tmp_path)) == 2)
    os.kill(parent, number)
    assert os.waitpid(parent, 0)[1] == number
    if number == signal.SIGKILL:
        assert all(map(_lives, _pids(tmp_path)))
        (tmp_path / "go").touch()
    until(lambda: not any(map(_lives, _pids(tmp_path))))
    assert len(_pids(tmp_path)) <= 4  # each may have taken one more call before its write failed


def _pids(trace: Path) -> list[int]:
    return [int(text) for path in trace.iterdir() if (text := path.read_text())]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
