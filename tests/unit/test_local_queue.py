"""The local scheduler's queue, files, messages and socket, without processes."""

from __future__ import annotations

import json
import os
import selectors
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slurm.schedulers.base import numbers
from slurm.schedulers.local_queue import messages, notes, server
from slurm.schedulers.local_queue.commands import submission
from slurm.schedulers.local_queue.messages import (
    Cancel,
    Comments,
    Hold,
    Listing,
    Query,
    Refused,
    Submission,
    check,
    decode,
    encode,
)
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, FinalState
from slurm.schedulers.local_queue.queue import Queue, next_id
from slurm.schedulers.local_queue.storage import Storage

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.queue import Batch

COMPLETED, FAILED, UNKNOWN = (
    FinalState("COMPLETED", ""),
    FinalState("FAILED", ""),
    FinalState("COMPLETED", STATUS_UNKNOWN),
)


def new(tasks: str = "0", **changes: Any) -> Submission:
    """A submission."""
    made = submission("run.sh", [], {"array": tasks, "output": "/dev/null"})
    return made._replace(environ={}, **changes)


def start_ready(queue: Queue) -> list[tuple[str, int]]:
    """Start all elements that may start now, and return them."""
    started: list[tuple[str, int]] = []
    while never := queue.settle():
        for batch, tasks in never:
            for task in tasks:
                batch.finish(task, FinalState("CANCELLED", "DependencyNeverSatisfied"))
    while (ready := queue.next_ready()) is not None:
        ready[0].start(ready[1])
        started.append((ready[0].id, ready[1]))
    return started


def states(batch: Batch) -> dict[int, str]:
    """The state of each task."""
    return {task: row.state for row in batch.rows() for task in numbers(row.tasks)}


# The queue.


def test_elements_start_in_order_within_cpus_and_max_concurrent() -> None:
    queue = Queue(3)
    first = queue.add("1", new("0-9", max_concurrent=2))
    queue.add("2", new("5,7"))
    assert start_ready(queue) == [("1", 0), ("1", 1), ("2", 5)]
    first.finish(1, COMPLETED)
    assert start_ready(queue) == [("1", 2)]


def test_element_that_waits_for_cpus_blocks_later_ones() -> None:
    queue = Queue(2)
    first = queue.add("1", new())
    queue.add("2", new(cpus=64))
    queue.add("3", new())
    assert start_ready(queue) == [("1", 0)]
    first.finish(0, COMPLETED)
    assert start_ready(queue) == [("2", 0)]


@pytest.mark.parametrize(
    ("kind", "end", "runs"),
    [
        ("afterok", COMPLETED, True),
        ("afterok", FAILED, False),
        ("afterok", UNKNOWN, True),
        ("afternotok", COMPLETED, False),
        ("afternotok", FAILED, True),
        ("afternotok", UNKNOWN, True),
        ("afterany", FAILED, True),
        ("aftercorr", COMPLETED, True),
        ("aftercorr", FAILED, False),
        ("aftercorr", UNKNOWN, True),
    ],
)
@pytest.mark.parametrize("name", ["1", "1_0"])
def test_dependencies_are_satisfied_as_with_sbatch(kind: str, end: FinalState, runs: bool, name: str) -> None:
    queue = Queue(1)
    first = queue.add("1", new())
    second = queue.add("2", new(dependencies={kind: ["1" if kind == "aftercorr" else name]}))
    assert start_ready(queue) == [("1", 0)]
    assert states(second) == {0: "PENDING"}
    assert second.rows()[0].reason == "Dependency"
    first.finish(0, end)
    assert start_ready(queue) == ([("2", 0)] if runs else [])
    assert states(second) == {0: "RUNNING" if runs else "CANCELLED"}


def test_failed_dependency_cancels_the_whole_chain() -> None:
    queue = Queue(1)
    first = queue.add("1", new())
    chain = [queue.add(str(n), new(dependencies={"afterok": [str(n - 1)]})) for n in range(2, 6)]
    start_ready(queue)
    first.finish(0, FAILED)
    start_ready(queue)
    assert [states(batch) for batch in chain] == [{0: "CANCELLED"}] * 4


def test_forgotten_id_satisfies_dependencies() -> None:
    queue = Queue(9)
    queue.add("2", new("0-2", dependencies={"aftercorr": ["1"], "afterok": ["1_5"]}))
    assert start_ready(queue) == [("2", 0), ("2", 1), ("2", 2)]


def test_aftercorr_starts_each_task_once_its_counterpart_finishes() -> None:
    queue = Queue(20)
    first = queue.add("1", new("0-9"))
    second = queue.add("2", new("0-9", dependencies={"aftercorr": ["1"]}))
    start_ready(queue)
    for task in (7, 2, 9):
        first.finish(task, FAILED if task == 2 else COMPLETED)
    assert start_ready(queue) == [("2", 7), ("2", 9)]
    second.put_back(9)
    assert start_ready(queue) == [("2", 9)]
    assert states(second)[2] == "CANCELLED"


def test_element_that_is_put_back_starts_first() -> None:
    queue = Queue(1)
    batch = queue.add("1", new("0-2"))
    start_ready(queue)
    batch.put_back(0)
    assert states(batch) == dict.fromkeys(range(3), "PENDING")
    assert start_ready(queue) == [("1", 0)]


@pytest.mark.parametrize("dependencies", [{}, {"afterany": ["1"]}, {"aftercorr": ["1"]}])
def test_held_elements_do_not_start_and_block_no_others(dependencies: dict[str, list[str]]) -> None:
    queue = Queue(9)
    first = queue.add("1", new("0-4"))
    for _, task in start_ready(queue):
        first.finish(task, COMPLETED)
    batch = queue.add("2", new("0-4", dependencies=dependencies))
    batch.held = {0, 1, 3}
    assert start_ready(queue) == [("2", 2), ("2", 4)]
    assert {row.reason for row in batch.rows() if row.state == "PENDING"} == {"JobHeldUser"}
    batch.held = {1}
    assert start_ready(queue) == [("2", 0), ("2", 3)]
    batch.finish(1, FinalState("CANCELLED", ""))
    assert states(batch)[1] == "CANCELLED"


def test_a_task_that_waits_has_the_reason() -> None:
    queue = Queue(2)
    queue.add("1", new(cpus=2))
    queue.add("2", new("0-3", max_concurrent=1))
    queue.add("3", new())
    queue.add("4", new("0-1", dependencies={"aftercorr": ["2"]}))
    queue.add("5", new(dependencies={"afterok": ["3"]}))

    def reasons() -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for row in queue.rows("12345"):
            if row.state == "PENDING":
                found.setdefault(row.id, []).append((row.tasks, row.reason))
        return found

    start_ready(queue)
    assert reasons() == {
        "2": [("0-3", "Resources")],
        "3": [("0", "Priority")],
        "4": [("0-1", "Dependency")],
        "5": [("0", "Dependency")],
    }
    queue.batches["1"].finish(0, COMPLETED)
    start_ready(queue)
    assert reasons() == {
        "2": [("1-3", "JobArrayTaskLimit")],
        "4": [("0-1", "Dependency")],
        "5": [("0", "Dependency")],
    }
    queue.batches["2"].finish(0, COMPLETED)
    queue.batches["3"].finish(0, COMPLETED)
    start_ready(queue)
    queue.add("6", new(cpus=2))
    queue.batches["2"].finish(1, COMPLETED)
    start_ready(queue)
    assert [(each.id, each.tasks, each.reason) for each in queue.rows("56") if each.state == "PENDING"] == [
        ("5", "0", "Priority"),
        ("6", "0", "Priority"),
    ]


def test_next_id_never_repeats_an_id() -> None:
    assert next_id(0, 1_700_000_000.0) == 1_700_000_000_000
    assert next_id(1_700_000_000_000, 1_700_000_000.0) == 1_700_000_000_001
    assert next_id(1_700_000_000_000, 1_600_000_000.0) == 1_700_000_000_001  # the clock was set back


class QueueMachine(RuleBasedStateMachine):
    """Submit, start, finish and cancel in any order, with supervisors that are killed and restored from disk."""

    def __init__(self) -> None:
        super().__init__()
        self.cpus = 4
        self.queue = Queue(self.cpus)
        self.started: dict[tuple[str, int], int] = {}
        self.stored: dict[str, tuple[Submission, list[tuple[int, FinalState]]]] = {}

    @rule(
        count=st.integers(1, 6),
        cpus=st.integers(0, 6),
        most=st.none() | st.integers(1, 3),
        kind=st.none() | st.sampled_from(["afterok", "afternotok", "afterany", "aftercorr"]),
        data=st.data(),
    )
    def submit(self, count: int, cpus: int, most: int | None, kind: str | None, data: st.DataObject) -> None:
        dependencies = {kind: [data.draw(st.sampled_from(sorted(self.stored)))]} if kind and self.stored else {}
        made = new(f"0-{count - 1}", cpus=cpus, max_concurrent=most, dependencies=dependencies)
        id_ = str(100 + len(self.stored))
        self.stored[id_] = (made, [])
        self.queue.add(id_, made)

    @rule()
    def schedule(self) -> None:
        while never := self.queue.settle():
            for batch, tasks in never:
                for task in tasks:
                    self.finish_one(batch, task, FinalState("CANCELLED", "DependencyNeverSatisfied"))
        while (ready := self.queue.next_ready()) is not None:
            ready[0].start(ready[1])
            which = (ready[0].id, ready[1])
            self.started[which] = self.started.get(which, 0) + 1

    def finish_one(self, batch: Batch, task: int, end: FinalState) -> None:
        self.stored[batch.id][1].append((task, end))
        batch.finish(task, end)

    def running(self) -> list[tuple[Batch, int]]:
        return [(batch, task) for batch in self.queue.batches.values() for task in batch.running()]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), end=st.sampled_from([COMPLETED, FAILED, UNKNOWN]))
    def end(self, data: st.DataObject, end: FinalState) -> None:
        self.finish_one(*data.draw(st.sampled_from(sorted(self.running(), key=lambda r: (r[0].id, r[1])))), end)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        batch = self.queue.batches[data.draw(st.sampled_from(sorted(self.stored)))]
        for task in batch.pending():
            self.finish_one(batch, task, FinalState("CANCELLED", ""))

    @rule()
    def die(self) -> None:
        """Kill the supervisor. The next one restores the stored state, and running elements from their notes."""
        running = [(batch.id, task) for batch, task in self.running()]
        before = {id_: states(batch) for id_, batch in self.queue.batches.items()}
        self.queue = Queue(self.cpus)
        for id_, (made, ends) in self.stored.items():
            batch = self.queue.add(id_, made)
            for task, end in ends:
                batch.finish(task, end)
        for id_, task in running:
            self.queue.batches[id_].start(task)
        assert {id_: states(batch) for id_, batch in self.queue.batches.items()} == before

    @invariant()
    def the_limits_hold(self) -> None:
        assert sum(min(batch.submission.cpus, self.cpus) for batch, _ in self.running()) <= self.cpus
        for batch in self.queue.batches.values():
            assert len(batch.running()) <= (batch.submission.max_concurrent or 99)
            assert sorted(states(batch)) == list(batch.tasks)
        assert set(self.started.values()) <= {1}

    def teardown(self) -> None:
        """Every sequence of steps can be finished."""
        for _ in range(200):
            self.schedule()
            if not self.queue.busy:
                return
            for batch, task in self.running():
                self.finish_one(batch, task, COMPLETED)
        raise AssertionError([batch.rows() for batch in self.queue.batches.values()])


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueMachine = QueueMachine.TestCase


# Files.


def test_storage_restores_submissions_and_final_states(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    made = new("0-99999", dependencies={"afterok": ["3_4"]})._replace(environ={"SECRET": "hunter2", "odd": "\udcff"})
    storage.add("1700000000000", made)
    storage.finish("1700000000000", range(50_000), COMPLETED)
    storage.finish("1700000000000", [70_000], FinalState("FAILED", "not\nstarted: é"))
    (found,) = Storage(str(tmp_path), "boot").load()
    assert (found.id, found.submission) == ("1700000000000", made)
    assert found.finished[:2] == [(0, COMPLETED), (1, COMPLETED)]
    assert found.finished[50_000:] == [(70_000, FinalState("FAILED", "not started: \\xe9"))]
    assert Storage(str(tmp_path), "boot").last_id == 1_700_000_000_000


def test_storage_uses_two_files_for_a_large_array(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", new("0-99999"))
    storage.finish("7", range(100_000), FinalState("CANCELLED", ""))
    assert sorted(os.listdir(tmp_path / "queue")) == ["7.ends", "7.json"]
    assert (tmp_path / "queue" / "7.ends").read_text() == "0-99999 CANCELLED \n"
    assert (tmp_path / "queue" / "7.json").stat().st_size < 4096


def test_storage_restores_what_is_held_until_it_is_forgotten(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", new("0-9"))
    storage.hold("7", {0, 1, 2, 9})
    assert [stored.held for stored in Storage(str(tmp_path), "boot").load()] == [[0, 1, 2, 9]]
    storage.hold("7", ())
    assert [stored.held for stored in Storage(str(tmp_path), "boot").load()] == [[]]
    storage.forget("7")
    assert os.listdir(tmp_path / "queue") == []


def test_storage_does_not_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files must outlive a killed process, not the machine."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", new())
    storage.finish("7", [0], COMPLETED)
    assert synced == []


def test_storage_ignores_partly_written_files_and_lines(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", new("0-9"))
    storage.finish("7", [1], COMPLETED)
    with open(tmp_path / "queue" / "7.ends", "a") as file:
        file.write("2 COMPL")
    (tmp_path / "queue" / "8.json.new").write_text('{"message": "Subm')
    (tmp_path / "queue" / "9.json").write_text("garbage")
    assert [(stored.id, stored.finished) for stored in storage.load()] == [("7", [(1, COMPLETED)])]


def test_environment_is_stored_privately_until_the_submission_finishes(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = Storage(str(tmp_path), "boot")
        made = new()._replace(environ={"SECRET": "hunter2"})
        storage.add("7", made)
    finally:
        os.umask(before)
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "queue" / "7.json").stat().st_mode & 0o777 == 0o600
    storage.strip("7", made._replace(environ={}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_storage_discards_state_after_a_restart_of_the_machine(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", new())
    notes.create(storage.note("7", 0), 1.0)
    after = Storage(str(tmp_path), "another boot")
    assert (list(after.load()), list(after.notes()), after.last_id) == ([], [], 7)


def test_note_records_processes_and_the_final_state(tmp_path: Path) -> None:
    path = str(tmp_path / "7_0")
    assert notes.read(path) is None
    notes.create(path, 12.5)
    with pytest.raises(FileExistsError):
        notes.create(path, 13.5)
    notes.append_process(path, "script")
    note = notes.read(path)
    assert note is not None
    assert (note.begun, note.monitor.pid, note.monitor, note.final) == (12.5, os.getpid(), note.script, None)
    assert note.monitor.alive
    assert not note.monitor._replace(born="1").alive  # a later process with this number
    notes.append_final(path, FinalState("FAILED", "not started:\nno such file"))
    assert notes.read(path) == note._replace(final=FinalState("FAILED", "not started: no such file"))
    assert os.listdir(tmp_path) == ["7_0"]


# Requests.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"array": "0-99999999999"}, r"--array=0-99999999999: expected task numbers .* at most 1000000"),
        ({"array": "9" * 5000}, "expected task numbers"),
        ({"array": "5-3"}, "expected task numbers"),
        ({"array": "a"}, "expected task numbers"),
        ({"array": "1-"}, "expected task numbers"),
        ({"array": "0-9:0"}, "expected"),
        ({"array": "0%x"}, "--array=0%x: expected a whole number from 1"),
        ({"array": "0", "time": "soon"}, '--time=soon: expected text such as "2h"'),
        ({"array": "0", "time": "2h"}, "--time=2h: expected"),
        ({"array": "0", "time": "9" * 5000}, "expected at most 68 years"),
        ({"array": "0", "signal": "FOO@30"}, "--signal=FOO@30: expected a signal and its lead"),
        ({"array": "0", "signal": "33"}, "--signal=33: expected a signal that this machine has"),
        ({"array": "0", "cpus-per-task": "many"}, "--cpus-per-task=many: expected a whole number from 1"),
        ({"array": "0", "cpus-per-task": "9" * 5000}, "expected a whole number from 1"),
        ({"array": "0", "ntasks": "x"}, "--ntasks=x: expected"),
        ({"array": "0", "ntasks": "-1"}, "--ntasks=-1: expected"),
    ],
)
def test_submission_rejects_invalid_options(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        submission("run.sh", [], {"output": "/dev/null", **options})


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": "0-999999999"},
        {"tasks": ""},
        {"tasks": "x"},
        {"dependencies": {"afterok": ["a; rm"]}},
        {"dependencies": {"afterok": ["12_x"]}},
        {"dependencies": {"aftercorr": [""]}},
        {"max_concurrent": 0},
        {"cpus": -1},
        {"seconds": 10**400},
        {"seconds": -1},
        {"umask": -1},
        {"warning": []},
        {"warning": [10]},
        {"warning": [0, 5]},
        {"warning": [10**9, 5]},
        {"warning": [10, -1]},
    ],
)
def test_check_rejects_values_that_would_break_the_supervisor(changes: dict[str, Any]) -> None:
    check(new())
    with pytest.raises(ValueError, match=r"expected|out of range"):
        check(new()._replace(**changes))


def test_submission_contains_the_parsed_options() -> None:
    options = {"array": "3,1,0-1%2", "output": "/x/%a", "time": "1:00", "signal": "B:10@30", "cpus-per-task": "2"}
    made = submission("run.sh", ["5"], {**options, "ntasks": "3", "afterok": "1,2_3"})
    assert (made.tasks, made.max_concurrent, made.seconds, made.warning) == ("0-1,3", 2, 60, [10, 30])
    assert (made.cpus, made.dependencies, made.arguments) == (6, {"afterok": ["1", "2_3"]}, ["5"])
    unlimited = submission("run.sh", [], {**options, "time": "UNLIMITED", "signal": "usr1", "waits": ""})
    assert (unlimited.seconds, unlimited.warning, unlimited.cpus) == (None, [10, 60], 0)


@pytest.mark.parametrize(
    "message", [new("0-9"), Query(["1"]), Listing(), Cancel({"1": None, "2": "0-3"}), Hold({"1": "3"}, release=True)]
)
def test_decode_restores_encoded_messages(message: tuple[Any, ...]) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]",
        b"{}",
        b'{"message": ["Query"]}',
        b'{"message": "Query"}',
        b'{"message": "Query", "ids": "1"}',
        b'{"message": "Query", "ids": [1]}',
        b'{"message": "Query", "ids": [], "more": 1}',
        b'{"message": "Cancel", "tasks": {"1": 2}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_decode_rejects_invalid_messages(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message depends on the data
        decode(data)


@given(
    st.sampled_from(sorted(Submission._fields)),
    st.booleans()
    | st.floats()
    | st.lists(st.floats(), min_size=1)
    | st.dictionaries(st.text(), st.floats(), min_size=1),
)
def test_decode_rejects_fields_of_another_type(field: str, value: object) -> None:
    fields = {**json.loads(encode(new())), field: value}
    with pytest.raises(ValueError, match=f"Submission.{field}: expected"):
        decode(json.dumps(fields).encode())


# The socket.


class Bench:
    """A real server on a socket that replies with the ids of a request; `step` processes what is ready."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(500)
        self.answered: list[bool] = []
        self.server = server.Server(self.listener, self.selector, self.answer)

    def answer(self, data: bytes, connected: bool) -> bytes:
        self.answered.append(connected)
        try:
            return encode(Comments(dict.fromkeys(decode(data).ids, "x" * 1000)))
        except ValueError as error:
            return encode(Refused(str(error)))

    def client(self, data: bytes = b"", *, done: bool = True) -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(10)
        found.connect(self.path)
        found.sendall(data)
        if done:
            found.shutdown(socket.SHUT_WR)
        return found

    def step(self) -> None:
        for _ in range(20):
            for key, _ in self.selector.select(0):
                self.server.ready(key.fileobj)

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    found = Bench(Path("socket"))
    yield found
    found.close()


def received(client: socket.socket) -> bytes:
    data = b""
    while chunk := client.recv(1 << 16):
        data += chunk
    client.close()
    return data


def test_server_answers_many_clients_despite_silent_and_slow_ones(bench: Bench) -> None:
    silent = [bench.client(done=False) for _ in range(20)]
    halfway = [bench.client(b'{"message": "Que', done=False) for _ in range(20)]
    greedy = bench.client(encode(Query([str(n) for n in range(1000)])))  # a megabyte, which it does not read yet
    clients = [bench.client(encode(Query([str(n)]))) for n in range(100)]
    bench.step()
    assert [list(decode(received(client)).comments) for client in clients] == [[str(n)] for n in range(100)]
    for client in (*silent, *halfway):
        client.close()
    bench.step()
    assert len(bench.answered) == 101 + 20  # the replies to incomplete messages reach nobody
    greedy.close()
    bench.step()
    assert not bench.server._connections


def test_server_rejects_garbage_with_a_message(bench: Bench) -> None:
    client = bench.client(b"\x00\xff garbage")
    bench.step()
    assert isinstance(decode(received(client)), Refused)


def test_server_rejects_a_large_request_before_it_is_complete(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 1 << 16)
    client = bench.client(b"x" * 100_000, done=False)
    bench.step()
    client.settimeout(10)
    assert b"the request is larger than" in client.recv(1 << 16)
    client.close()
    assert bench.answered == []


def test_server_detects_disconnected_clients(bench: Bench) -> None:
    bench.client(encode(Query(["1"]))).close()
    there = bench.client(encode(Query(["2"])))
    bench.step()
    assert bench.answered == [False, True]
    there.close()


def test_server_closes_silent_connections_beyond_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    silent = [bench.client(done=False) for _ in range(10)]
    client = bench.client(encode(Query(["1"])))
    bench.step()
    assert list(decode(received(client)).comments) == ["1"]
    assert len(bench.server._connections) <= 5
    for connection in bench.server._connections.values():
        connection.until = 0.0
    bench.server.drop_stuck()
    assert not bench.server._connections
    for one in silent:
        one.close()


def test_decode_as_rejects_another_kind_of_message() -> None:
    assert messages.decode_as(Query, encode(Query(["1"]))) == Query(["1"])
    with pytest.raises(ValueError, match="expected Query, not Listing"):
        messages.decode_as(Query, encode(Listing()))
