"""Reading results: a damaged outcome or result is an error of its own calls, and does not affect others."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm.errors import ProtocolError, SlurmError, TransportError, UntrustedFile
from slurm.protocol import (
    ATTEMPTS,
    FAILED,
    OUTCOMES,
    RESULTS,
    RUN,
    SUBMISSION,
    SUBMITTED,
    Block,
    Submitted,
    attempt_name,
)
from slurm.protocol.outcomes import Outcome, ResultRecord
from slurm.serialization.unpickling import SignalWatch, load
from slurm.storage.job_store import JobStore
from slurm.storage.results import read_results
from slurm.tracking.attempts import AttemptRecords, Claim, claim_name
from slurm.transports.base import Fetched, ListingFailed
from slurm.transports.local import LocalTransport
from unit.job_directories import KEY, Directory, asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.called = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called


class Impatient(LocalTransport):
    """Retries failed reads at once."""

    read_pauses = (0.001, 0.002)


class Failing(Impatient):
    """A file system whose first reads of some files fail. No real one does that on request."""

    def __init__(self, name: str, times: int) -> None:
        self.name, self.left = name, times

    def fetch(self, paths: Sequence[str], *, private: bool = False) -> Iterator[Fetched]:
        for file in super().fetch(paths, private=private):
            if os.path.basename(file.path) == self.name and self.left > 0:
                self.left -= 1
                yield Fetched.failed(file.path, TransportError(f"{file.path} cannot be read: Input/output error"))
            else:
                yield file


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """A map of three calls, which have succeeded, with the results 0, 1 and 2."""
    found = Directory(str(tmp_path / "root"))
    write(found, SUBMISSION, asked(count=3).dumps())
    write(found, SUBMITTED, Submitted(scheduler="local", blocks=()).dumps())
    for index in range(3):
        save(found, index, index)
    return found


def write(directory: Directory, name: str, data: bytes) -> None:
    place, _, last = f"{directory.path}/{name}".rpartition("/")
    LocalTransport().put(place, {last: data})


def save(directory: Directory, index: int, value: Any) -> None:
    data = pickle.dumps(value)
    record = ResultRecord(file=f"{index}.pkl", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    write(directory, f"{RESULTS}/{index}.pkl", data)
    write(directory, f"{OUTCOMES}/{index}.json", Outcome(status="succeeded", phase=RUN, result=record).dumps())


GOOD = Outcome(status=FAILED, phase=RUN, exit_code=1).dumps()
BROKEN = {
    "empty": b"",
    "cut": GOOD[:-9],
    "zeros": bytes(len(GOOD)),
    "a list": b"[]",
    "a number": b"1",
    "no UTF-8": b'{"status": "\xff\xfe"}',
    "no field": b"{}",
    "another type": b'{"status": 3}',
    "too large a number": b'{"exit_code": ' + b"9" * 5000 + b"}",
    "NaN": GOOD.replace(b'"exit_code": 1', b'"exit_code": NaN'),
    "too deep": b"[" * 100_000,
    "of a later version": GOOD.replace(b'"protocol": ', b'"protocol": 9'),
    "a success without a result": b'{"status": "succeeded", "phase": "run"}',
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_outcome_is_an_error_of_its_call(directory: Directory, data: bytes) -> None:
    write(directory, f"{OUTCOMES}/1.json", data)
    ends = read_results(Impatient(), directory.path, range(3), chunk=1)
    assert ends.results == {0: 0, 2: 2}
    assert {index: type(error) for index, error in ends.unloaded.items()} == {1: ProtocolError}
    assert f"{OUTCOMES}/1.json" in str(ends.unloaded[1])


@pytest.mark.parametrize("name", ["empty", "cut", "a list", "no UTF-8"])
def test_a_damaged_outcome_does_not_affect_others(directory: Directory, name: str) -> None:
    write(directory, f"{OUTCOMES}/1.json", BROKEN[name])
    found = directory.store.several_outcomes({KEY: range(4)})[KEY]
    assert (set(found.read), set(found.unreadable)) == ({0, 2}, {1})
    assert directory.store.outcomes(KEY, range(4), chunk=1).keys() == {0, 2}


def test_a_changed_or_missing_result_is_an_error_of_its_call(directory: Directory) -> None:
    Path(directory.path, RESULTS, "0.pkl").unlink()
    write(directory, f"{RESULTS}/1.pkl", b"")
    ends = read_results(Impatient(), directory.path, range(3), chunk=1)
    assert ends.results == {2: 2}
    assert "the file is missing" in str(ends.unloaded[0])
    assert "its size or SHA-256 differs" in str(ends.unloaded[1])


@pytest.mark.parametrize("place", [f"{OUTCOMES}/1.json", f"{RESULTS}/1.pkl"])
def test_a_file_that_others_can_write_is_an_error_of_its_call(directory: Directory, place: str) -> None:
    Path(directory.path, place).chmod(0o602)
    ends = read_results(Impatient(), directory.path, range(3), chunk=1)
    assert ends.results == {0: 0, 2: 2}
    assert isinstance(ends.unloaded[1], UntrustedFile)


@pytest.mark.parametrize("place", [f"{OUTCOMES}/1.json", f"{RESULTS}/1.pkl"])
def test_a_directory_instead_of_a_file_is_an_error_of_its_call(directory: Directory, place: str) -> None:
    Path(directory.path, place).unlink()
    Path(directory.path, place).mkdir(mode=0o700)
    ends = read_results(Impatient(), directory.path, range(3), chunk=1)
    assert ends.results == {0: 0, 2: 2}
    assert isinstance(ends.unloaded[1], TransportError)
    assert place in str(ends.unloaded[1])


@pytest.mark.parametrize("name", ["1.json", "1.pkl"])
def test_a_temporary_read_error_is_retried(directory: Directory, name: str) -> None:
    ends = read_results(Failing(name, 2), directory.path, range(3), chunk=1)
    assert (ends.results, ends.unloaded) == ({0: 0, 1: 1, 2: 2}, {})


@pytest.mark.parametrize("name", ["1.json", "1.pkl"])
def test_a_lasting_read_error_is_an_error_of_its_call(directory: Directory, name: str) -> None:
    ends = read_results(Failing(name, 99), directory.path, range(3), chunk=1)
    assert ends.results == {0: 0, 2: 2}
    assert isinstance(ends.unloaded[1], TransportError)


def test_an_unreadable_outcome_is_not_a_missing_outcome(directory: Directory) -> None:
    store = JobStore(Failing("1.json", 99), directory.root)
    assert isinstance(store.several_outcomes({KEY: range(3)})[KEY].unreadable[1], TransportError)
    with pytest.raises(TransportError, match="Input/output error"):
        store.outcomes(KEY, range(3), chunk=1)


def test_a_damaged_outcome_is_an_error_of_all_calls_of_its_element(directory: Directory) -> None:
    write(directory, f"{OUTCOMES}/0.json", b"")
    ends = read_results(Impatient(), directory.path, range(4), chunk=2)
    assert {0, 1} == {index for index, error in ends.unloaded.items() if "0.json" in str(error)}


# Records of submissions.


@pytest.mark.parametrize("name", [SUBMISSION, SUBMITTED])
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_submission_does_not_affect_a_listing(
    directory: Directory, name: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    other = Directory(directory.root, "other/20260101T000000Z-00000001")
    write(other, SUBMISSION, asked(other.key).dumps())
    write(directory, name, data)
    store = directory.store
    assert [records.submission.key for records in store.several_records(store.keys())] == [other.key]
    assert f"{KEY}/{name}" in caplog.text
    with pytest.raises(ProtocolError, match=name):
        store.records(KEY)


@pytest.mark.parametrize("id_", ["", "abc", "1 2", "1,2", "*", "$(id)", "1;a b", "-1", "9" * 30, "١"])
def test_an_impossible_id_is_a_damaged_record(directory: Directory, id_: str) -> None:
    write(directory, SUBMISSION, asked().dumps())
    write(directory, SUBMITTED, Submitted(scheduler="slurm", blocks=(Block(id=id_, first=0, count=3),)).dumps())
    with pytest.raises(ProtocolError, match="is not an id of slurm"):
        directory.store.records(KEY)


def test_ids_of_each_scheduler_are_read(directory: Directory) -> None:
    write(directory, SUBMISSION, asked().dumps())
    for scheduler, id_ in (
        ("slurm", "12"),
        ("slurm", "12;big-1.site_a"),
        ("local", "1795792346961"),
        ("other", "f.a b"),
    ):
        submitted = Submitted(scheduler=scheduler, blocks=(Block(id=id_, first=0, count=3),))
        write(directory, SUBMITTED, submitted.dumps())
        assert directory.store.records(KEY).submitted == submitted


def test_a_record_of_another_submission_is_refused(directory: Directory) -> None:
    write(directory, SUBMISSION, asked("other/20260101T000000Z-00000001").dumps())
    with pytest.raises(ProtocolError, match="is the record of another submission"):
        directory.store.records(KEY)


def test_an_unlistable_directory_does_not_affect_others(directory: Directory) -> None:
    long = f"{directory.path}/{'x' * 300}"  # longer than a name may be
    with pytest.raises(ListingFailed, match="File name too long") as caught:
        LocalTransport().list([long, f"{directory.path}/{RESULTS}"])
    assert sorted(caught.value.found[f"{directory.path}/{RESULTS}"]) == ["0.pkl", "1.pkl", "2.pkl"]
    assert caught.value.failed.keys() == {long}
    told = directory.store.done([f"work/{'x' * 300}", KEY])
    assert told[KEY] == frozenset({0, 1, 2})
    assert isinstance(told[f"work/{'x' * 300}"], TransportError)


# Records of attempts.


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_damaged_records_of_attempts_are_errors_of_their_element(directory: Directory, data: bytes) -> None:
    claim = Claim(group="g", options={}, retries=1, reason="x")
    for element in (0, 1):
        write(directory, f"{ATTEMPTS}/{attempt_name(element, 1)}", GOOD)
        write(directory, f"{ATTEMPTS}/{claim_name(element, 1)}", claim.dumps())
    write(directory, f"{ATTEMPTS}/{attempt_name(2, 1)}", data)
    write(directory, f"{ATTEMPTS}/{claim_name(1, 1)}", data)
    write(directory, f"{ATTEMPTS}/g.blocks.json", data)
    told = AttemptRecords(directory.store, KEY, range(3))
    assert told.outcomes[0, 1] == Outcome.loads(GOOD, where="")
    assert told.claims == {(0, 1): claim}
    assert told.damaged.keys() == {(1, 1)}
    assert told.blocks == []
    if data != BROKEN["a success without a result"]:
        error = told.outcomes[2, 1].error
        assert error is not None
        assert attempt_name(2, 1) in error.message


def test_attempts_that_cannot_be_read_now_raise_a_transport_error(directory: Directory) -> None:
    write(directory, f"{ATTEMPTS}/{attempt_name(0, 1)}", GOOD)
    with pytest.raises(TransportError, match="Input/output error"):
        AttemptRecords(JobStore(Failing(attempt_name(0, 1), 99), directory.root), KEY, [0])


# What unpickling raises.


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError, SlurmError])
def test_an_exception_of_unpickling_is_an_error_of_its_call(directory: Directory, kind: type[BaseException]) -> None:
    save(directory, 1, Calls(raising, kind))
    ends = read_results(Impatient(), directory.path, range(3), chunk=1)
    assert ends.results == {0: 0, 2: 2}
    assert {index: type(error) for index, error in ends.unloaded.items()} == {1: kind}


def raising(kind: type[BaseException]) -> None:
    raise kind("unpickled")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where the suite runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_during_unpickling_interrupts(directory: Directory) -> None:
    save(directory, 1, Calls(signal.raise_signal, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        read_results(Impatient(), directory.path, range(3), chunk=1)


@pytest.mark.usefixtures("ctrl_c")
def test_sys_exit_in_a_signal_handler_ends_the_program() -> None:
    def leave(*_: object) -> None:
        sys.exit(3)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with SignalWatch() as signals:
            with pytest.raises(SystemExit):
                load(io.BytesIO(pickle.dumps(Calls(signal.raise_signal, signal.SIGTERM))))
            with pytest.raises(SystemExit, match="3"):
                signals.raise_if_sent()
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_handler_set_during_unpickling_stays() -> None:
    def own(*_: object) -> None: ...

    with SignalWatch():
        signal.signal(signal.SIGINT, own)
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is own


def test_other_threads_do_not_change_signal_handlers() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with SignalWatch() as signals:
            seen.append(signal.getsignal(signal.SIGINT))
            signals.raise_if_sent()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
