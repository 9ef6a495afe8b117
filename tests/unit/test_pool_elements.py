"""Elements of a pool as real processes, under faults: each call is made by one of them, and answered once."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pickle import loads
from typing import TYPE_CHECKING, Any

import pytest

from slurm.pools.client_files import ClientFiles
from slurm.pools.pool_files import PoolFiles
from slurm.protocol import CALLS, CLIENTS, INDEX
from slurm.protocol.claims import Claims, claimant, prepare
from slurm.protocol.frames import (
    BEGUN,
    BLOCK,
    CANCEL,
    CANCELLED,
    CLOSED,
    FAILURE,
    HERE,
    LARGE,
    RESULT,
    Frame,
    FrameReader,
    Head,
    encode,
    write_at,
)
from slurm.protocol.outcomes import CallFailure, ResultRecord
from slurm.protocol.pools import ARGUMENTS, BLOCKS, FUNCTIONS, INLINE_BYTES, OUT, outbox_name, pack
from slurm.runner.job_context import set_current
from slurm.runner.pools import worker
from slurm.runner.pools.element import pool as serve
from slurm.serialization.calls import packed, unpacked
from unit.job_directories import Directory, pickled
from waiting import alive, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Pool:
    """The files of a pool with one client, and elements that serve it in processes of their own."""

    def __init__(self, root: Path, elements: int) -> None:
        self.job = Directory(str(root)).job()
        self.directory = f"{self.job.directory}/{CLIENTS}/0"
        for name in (OUT, "taken", ARGUMENTS, FUNCTIONS, "results"):
            os.makedirs(f"{self.directory}/{name}", mode=0o700)
        self.elements, self.pids = elements, [0] * elements
        self._outboxes = [FrameReader(f"{self.directory}/{OUT}/{outbox_name(e)}") for e in range(elements)]
        self._written = self._blocks = self._calls = 0
        self.answers: list[Frame] = []
        for path in (f"{self.directory}/{BLOCKS}", *(outbox.path for outbox in self._outboxes)):
            write_at(path, 0, b"")

    def start(self, element: int, *, workers: int = 2, idle: float = 60.0, seconds: float | None = None) -> int:
        """Start an element."""
        self.pids[element] = pid = os.fork()
        if pid == 0:
            status = 1
            try:
                set_current(self.job)
                serve(element, self.elements, workers, idle, seconds)
                status = 0
            except BaseException:  # noqa: BLE001 - the child must not return into pytest
                traceback.print_exc()
            finally:
                os._exit(status)
        return pid

    def send(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], size: int = 1, unfinished: int = 0
    ) -> None:
        """Write calls of a function, as blocks of some size. All blocks before `unfinished` have ended."""
        data, offsets, _ = pickled(function, *calls).calls
        head, *begins = unpacked(offsets)
        digest = hashlib.sha256(data[: begins[0]]).digest()
        os.makedirs(directory := f"{self.directory}/{FUNCTIONS}/{digest.hex()}", mode=0o700, exist_ok=True)
        write_at(f"{directory}/{CALLS}", 0, data[: begins[0]])
        write_at(f"{directory}/{INDEX}", 0, packed([head, begins[0]]))
        each = [data[begin:end] for begin, end in itertools.pairwise(begins)]
        for at in range(0, len(each), size):
            some = each[at : at + size]
            prepare(self.directory, self._blocks)
            block = Head(BLOCK, self._blocks, first=self._calls, calls=len(some), ended=unfinished)
            self._write(block, pack(digest, some))
            self._blocks += 1
            self._calls += len(some)

    def cancel(self, calls: range) -> None:
        """Write that calls are cancelled."""
        self._write(Head(CANCEL, self._blocks, first=calls.start, calls=len(calls)))

    def close(self) -> None:
        """Write that no more calls follow."""
        self._write(Head(CLOSED, self._blocks))

    def _write(self, head: Head, body: bytes = b"") -> None:
        frame = encode(head, body)
        write_at(f"{self.directory}/{BLOCKS}", self._written, frame)
        self._written += len(frame)

    def read(self) -> int:
        """Read the new answers; return how many there are."""
        for outbox in self._outboxes:
            self.answers += (frame for frame in outbox.frames() if frame.head.kind not in (HERE, BEGUN))
        return len(self.answers)

    def wait(self, element: int) -> int:
        """Wait for the end of an element; return its status."""
        _, status = os.waitpid(self.pids[element], 0)
        self.pids[element] = 0
        return os.waitstatus_to_exitcode(status)

    def results(self) -> dict[int, Any]:
        """The results of all calls, each of which has one answer."""
        assert max(Counter(frame.head.number for frame in self.answers).values()) == 1
        return {frame.head.number: loads(frame.body) for frame in self.answers if frame.head.kind == RESULT}

    def failures(self) -> dict[int, CallFailure]:
        """The failures of calls."""
        failed = (frame for frame in self.answers if frame.head.kind == FAILURE)
        return {frame.head.number: CallFailure.from_json(json.loads(frame.body)) for frame in failed}


@pytest.fixture
def pool_of(tmp_path: Path) -> Iterator[Callable[[int], Pool]]:
    made: list[Pool] = []

    def make(elements: int) -> Pool:
        made.append(Pool(tmp_path, elements))
        return made[-1]

    yield make
    for pid in (pid for pool in made for pid in pool.pids if pid):
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def note(path: str, number: int) -> int:
    """A call that leaves a mark each time it is made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    return number * number


def marks(path: Path) -> list[int]:
    return sorted(map(int, path.read_text().split()))


def test_elements_share_blocks_and_make_each_call_once(pool_of: Callable[[int], Pool], tmp_path: Path) -> None:
    pool = pool_of(3)
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(500)], size=7)
    pool.close()
    for element in range(3):
        pool.start(element)
    assert [pool.wait(element) for element in range(3)] == [0, 0, 0]
    assert pool.read() == 500
    assert pool.results() == {n: n * n for n in range(500)}
    assert marks(tmp_path / "marks") == list(range(500))


def test_what_a_frozen_element_has_claimed_no_other_makes_and_it_goes_on(
    pool_of: Callable[[int], Pool], tmp_path: Path
) -> None:
    pool = pool_of(2)
    for element in range(2):
        pool.start(element)
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(20)])
    until(lambda: pool.read() == 20)
    os.kill(pool.pids[0], signal.SIGSTOP)
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(20, 1000)])
    pool.close()
    assert pool.wait(1) == 0  # it has made what the other had not claimed, also its share
    os.kill(pool.pids[0], signal.SIGCONT)
    assert pool.wait(0) == 0
    assert pool.read() == 1000
    assert pool.results() == {n: n * n for n in range(1000)}
    assert marks(tmp_path / "marks") == list(range(1000))


def end_by(number: int, how: str) -> int:
    if number == 3 and how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3 and how == "exit":
        os._exit(5)
    return number


@pytest.mark.parametrize(("how", "status"), [("kill", 137), ("exit", 5)])
def test_a_worker_that_dies_takes_only_its_call(how: str, status: int, pool_of: Callable[[int], Pool]) -> None:
    pool = pool_of(1)
    pool.send(end_by, [(n, how) for n in range(10)], size=10)
    pool.close()
    pool.start(0, workers=1)
    assert pool.wait(0) == 0
    assert pool.read() == 10
    assert pool.results() == {n: n for n in range(10) if n != 3}
    (failure,) = pool.failures().values()
    assert failure.error is not None
    assert (failure.call, failure.exit_code, failure.error.type) == (3, status, "WorkerDied")


def test_a_full_disk_delays_answers_and_loses_none(pool_of: Callable[[int], Pool], tmp_path: Path) -> None:
    """The first write that does not fit is cut in the middle of an answer, as on a full disk."""
    pool = pool_of(1)
    pool.start(0, workers=1)
    pool.send(note, [(str(tmp_path / "marks"), 0)])
    until(lambda: pool.read() == 1)
    outbox = Path(pool.directory, OUT, outbox_name(0))
    full = outbox.stat().st_size + 100
    resource.prlimit(pool.pids[0], resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(1, 30)], size=29)
    until(lambda: outbox.stat().st_size == full)
    pool.send(note, [(str(tmp_path / "marks"), 30)])
    until(lambda: len(marks(tmp_path / "marks")) == 30)
    assert pool.read() < 30
    assert claimant(pool.directory, 2) is None  # while it cannot answer, it takes no calls
    resource.prlimit(pool.pids[0], resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    pool.close()
    assert pool.wait(0) == 0
    assert pool.read() == 31
    assert pool.results() == {n: n * n for n in range(31)}
    assert marks(tmp_path / "marks") == list(range(31))


def bytes_read(pid: int) -> int:
    """The bytes that a process has read, by proc(5): without those of its children that live."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def test_an_element_reads_little_of_the_calls_that_others_make(pool_of: Callable[[int], Pool], tmp_path: Path) -> None:
    """Their arguments are files of their own, or in blocks that are skipped: a quarter of these are read at most."""
    pool, call = pool_of(1), pickled(note, (str(tmp_path / "marks"), 7)).calls
    head, begin, end = unpacked(call.offsets)
    writer = ClientFiles(PoolFiles(), pool.directory, 0, INLINE_BYTES)
    function = writer.add_function(call.data[:begin], head)
    pool.start(0, workers=1)

    def write(calls: list[bytes]) -> None:
        writer.add_block(function, 7, writer.add_arguments(7, calls))

    def read_by_element() -> int:
        """Have it answer one more call, so that it has seen the blocks before; return the bytes that it has read."""
        answered = pool.read()
        write([call.data[begin:end]])
        writer.flush()
        until(lambda: pool.read() == answered + 1)
        return bytes_read(pool.pids[0])

    other = Claims(pool.directory, "1.1")
    before = read_by_element()
    for _ in range(20):
        prepare(pool.directory, writer.next_block)
        assert other.claim(writer.next_block)
        write([os.urandom(1_000_000)])
    large = read_by_element() - before
    for _ in range(20):
        prepare(pool.directory, writer.next_block)
        assert other.claim(writer.next_block)
        write([os.urandom(60_000)] * 16)
    small = read_by_element() - before - large
    assert large < 200_000
    assert 200_000 < small < 20 * 250_000


def test_an_element_that_starts_late_claims_no_blocks_whose_calls_have_ended(
    pool_of: Callable[[int], Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS, 100 000 claims in vain would take a minute."""
    pool, link = pool_of(2), os.link

    def count_links(source: str, target: str) -> None:
        note(str(tmp_path / "claimed"), int(Path(target).name))
        link(source, target)

    monkeypatch.setattr(os, "link", count_links)
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(50)])
    pool.start(0)
    until(lambda: pool.read() == 50)
    os.kill(pool.pids[0], signal.SIGSTOP)
    (tmp_path / "claimed").write_text("")
    pool.send(note, [(str(tmp_path / "marks"), n) for n in range(50, 60)], unfinished=50)
    pool.start(1)
    until(lambda: pool.read() == 60)
    assert marks(tmp_path / "claimed") == list(range(50, 60))
    assert marks(tmp_path / "marks") == list(range(60))


@pytest.mark.parametrize("fault", ["missing", "cut", "of another call"])
def test_a_call_whose_arguments_cannot_be_read_fails_alone(
    fault: str, pool_of: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LAG", 0.1)
    pool, calls = pool_of(1), pickled(len, *((b"x" * size,) for size in (100_000, 5, 200_000))).calls
    head, *bounds = unpacked(calls.offsets)
    writer = ClientFiles(PoolFiles(), pool.directory, 0, INLINE_BYTES)
    function = writer.add_function(calls.data[: bounds[0]], head)
    each = [calls.data[begin:end] for begin, end in itertools.pairwise(bounds)]
    writer.add_block(function, 0, writer.add_arguments(0, each))
    writer.close()
    file = Path(pool.directory, ARGUMENTS, "0")
    if fault == "missing":
        file.unlink()
    elif fault == "cut":
        os.truncate(file, 50_000)
    else:
        file.write_bytes(file.with_name("2").read_bytes())
    pool.start(0, workers=1)
    assert pool.wait(0) == 0
    pool.read()
    assert pool.results() == {1: 5, 2: 200_000}
    (failure,) = pool.failures().values()
    assert failure.error is not None
    assert (failure.call, failure.phase) == (0, "load")
    assert "arguments/0" in failure.error.message


def large(count: int) -> bytes:
    return b"x" * count


def test_a_large_result_is_a_file_of_its_own(pool_of: Callable[[int], Pool]) -> None:
    pool = pool_of(1)
    pool.send(large, [(10,), (3 << 20,)])
    pool.close()
    pool.start(0)
    assert pool.wait(0) == 0
    pool.read()
    (frame,) = (each for each in pool.answers if each.head.kind == LARGE)
    record = ResultRecord.from_json(json.loads(frame.body))
    data = Path(pool.directory, "results", record.file).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (record.bytes, record.sha256)
    assert loads(data) == large(3 << 20)
    assert frame.head.number == 1


def pid_of_worker(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    signal.pause()


def test_workers_end_with_their_element(pool_of: Callable[[int], Pool], tmp_path: Path) -> None:
    pool = pool_of(1)
    pool.send(pid_of_worker, [(str(tmp_path / "pid"),)])
    pool.start(0)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(pool.pids[0], signal.SIGTERM)
    assert pool.wait(0) == -signal.SIGTERM
    until(lambda: not alive(int((tmp_path / "pid").read_text())))
    assert pool.read() == 0  # what became of the call is for those to say who know why its element ended


def test_an_element_leaves_when_idle_and_makes_no_call_after_that(
    pool_of: Callable[[int], Pool], tmp_path: Path
) -> None:
    pool = pool_of(1)
    pool.start(0, idle=0.2)
    assert pool.wait(0) == 0
    pool.send(note, [(str(tmp_path / "marks"), 0)])
    assert pool.read() == 0
    assert claimant(pool.directory, 0) is None


def wait_for_a_child(path: str, number: int) -> int:
    """A call that has a program wait, unless its number is even."""
    note(path, number)
    if number % 2:
        child = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        Path(f"{path}.{number}").write_text(str(child))
        os.waitpid(child, 0)
    return number


def begun_child(path: Path, number: int) -> int:
    """The program that a call has started; 0 before it has."""
    child = path.with_name(f"{path.name}.{number}")
    return int((child.exists() and child.read_text()) or 0)


def test_a_cancelled_call_is_killed_with_its_programs_and_others_are_not(
    pool_of: Callable[[int], Pool], tmp_path: Path
) -> None:
    pool, path = pool_of(1), tmp_path / "marks"
    pool.start(0, workers=1)
    pool.send(wait_for_a_child, [(str(path), n) for n in range(12)], size=12)
    until(partial(begun_child, path, 1))
    child = begun_child(path, 1)
    pool.cancel(range(3, 6))  # they have not begun, and never do
    pool.cancel(range(1, 2))
    until(lambda: not alive(child))
    for number in (7, 9, 11):
        until(partial(begun_child, path, number))
        pool.cancel(range(number, number + 1))
    pool.close()
    assert pool.wait(0) == 0
    assert pool.read() == 12
    assert pool.results() == {n: n for n in (0, 2, 6, 8, 10)}
    assert {each.head.number for each in pool.answers if each.head.kind == CANCELLED} == {1, 3, 4, 5, 7, 9, 11}
    assert marks(path) == [0, 1, 2, 6, 7, 8, 9, 10, 11]
