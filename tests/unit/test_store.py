"""Files that are written once, by whoever is first: what a client commits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm.protocol import ATTEMPTS, JOBS
from slurm.storage.job_store import JobStore
from slurm.tracking.attempts import AttemptRecords
from slurm.transports.local import LocalTransport

KEY = "task/20260101T000000Z-00000000"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path / "root's" / "jobs" / KEY / ATTEMPTS
    found.mkdir(parents=True)
    return found


@pytest.fixture
def store(place: Path) -> JobStore:
    return JobStore(LocalTransport(), str(place.parents[3]))


def test_what_is_there_stays_and_the_names_of_the_others_are_told(store: JobStore, place: Path) -> None:
    first = {f"{number}.1.json": b"first" for number in range(0, 600, 2)}
    second = {f"{number}.1.json": b"second" for number in range(600)}
    assert store.commit(KEY, ATTEMPTS, first) == set(first)
    assert store.commit(KEY, ATTEMPTS, second) == second.keys() - first.keys()
    assert {path.name: path.read_bytes() for path in place.iterdir()} == second | first


def test_whoever_commits_knows_it_where_each_link_has_an_inode_of_its_own(
    store: JobStore, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying = tmp_path / "bin" / "ln"  # a stand-in for what sshfs shows of a link: the same bytes, another inode
    copying.parent.mkdir()
    copying.write_text('#!/bin/sh\nfor name; do [ -e "../$name" ] || cp "$name" ..; done\n')
    copying.chmod(0o755)
    monkeypatch.setenv("PATH", f"{copying.parent}:{os.environ['PATH']}")
    assert store.commit(KEY, ATTEMPTS, {"a": b"1", "b": b"1"}) == {"a", "b"}
    assert store.commit(KEY, ATTEMPTS, {"b": b"2", "c": b"2"}) == {"c"}
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"a": b"1", "b": b"1", "c": b"2"}


def test_a_file_system_without_hard_links_will_do(
    store: JobStore, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "bin" / "ln"  # a stand-in: this machine may have no such file system
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    assert store.commit(KEY, ATTEMPTS, {"a": b"1", "b": b"1"}) == {"a", "b"}
    assert store.commit(KEY, ATTEMPTS, {"b": b"2", "c": b"2"}) == {"c"}
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"a": b"1", "b": b"1", "c": b"2"}


def test_logs_are_read_in_blocks_and_in_order(store: JobStore, tmp_path: Path) -> None:
    contents = {"a": b"", "b": None, "c": os.urandom(5_000_000), "d": None, "e": b"last", "f": None}
    for name, data in contents.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
    found = [list(blocks) for blocks in store.log_blocks([str(tmp_path / name) for name in contents])]
    assert [b"".join(blocks) for blocks in found] == [data or b"" for data in contents.values()]
    assert max(len(block) for blocks in found for block in blocks) <= 1 << 20


@pytest.mark.parametrize(("name", "where"), [("0.1.next.json", "damaged"), ("0.1.json", "outcomes")])
def test_a_record_of_an_attempt_that_others_may_write_counts_as_damaged(tmp_path: Path, name: str, where: str) -> None:
    key = "work/20260101T000000Z-00000000"
    directory = tmp_path / JOBS / key / ATTEMPTS
    directory.mkdir(parents=True)
    (directory / name).write_text("{}")
    (directory / name).chmod(0o666)
    found = getattr(AttemptRecords(JobStore(LocalTransport(), str(tmp_path)), key, [0]), where)
    assert list(found) == [(0, 1)]
    error = found[0, 1] if where == "damaged" else found[0, 1].error
    assert name in str(error if where == "damaged" else error.message)
