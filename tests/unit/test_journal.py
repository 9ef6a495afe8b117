"""The journal of an element of several calls: the next attempt does not repeat finished calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm.protocol import RUN
from slurm.protocol.outcomes import CallFailure, ErrorRecord
from slurm.runner import journal
from slurm.runner.job_context import JobContext
from slurm.runner.journal import Journal

FAILURE = CallFailure(call=1, phase=RUN, error=ErrorRecord(type="ValueError", message='"no"\n', traceback="…"))


_begun: list[Journal] = []


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Writes every call at once, and closes all journals."""
    monkeypatch.setattr(journal, "SECONDS", 0.0)
    yield
    while _begun:
        _begun.pop().close()


def attempt(root: Path, number: int) -> Journal:
    """The journal of an attempt of element 3."""
    results = root / "jobs" / "f" / "1" / "results"
    results.mkdir(mode=0o700, parents=True, exist_ok=True)
    _begun.append(Journal(JobContext(root=str(root), key="f/1", index=0, attempt=number), 3))
    return _begun[-1]


def files(root: Path) -> list[Path]:
    return sorted((root / "jobs" / "f" / "1" / "results").iterdir())


def test_each_attempt_reads_the_journals_of_all_earlier_ones(tmp_path: Path) -> None:
    first = attempt(tmp_path, 1)
    assert first.earlier() == {}
    first.add(2, b"two")
    first.add(1, FAILURE)
    second = attempt(tmp_path, 2)
    assert second.earlier() == {2: b"two", 1: FAILURE}
    second.add(0, b"")
    assert attempt(tmp_path, 3).earlier() == {2: b"two", 1: FAILURE, 0: b""}


def test_an_attempt_that_still_runs_damages_no_later_journal(tmp_path: Path) -> None:
    first = attempt(tmp_path, 1)
    first.add(1, b"one")
    second = attempt(tmp_path, 2)
    assert second.earlier() == {1: b"one"}
    second.add(2, b"two of the second")
    first.add(2, b"two of the first")
    first.add(4, b"four of the first")
    second.add(3, b"three of the second")
    found = attempt(tmp_path, 3).earlier()
    assert found.pop(2) in (b"two of the first", b"two of the second")
    assert found == {1: b"one", 3: b"three of the second", 4: b"four of the first"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(done=st.dictionaries(st.integers(0, 9), st.binary(max_size=20), min_size=1, max_size=5), data=st.data())
def test_a_truncated_journal_yields_its_complete_calls(
    tmp_path: Path, done: dict[int, bytes], data: st.DataObject
) -> None:
    first = attempt(tmp_path, 1)
    for place, item in done.items():
        first.add(place, item)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    os.truncate(path, data.draw(st.integers(0, len(whole))))
    found = attempt(tmp_path, 2).earlier()
    assert list(found.items()) == list(done.items())[: len(found)]
    first.remove()


def test_short_calls_have_no_journal_and_none_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = attempt(tmp_path, 1)
    first.add(0, b"one")
    assert len(files(tmp_path)) == 1
    attempt(tmp_path, 2).remove()
    assert files(tmp_path) == []
    monkeypatch.setattr(journal, "SECONDS", 60.0)
    quick = attempt(tmp_path, 1)
    quick.add(0, b"one")
    assert files(tmp_path) == []
    quick.remove()
