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
from slurm.schedulers.local_queue.checks import check
from slurm.schedulers.local_queue.commands import submission
from slurm.schedulers.local_queue.messages import Cancel, Comments, Listing, Query, Refused, Submission, decode, encode
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, End
from slurm.schedulers.local_queue.queue import Queue, next_id
from slurm.schedulers.local_queue.storage import Storage

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.batch import Batch

COMPLETED, FAILED, UNKNOWN = End("COMPLETED", ""), End("FAILED", ""), End("COMPLETED", STATUS_UNKNOWN)


def wanted(tasks: str = "0", **changes: Any) -> Submission:
    """A submission."""
    made = submission("run.sh", [], {"array": tasks, "output": "/dev/null"})
    return made._replace(environ={}, **changes)


def started(queue: Queue) -> list[tuple[str, int]]:
    """All that may start now, which is started."""
    for_good: list[tuple[str, int]] = []
    while never := queue.settle():
        for batch, tasks in never:
            for task in tasks:
                queue.end(batch, task, End("CANCELLED", "DependencyNeverSatisfied"))
    while (ready := queue.next_ready()) is not None:
        queue.start(*ready)
        for_good.append((ready[0].id, ready[1]))
    return for_good


def states(batch: Batch) -> dict[int, str]:
    """The state of each task."""
    return {task: row.state for row in batch.rows() for task in numbers(row.tasks)}


# The queue.


def test_elements_start_in_order_up_to_the_cpus_and_max_concurrent() -> None:
    queue = Queue(3)
    first = queue.add("1", wanted("0-9", max_concurrent=2))
    queue.add("2", wanted("5,7"))
    assert started(queue) == [("1", 0), ("1", 1), ("2", 5)]
    queue.end(first, 1, COMPLETED)
    assert started(queue) == [("1", 2)]


def test_an_element_that_waits_for_cpus_lets_nobody_pass() -> None:
    queue = Queue(2)
    first = queue.add("1", wanted())
    queue.add("2", wanted(cpus=64))
    queue.add("3", wanted())
    assert started(queue) == [("1", 0)]
    queue.end(first, 0, COMPLETED)
    assert started(queue) == [("2", 0)]


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
def test_dependencies_as_sbatch_has_them(kind: str, end: End, runs: bool, name: str) -> None:
    queue = Queue(1)
    first = queue.add("1", wanted())
    second = queue.add("2", wanted(dependencies={kind: ["1" if kind == "aftercorr" else name]}))
    assert started(queue) == [("1", 0)]
    assert states(second) == {0: "PENDING"}
    assert second.rows()[0].reason == "Dependency"
    queue.end(first, 0, end)
    assert started(queue) == ([("2", 0)] if runs else [])
    assert states(second) == {0: "RUNNING" if runs else "CANCELLED"}


def test_who_can_never_start_takes_along_who_waits_for_it() -> None:
    queue = Queue(1)
    first = queue.add("1", wanted())
    chain = [queue.add(str(n), wanted(dependencies={"afterok": [str(n - 1)]})) for n in range(2, 6)]
    started(queue)
    queue.end(first, 0, FAILED)
    started(queue)
    assert [states(batch) for batch in chain] == [{0: "CANCELLED"}] * 4


def test_an_id_that_is_forgotten_holds_nobody_up() -> None:
    queue = Queue(9)
    queue.add("2", wanted("0-2", dependencies={"aftercorr": ["1"], "afterok": ["1_5"]}))
    assert started(queue) == [("2", 0), ("2", 1), ("2", 2)]


def test_counterparts_start_as_theirs_end_whatever_the_order() -> None:
    queue = Queue(20)
    first = queue.add("1", wanted("0-9"))
    second = queue.add("2", wanted("0-9", dependencies={"aftercorr": ["1"]}))
    started(queue)
    for task in (7, 2, 9):
        queue.end(first, task, FAILED if task == 2 else COMPLETED)
    assert started(queue) == [("2", 7), ("2", 9)]
    queue.put_back(second, 9)
    assert started(queue) == [("2", 9)]
    assert states(second)[2] == "CANCELLED"


def test_an_element_that_did_not_start_is_the_next_to_start() -> None:
    queue = Queue(1)
    batch = queue.add("1", wanted("0-2"))
    started(queue)
    queue.put_back(batch, 0)
    assert states(batch) == dict.fromkeys(range(3), "PENDING")
    assert started(queue) == [("1", 0)]


def test_ids_never_begin_again() -> None:
    assert next_id(0, 1_700_000_000.0) == 1_700_000_000_000
    assert next_id(1_700_000_000_000, 1_700_000_000.0) == 1_700_000_000_001
    assert next_id(1_700_000_000_000, 1_600_000_000.0) == 1_700_000_000_001  # the clock was set back


class QueueMachine(RuleBasedStateMachine):
    """Submissions, starts, ends and cancellations in any order, kept on disk, with supervisors that die meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.cpus = 4
        self.queue = Queue(self.cpus)
        self.started: dict[tuple[str, int], int] = {}
        self.kept: dict[str, tuple[Submission, list[tuple[int, End]]]] = {}

    @rule(
        count=st.integers(1, 6),
        cpus=st.integers(0, 6),
        most=st.none() | st.integers(1, 3),
        kind=st.none() | st.sampled_from(["afterok", "afternotok", "afterany", "aftercorr"]),
        data=st.data(),
    )
    def submit(self, count: int, cpus: int, most: int | None, kind: str | None, data: st.DataObject) -> None:
        dependencies = {kind: [data.draw(st.sampled_from(sorted(self.kept)))]} if kind and self.kept else {}
        made = wanted(f"0-{count - 1}", cpus=cpus, max_concurrent=most, dependencies=dependencies)
        id_ = str(100 + len(self.kept))
        self.kept[id_] = (made, [])
        self.queue.add(id_, made)

    @rule()
    def schedule(self) -> None:
        while never := self.queue.settle():
            for batch, tasks in never:
                for task in tasks:
                    self.end_one(batch, task, End("CANCELLED", "DependencyNeverSatisfied"))
        while (ready := self.queue.next_ready()) is not None:
            self.queue.start(*ready)
            which = (ready[0].id, ready[1])
            self.started[which] = self.started.get(which, 0) + 1

    def end_one(self, batch: Batch, task: int, end: End) -> None:
        self.kept[batch.id][1].append((task, end))
        self.queue.end(batch, task, end)

    def running(self) -> list[tuple[Batch, int]]:
        return [(batch, task) for batch in self.queue.batches.values() for task in batch.running()]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), end=st.sampled_from([COMPLETED, FAILED, UNKNOWN]))
    def end(self, data: st.DataObject, end: End) -> None:
        self.end_one(*data.draw(st.sampled_from(sorted(self.running(), key=lambda r: (r[0].id, r[1])))), end)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        batch = self.queue.batches[data.draw(st.sampled_from(sorted(self.kept)))]
        for task in batch.waiting():
            self.end_one(batch, task, End("CANCELLED", ""))

    @rule()
    def die(self) -> None:
        """The next supervisor takes up what is kept, and finds by their notes the elements that run."""
        running = [(batch.id, task) for batch, task in self.running()]
        before = {id_: states(batch) for id_, batch in self.queue.batches.items()}
        self.queue = Queue(self.cpus)
        for id_, (made, ends) in self.kept.items():
            batch = self.queue.add(id_, made)
            for task, end in ends:
                self.queue.end(batch, task, end)
        for id_, task in running:
            self.queue.start(self.queue.batches[id_], task)
        assert {id_: states(batch) for id_, batch in self.queue.batches.items()} == before

    @invariant()
    def the_limits_hold(self) -> None:
        assert sum(min(batch.submission.cpus, self.cpus) for batch, _ in self.running()) <= self.cpus
        for batch in self.queue.batches.values():
            assert len(batch.running()) <= (batch.submission.max_concurrent or 99)
            assert sorted(states(batch)) == list(batch.tasks)
        assert set(self.started.values()) <= {1}

    def teardown(self) -> None:
        """Everything ends, whatever came before."""
        for _ in range(200):
            self.schedule()
            if not self.queue.busy:
                return
            for batch, task in self.running():
                self.end_one(batch, task, COMPLETED)
        raise AssertionError([batch.rows() for batch in self.queue.batches.values()])


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueMachine = QueueMachine.TestCase


# What is kept on disk.


def test_a_submission_and_its_ends_come_back(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    made = wanted("0-99999", dependencies={"afterok": ["3_4"]})._replace(environ={"SECRET": "hunter2", "odd": "\udcff"})
    storage.add("1700000000000", made)
    storage.end("1700000000000", range(50_000), COMPLETED)
    storage.end("1700000000000", [70_000], End("FAILED", "not\nstarted: é"))
    (found,) = Storage(str(tmp_path), "boot").load()
    assert (found.id, found.submission) == ("1700000000000", made)
    assert found.ends[:2] == [(0, COMPLETED), (1, COMPLETED)]
    assert found.ends[50_000:] == [(70_000, End("FAILED", "not started: \\xe9"))]
    assert Storage(str(tmp_path), "boot").last_id == 1_700_000_000_000


def test_a_map_costs_two_files_whatever_its_size_and_one_line_an_end(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", wanted("0-99999"))
    storage.end("7", range(100_000), End("CANCELLED", ""))
    assert sorted(os.listdir(tmp_path / "queue")) == ["7.ends", "7.json"]
    assert (tmp_path / "queue" / "7.ends").read_text() == "0-99999 CANCELLED \n"
    assert (tmp_path / "queue" / "7.json").stat().st_size < 4096


def test_nothing_is_fsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is to outlive a killed process, not the machine."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", wanted())
    storage.end("7", [0], COMPLETED)
    assert synced == []


def test_what_was_being_written_when_the_supervisor_was_killed_does_not_count(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", wanted("0-9"))
    storage.end("7", [1], COMPLETED)
    with open(tmp_path / "queue" / "7.ends", "a") as file:
        file.write("2 COMPL")
    (tmp_path / "queue" / "8.json.new").write_text('{"message": "Subm')
    (tmp_path / "queue" / "9.json").write_text("garbage")
    assert [(stored.id, stored.ends) for stored in storage.load()] == [("7", [(1, COMPLETED)])]


def test_the_environment_is_private_and_goes_with_the_end(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = Storage(str(tmp_path), "boot")
        made = wanted()._replace(environ={"SECRET": "hunter2"})
        storage.add("7", made)
    finally:
        os.umask(before)
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "queue" / "7.json").stat().st_mode & 0o777 == 0o600
    storage.strip("7", made._replace(environ={}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_after_a_restart_of_the_machine_nothing_of_before_is_started(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "boot")
    storage.add("7", wanted())
    notes.create(storage.note("7", 0), 1.0)
    after = Storage(str(tmp_path), "another boot")
    assert (list(after.load()), list(after.notes()), after.last_id) == ([], [], 7)


def test_a_note_says_who_monitors_what_and_how_it_ended(tmp_path: Path) -> None:
    path = str(tmp_path / "7_0")
    assert notes.read(path) is None
    notes.create(path, 12.5)
    with pytest.raises(FileExistsError):
        notes.create(path, 13.5)
    notes.append_script(path)
    note = notes.read(path)
    assert note is not None
    assert (note.begun, note.monitor.pid, note.monitor, note.end) == (12.5, os.getpid(), note.script, None)
    assert note.monitor.alive
    assert not note.monitor._replace(born="1").alive  # a later process with this number
    notes.append_end(path, End("FAILED", "not started:\nno such file"))
    assert notes.read(path) == note._replace(end=End("FAILED", "not started: no such file"))
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
        ({"array": "0", "time": "soon"}, "--time=soon: expected minutes as a number"),
        ({"array": "0", "time": "9" * 5000}, "expected at most 68 years"),
        ({"array": "0", "signal": "FOO@30"}, "--signal=FOO@30: expected a signal and its lead"),
        ({"array": "0", "signal": "33"}, "--signal=33: expected a signal that this machine has"),
        ({"array": "0", "cpus-per-task": "many"}, "--cpus-per-task=many: expected a whole number from 1"),
        ({"array": "0", "cpus-per-task": "9" * 5000}, "expected a whole number from 1"),
        ({"array": "0", "ntasks": "x"}, "--ntasks=x: expected"),
        ({"array": "0", "ntasks": "-1"}, "--ntasks=-1: expected"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_at_submission(options: dict[str, str], words: str) -> None:
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
def test_the_supervisor_takes_nothing_that_would_break_it(changes: dict[str, Any]) -> None:
    check(wanted())
    with pytest.raises(ValueError, match=r"expected|out of range"):
        check(wanted()._replace(**changes))


def test_what_can_is_taken() -> None:
    options = {"array": "3,1,0-1%2", "output": "/x/%a", "time": "1:00", "signal": "B:10@30", "cpus-per-task": "2"}
    made = submission("run.sh", ["5"], {**options, "ntasks": "3", "afterok": "1,2_3"})
    assert (made.tasks, made.max_concurrent, made.seconds, made.warning) == ("0-1,3", 2, 60, [10, 30])
    assert (made.cpus, made.dependencies, made.arguments) == (6, {"afterok": ["1", "2_3"]}, ["5"])
    unlimited = submission("run.sh", [], {**options, "time": "UNLIMITED", "signal": "usr1", "waits": ""})
    assert (unlimited.seconds, unlimited.warning, unlimited.cpus) == (None, [10, 60], 0)


@pytest.mark.parametrize("message", [wanted("0-9"), Query(["1"]), Listing(), Cancel({"1": None, "2": "0-3"})])
def test_a_message_comes_back_as_it_was(message: tuple[Any, ...]) -> None:
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
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        decode(data)


@given(
    st.sampled_from(sorted(Submission._fields)),
    st.booleans()
    | st.floats()
    | st.lists(st.floats(), min_size=1)
    | st.dictionaries(st.text(), st.floats(), min_size=1),
)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    fields = {**json.loads(encode(wanted())), field: value}
    with pytest.raises(ValueError, match=f"Submission.{field}: expected"):
        decode(json.dumps(fields).encode())


# The socket.


class Bench:
    """A real server on a socket, whose requests are answered with their ids; `step` lets it see to what is ready."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(500)
        self.answered: list[bool] = []
        self.server = server.Server(self.listener, self.selector, self.answer)

    def answer(self, data: bytes, listens: bool) -> bytes:
        self.answered.append(listens)
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


def test_a_hundred_clients_are_served_past_some_that_say_nothing_and_some_that_are_slow(bench: Bench) -> None:
    silent = [bench.client(done=False) for _ in range(20)]
    halfway = [bench.client(b'{"message": "Que', done=False) for _ in range(20)]
    greedy = bench.client(encode(Query([str(n) for n in range(1000)])))  # a megabyte, which it doesn't read yet
    clients = [bench.client(encode(Query([str(n)]))) for n in range(100)]
    bench.step()
    assert [list(decode(received(client)).comments) for client in clients] == [[str(n)] for n in range(100)]
    for client in (*silent, *halfway):
        client.close()
    bench.step()
    assert len(bench.answered) == 101 + 20  # those that died half-way sent no message; they are answered in vain
    greedy.close()
    bench.step()
    assert not bench.server._connections


def test_garbage_is_refused_in_words(bench: Bench) -> None:
    client = bench.client(b"\x00\xff garbage")
    bench.step()
    assert isinstance(decode(received(client)), Refused)


def test_a_request_that_is_too_large_is_refused_before_it_is_all_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 1 << 16)
    client = bench.client(b"x" * 100_000, done=False)
    bench.step()
    client.settimeout(10)
    assert b"the request is larger than" in client.recv(1 << 16)
    client.close()
    assert bench.answered == []


def test_a_client_that_has_gone_is_known_to_be_gone(bench: Bench) -> None:
    bench.client(encode(Query(["1"]))).close()
    there = bench.client(encode(Query(["2"])))
    bench.step()
    assert bench.answered == [False, True]
    there.close()


def test_too_many_that_say_nothing_make_room_and_stuck_ones_are_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_messages_have_a_type_for_each_side() -> None:
    assert messages.decode_as(Query, encode(Query(["1"]))) == Query(["1"])
    with pytest.raises(ValueError, match="expected Query, not Listing"):
        messages.decode_as(Query, encode(Listing()))
