"""The job directory protocol: documents, atomic files, and trusted files."""

from __future__ import annotations

import json
import os
import threading
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.errors import ProtocolError, UntrustedFile
from slurm.protocol import (
    FAILED,
    PROCESS,
    PROTOCOL,
    RUN,
    SAVE,
    SUCCEEDED,
    Block,
    Document,
    Edge,
    ResolvedEnvironment,
    Submission,
    Submitted,
)
from slurm.protocol.files import NewFile, commit, open_own
from slurm.protocol.outcomes import CallFailure, ErrorRecord, Outcome, ResultRecord
from unit.job_directories import asked
from unit.strategies import TEXT

if TYPE_CHECKING:
    from pathlib import Path

SUBMISSION = asked(
    count=3,
    options={"mem": "4G", "sbatch": {"--x": True}},
    environment=ResolvedEnvironment(key="k", python="/p", tag="3.11", setup=("module load x",)),
    dependencies=(Edge(key="e/1", indices=(0, 2)), Edge(key="e/2", elementwise=True)),
    client={"pid": 1},
    created=1.5,
)
SUBMITTED = Submitted(scheduler="slurm", blocks=(Block(id="7", first=0, count=2), Block(id="8", first=2, count=1)))
OUTCOME = Outcome(
    status=FAILED,
    phase=RUN,
    exit_code=3,
    result=ResultRecord(file="0.pkl", bytes=1, sha256="0"),
    error=ErrorRecord(type="ValueError", message="ö\n\udcff"),
)
DOCUMENTS = [SUBMISSION, SUBMITTED, OUTCOME]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["protocol", "status", "phase", "error"]), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_survives_encoding(document: Document) -> None:
    assert type(document).loads(document.dumps(), where="here") == document


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_truncated_document_is_rejected(document: Document) -> None:
    data = document.dumps().rstrip()
    for end in range(len(data)):
        with pytest.raises(ProtocolError, match="here is not a"):
            type(document).loads(data[:end], where="here")


def test_a_newer_protocol_is_rejected_with_both_versions() -> None:
    data = OUTCOME.replace(protocol=PROTOCOL + 1).dumps()
    with pytest.raises(
        ProtocolError, match=f"^/x/0.json was written with .*protocol {PROTOCOL + 1};.* up to {PROTOCOL}"
    ):
        Outcome.loads(data, where="/x/0.json")


def test_a_newer_protocol_is_rejected_for_any_fields() -> None:
    with pytest.raises(ProtocolError, match=f"protocol {PROTOCOL + 1}"):
        Submission.loads(json.dumps({"protocol": PROTOCOL + 1, "environment": 3}), where="here")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        b'{"protocol": "one"}',
        b'{"protocol": 1e999}',
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_an_invalid_document_is_named(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="here is not a valid outcome record"):
        Outcome.loads(data, where="here")


@given(PLAIN)
def test_any_json_gives_a_record_or_a_protocol_error(value: Any) -> None:
    try:
        assert isinstance(Outcome.loads(json.dumps(value), where="here"), Outcome)
    except ProtocolError as error:
        assert "here" in str(error)  # noqa: PT017 - either is right


def test_each_element_is_in_one_block() -> None:
    assert [block.id for index in range(3) if (block := SUBMITTED.block(index))] == ["7", "7", "8"]


@pytest.fixture(params=["with hard links", "without"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without: link(2) fails with EPERM."""
    if request.param == "without":

        def refused(source: str, target: str) -> None:
            raise PermissionError(1, "Operation not permitted", source, None, target)

        monkeypatch.setattr(os, "link", refused)


@pytest.mark.usefixtures("links")
def test_the_first_commit_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "0.json"
    assert commit(str(target), b"first")
    assert not commit(str(target), b"second")
    assert (target.read_bytes(), os.listdir(tmp_path)) == (b"first", ["0.json"])
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("links")
def test_a_file_does_not_exist_before_its_commit(tmp_path: Path) -> None:
    new = NewFile(str(tmp_path / "0.json"))
    new.file.write(b"half")
    new.file.flush()
    assert not (tmp_path / "0.json").exists()
    new.discard()
    assert os.listdir(tmp_path) == []


def test_of_many_concurrent_writers_one_commits(tmp_path: Path) -> None:
    target = tmp_path / "0.json"
    start = threading.Barrier(8)
    won: list[bytes] = []

    def write(data: bytes) -> None:
        start.wait()
        if commit(str(target), data):
            won.append(data)

    writers = [threading.Thread(target=write, args=(bytes([number]) * 5000,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert won == [target.read_bytes()]
    assert os.listdir(tmp_path) == ["0.json"]


def test_a_commit_that_fails_on_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        commit(str(tmp_path / "0.json"), b"data")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A private file in a private directory."""
    directory = tmp_path / "results"
    directory.mkdir(mode=0o755)
    path = directory / "0.pkl"
    path.write_bytes(b"mine")
    path.chmod(0o644)
    return path


def test_a_private_file_is_opened(own: Path) -> None:
    with open_own(str(own)) as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize("mode", [0o602, 0o606, 0o666])
@pytest.mark.parametrize("which", ["file", "directory"])
def test_a_file_that_others_can_write_is_not_opened(own: Path, which: str, mode: int) -> None:
    place = own if which == "file" else own.parent
    place.chmod(mode | (0o100 if which == "directory" else 0))
    with pytest.raises(UntrustedFile, match=rf"{place} is writable by other users .*: chmod go-w {place}$") as caught:
        open_own(str(own))
    assert caught.value.path == str(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("which", ["file", "directory"])
def test_a_file_of_another_user_is_not_opened(own: Path, which: str) -> None:
    place = own if which == "file" else own.parent
    os.chown(place, 4321, -1)
    with pytest.raises(UntrustedFile, match=r"belongs to user 4321, not to you .* root="):
        open_own(str(own))


@given(st.lists(st.none() | st.integers(1, 5), min_size=1, max_size=30))
def test_an_outcome_of_several_calls_has_an_outcome_for_each(sizes: list[int | None]) -> None:
    """A size is that of a call's result; a call with None failed, with its position as exit status."""
    ends = list(accumulate(size or 0 for size in sizes))
    failures = [CallFailure(call=i, phase=PROCESS, exit_code=i) for i, size in enumerate(sizes) if size is None]
    whole = OUTCOME.replace(ends=tuple(ends), failures=tuple(failures))
    for call, size in enumerate(sizes):
        of_call = Outcome.loads(whole.dumps(), where="x").of_call(call)
        if size is None:
            assert (of_call.status, of_call.phase, of_call.exit_code) == (FAILED, PROCESS, call)
            assert (of_call.result, of_call.error) == (None, None)
        else:
            assert (of_call.status, of_call.phase, of_call.exit_code) == (SUCCEEDED, SAVE, 0)
            assert of_call.result is not None
            assert (of_call.result.begin, of_call.result.end) == (ends[call] - size, ends[call])
