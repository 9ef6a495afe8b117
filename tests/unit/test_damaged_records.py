"""Damaged records: reading one gives a record with valid fields or a ProtocolError, never another error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.callbacks.events import ProgressEvent
from slurm.callbacks.progress_model import progress_text
from slurm.environments.building import Built
from slurm.errors import ProtocolError
from slurm.notifications.progress_reader import fields, lines
from slurm.protocol import (
    FAILED,
    RUN,
    SAVE,
    SUCCEEDED,
    Block,
    Document,
    Edge,
    Refused,
    ResolvedEnvironment,
    Submission,
    Submitted,
)
from slurm.protocol.outcomes import CallFailure, ErrorRecord, Outcome, ResultRecord
from slurm.runner.journal import _read, frame
from slurm.tracking.attempts import Claim
from slurm.tracking.workflow_journal import Child
from unit.job_directories import asked

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR = ErrorRecord(type="ValueError", message="x", bases=("ValueError",), traceback="…", pickle="AAAA")
SEVERAL = Outcome(
    status=FAILED,
    phase=SAVE,
    result=ResultRecord(file="0.pkl", bytes=9, sha256="0"),
    ends=(4, 4, 9),
    failures=(CallFailure(call=1, phase=RUN, error=ERROR),),
    ranks=2,
    rank=1,
)
ENVIRONMENT = ResolvedEnvironment(
    key="k", python="/p", tag="3.11", setup=("module load x",), launch=("srun",), is_step=True
)
DOCUMENTS: list[Document] = [
    asked(
        count=3,
        options={"mem": "4G", "sbatch": {"--x": True}},
        environment=ENVIRONMENT,
        dependencies=(Edge(key="e/1", indices=(0, 2)), Edge(key="e/2", elementwise=True)),
        workflow={"cluster": "c", "options": {"time": "5"}},
        client={"pid": 1},
    ),
    Submitted(scheduler="slurm", blocks=(Block(id="7", first=0, count=2), Block(id="8", first=2, count=1, tasks=(0,)))),
    Refused(scheduler="slurm", words="no"),
    Outcome(status=FAILED, phase=RUN, exit_code=3, error=ERROR, started=1.5, ended=2, host="n1", peak_memory=5),
    SEVERAL,
    Claim(group="0.1-ab", options={"mem": "4G"}, retries=1, reason="x"),
    Child(key="f/1", elements=2, attempt=1, created=1.0),
    Built(environment=ENVIRONMENT, created=1.0, host="h"),
]
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -1, 0, 2**63, float("inf"), float("nan"), 1e308, "", "1", "..", "a/b", "\udcff"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values within a JSON value."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """JSON in which one value is replaced or missing."""
    value = json.loads(json.dumps(value))
    path = draw(st.sampled_from(list(places(value))))
    if not path:
        return draw(ANY)
    *way, last = path
    holder = value
    for key in way:
        holder = holder[key]
    if draw(st.booleans()):
        holder[last] = draw(ANY)
    else:
        del holder[last]
    return value


def use(record: Document) -> None:
    """The accesses of readers to records."""
    assert json.loads(record.dumps()) is not None
    assert isinstance(hash(repr(record)), int)
    if isinstance(record, Submission):
        assert record.elements <= record.count
        assert all(len(edge.key.split("/")) == 2 for edge in record.dependencies)
    if isinstance(record, Submitted):
        assert all(len(block.elements) >= 0 for block in record.blocks)
        record.block(0)
    if isinstance(record, Outcome):
        for call in range(4):
            with contextlib.suppress(ProtocolError):
                assert record.of_call(call).status in (SUCCEEDED, FAILED)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: type(document).__name__)
@given(data=st.data())
def test_a_damaged_record_is_read_or_raises_a_protocol_error(document: Document, data: st.DataObject) -> None:
    text = json.dumps(data.draw(damaged(document.to_json())))
    try:
        record = type(document).loads(text, where="/r/x.json")
    except ProtocolError as error:
        assert "/r/x.json" in str(error)  # noqa: PT017 - either is right
    else:
        use(record)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: type(document).__name__)
@given(data=st.data())
def test_changed_bytes_are_read_or_raise_a_protocol_error(document: Document, data: st.DataObject) -> None:
    text = bytearray(document.dumps())
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=4)):
        text[at] = data.draw(st.integers(0, 255))
    try:
        record = type(document).loads(bytes(text[: data.draw(st.integers(0, len(text)))]), where="/r/x.json")
    except ProtocolError as error:
        assert "/r/x.json" in str(error)  # noqa: PT017 - either is right
    else:
        use(record)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attempt": "1"}, "attempt is '1', expected int"),
        ({"attempt": True}, "attempt is True, expected int"),
        ({"attempt": 10**40}, "attempt is a huge number, expected int"),
        ({"started": float("nan")}, r"started is nan, expected float \| None"),
        ({"status": "done"}, "status is 'done', expected succeeded or failed"),
        ({"error": []}, r"error is a list of 0, expected ErrorRecord \| None"),
        ({"error": {"type": "E", "message": 3}}, "message is 3, expected str"),
        ({"ends": [4, "9"]}, r"ends is a list of 2, expected tuple\[int, \.\.\.\] \| None"),
        ({"ends": [9, 4]}, "ends decreases from 9 to 4"),
        ({"failures": []}, "the calls without a result are not those that failed"),
        ({"result": {"file": "../0.pkl", "bytes": 1, "sha256": ""}}, "'../0.pkl' is not a name of a result file"),
        ({"phase": None}, "phase is None, expected str"),
    ],
)
def test_an_invalid_field_is_named(changes: dict[str, Any], words: str) -> None:
    text = json.dumps({**SEVERAL.to_json(), **changes})
    with pytest.raises(ProtocolError, match=f"^/r/0.json is not a valid outcome record: {words}$"):
        Outcome.loads(text, where="/r/0.json")


def test_deeply_nested_options_are_rejected() -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    text = json.dumps({**DOCUMENTS[0].to_json(), "options": deep})
    with pytest.raises(ProtocolError, match="options is an object of 1, expected Mapping"):
        Submission.loads(text, where="x")


DONE: list[bytes | CallFailure] = [b"one", SEVERAL.failures[0], b"three"]
JOURNAL = b"".join(b"".join(frame(n, done)) for n, done in enumerate(DONE))


@given(data=st.data())
def test_a_damaged_journal_has_fewer_calls(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = bytearray(JOURNAL)
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=4)):
        text[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "journal"
    path.write_bytes(text)
    for place, done in _read(str(path)):
        assert place >= 0
        assert isinstance(done, (bytes, CallFailure))


def test_a_journal_that_is_a_directory_is_empty(tmp_path: Path) -> None:
    assert list(_read(str(tmp_path))) == []


def test_reported_progress_may_be_infinite_or_nan() -> None:
    line = '{"event": "progress", "time": 1, "attempt": 1, "done": 3, "total": Infinity, "metrics": {"loss": NaN}}'
    (told,) = filter(None, map(fields, lines(line)))
    assert (told["done"], told["total"], str(told["metrics"])) == (3, float("inf"), "{'loss': nan}")


EVENT = {"event": "progress", "time": 1.5, "attempt": 1, "done": 3, "total": 9, "metrics": {"loss": 0.5}}


@given(data=st.data())
def test_a_damaged_line_of_events_is_shown_or_skipped(data: st.DataObject) -> None:
    text = json.dumps(data.draw(damaged(EVENT)))
    for event in filter(None, map(fields, lines(f"{text}\n{'[' * 100_000}\n{'1' * 5000}\n"))):
        told = ProgressEvent(url="local", key="a/b", task="a", mapped=False, index=0, **event)
        assert isinstance(progress_text(told), str)
