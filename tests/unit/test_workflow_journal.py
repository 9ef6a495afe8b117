"""WorkflowJournal: the next attempt of a workflow finds the submissions of the one before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm.errors import JobCancelled, ProtocolError
from slurm.protocol import CHILDREN, MOST_CALLS, OUTCOMES
from slurm.runner.job_context import JobContext
from slurm.serialization.calls import Calls
from slurm.storage.job_store import JobStore
from slurm.tracking.workflow_journal import Child, WorkflowJournal, several_children
from slurm.transports.local import LocalTransport
from unit.job_directories import asked

if TYPE_CHECKING:
    from slurm.protocol import Submission

FLOW = "flow/20260101T000000Z-00000000"
FIRST, SECOND = Calls(b"first", b"1"), Calls(b"second", b"2")

Begin = Callable[..., WorkflowJournal]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Begin an attempt of a call of the workflow."""
    (tmp_path / "jobs" / FLOW / OUTCOMES).mkdir(mode=0o700, parents=True)

    def attempt(number: int, index: int = 0) -> WorkflowJournal:
        return WorkflowJournal(JobContext(root=str(tmp_path), key=FLOW, index=index, attempt=number), FLOW)

    return attempt


def child(number: int, **more: Any) -> Submission:
    return asked(f"work/20260101T000000Z-{number:08x}", created=float(100 - number), **more)


def claim(journal: WorkflowJournal, number: int, calls: Calls = FIRST, **more: Any) -> str:
    """Submit; the key that counts."""
    return journal.claim(child(number), calls, **more)[1]


def test_the_next_attempt_gets_the_keys_of_equal_submissions_in_any_order(begin: Begin) -> None:
    first, second = begin(1), begin(2)
    keys = [claim(first, 1), claim(first, 2, SECOND), claim(first, 3)]
    assert keys == [child(number).key for number in (1, 2, 3)]
    assert [claim(second, 4, SECOND), claim(second, 5), claim(second, 6)] == [keys[1], keys[0], keys[2]]
    assert claim(second, 7) == child(7).key  # a third one that is equal


@pytest.mark.parametrize("other", [{"task": "other"}, {"count": 2, "mapped": True}], ids=["task", "map"])
def test_other_submissions_are_new(begin: Begin, other: dict[str, Any]) -> None:
    claim(begin(1), 1)
    new = child(2, **other)
    assert begin(2).claim(new, FIRST)[1] == new.key
    assert claim(begin(3), 3, Calls(b"first", b"2")) == child(3).key


def test_what_stays_alone_is_never_the_same_as_an_earlier_one(begin: Begin) -> None:
    assert claim(begin(1), 1, alone=True) == child(1).key
    assert claim(begin(2), 2, alone=True) == child(2).key
    assert claim(begin(3), 1, alone=True) == child(1).key


def test_a_refused_submission_gives_its_number_back(begin: Begin) -> None:
    first = begin(1)
    names = [first.claim(child(1), FIRST)[0], first.claim(child(2), FIRST)[0]]
    first.withdraw(names[1])
    assert first.orphans() == []
    assert first.claim(child(3), FIRST) == (names[1], child(3).key)


def test_orphans_are_the_submissions_that_this_attempt_has_not_made(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = begin(1), begin(2)
    assert first.orphans() == []
    for number, calls in enumerate([FIRST, SECOND, Calls(b"third", b"3")], 1):
        claim(first, number, calls)
    claim(begin(1, index=1), 4)  # another call's
    claim(second, 5, SECOND)
    assert sorted(second.orphans()) == [child(1).key, child(3).key]
    second.note_joined([child(3).key])
    assert second.orphans() == [child(1).key]
    children = tmp_path / "jobs" / FLOW / CHILDREN
    (children / "note").touch()
    (record,) = [path for path in children.iterdir() if child(1).key.encode() in path.read_bytes()]
    record.write_bytes(b"{")
    assert second.orphans() == []
    assert "a submission of a workflow is left out" in caplog.text


def test_a_workflow_that_has_an_outcome_submits_nothing_more(begin: Begin, tmp_path: Path) -> None:
    journal = begin(1)
    (tmp_path / "jobs" / FLOW / OUTCOMES / "0.json").touch()
    with pytest.raises(JobCancelled, match="was cancelled, or another attempt has finished it"):
        claim(journal, 1)
    assert claim(begin(1, index=1), 2) == child(2).key


@pytest.mark.parametrize("elements", [0, 1, MOST_CALLS])
def test_a_child_of_so_many_elements_is_valid(elements: int) -> None:
    record = Child(key=child(1).key, elements=elements, attempt=1, created=0.0)
    assert Child.loads(record.dumps(), where="") == record


@pytest.mark.parametrize(
    ("key", "elements"), [("work", 1), ("../x", 1), (child(1).key, -1), (child(1).key, MOST_CALLS + 1)]
)
def test_a_child_with_another_key_or_count_is_damaged(key: str, elements: int) -> None:
    with pytest.raises(ProtocolError):
        Child.loads(Child(key=key, elements=elements, attempt=1, created=0.0).dumps(), where="")


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(LocalTransport(), str(tmp_path))


def test_children_are_listed_in_the_order_of_their_submission(
    begin: Begin, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    first, other = begin(1), begin(1, index=1)
    for number in (1, 2, 3):
        claim(other if number == 2 else first, number)

    def found(wanted: dict[str, Any]) -> dict[str, list[str]]:
        listed = several_children(store, LocalTransport(), wanted)
        return {key: [each.key for each in some] for key, some in listed.items()}

    nothing = "flow/20260101T000000Z-11111111"
    assert found({FLOW: None, nothing: None}) == {FLOW: [child(n).key for n in (3, 2, 1)], nothing: []}
    assert found({FLOW: [0]}) == {FLOW: [child(3).key, child(1).key]}
    assert found({FLOW: [1, 2]}) == {FLOW: [child(2).key]}
    path = Path(store.directory(FLOW), CHILDREN)
    for name in os.listdir(path):
        if name.startswith("1."):
            (path / name).write_bytes(b"{")
    assert found({FLOW: None}) == {FLOW: [child(3).key, child(1).key]}
    assert "a submission of a workflow is left out" in caplog.text
