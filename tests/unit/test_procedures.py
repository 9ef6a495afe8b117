"""What the events of a procedure say, and the files that they are in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from slurm.procedures import Script, ScriptExecutionService, states
from slurm.procedures.event_file import EventFile
from slurm.procedures.preparing import EarlyEvents, write_record
from slurm.procedures.states import ProcedureState
from slurm.protocol.outcomes import Outcome
from slurm.protocol.procedures import Plan, ProcedureRecord, ScriptRecord, abort_name, is_name
from slurm.protocol.states import JobState
from slurm.runner.procedures.events import EventLog
from slurm.storage.keys import new_key
from slurm.storage.log_growth import MOST
from slurm.submission.status import JobStatus
from slurm.testing import InlineCluster
from slurm.transports.local import LocalTransport

PLAN = Plan(script=ScriptRecord(kind="text", path="x.py", digest="", text=""), grace=1.0, kill_wait=2.0)
RECORD = ProcedureRecord(key="procedure/1", plan=PLAN, by="ann@here", created=1.0, options={"time": "10"})


def events(*words: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Events: a text is a state."""
    found = [{"event": "state", "state": word} if isinstance(word, str) else word for word in words]
    return [{"time": 2.0 + number, "attempt": 1, **event} for number, event in enumerate(found)]


CALLED = {"event": "called", "command": 1, "function": "main", "args": [1], "kwargs": {"x": 2}}
QUEUED, STOPPING = {"event": "queued", "command": 1}, {"event": "stopping", "command": 2}


@pytest.mark.parametrize(
    ("told", "job", "state", "pending"),
    [
        ([], None, "CREATING", None),
        ([], JobState.PENDING, "CREATING", None),
        ([], JobState.CANCELLED, "STOPPED", None),
        ([], JobState.REFUSED, "FAILED", None),
        (["IDLE", "LOADING"], JobState.RUNNING, "LOADING", None),
        (["IDLE", "LOADING", QUEUED], JobState.RUNNING, "LOADING", "start"),
        (["READY", QUEUED, CALLED, "RUNNING"], JobState.RUNNING, "RUNNING", None),
        (["READY", CALLED, "RUNNING", STOPPING], JobState.RUNNING, "RUNNING", "stop"),
        (["RUNNING", STOPPING, "STOPPED"], JobState.CANCELLED, "STOPPED", None),
        (["RUNNING", STOPPING, "UNKNOWN"], JobState.RUNNING, "UNKNOWN", "stop"),
        (["RUNNING", STOPPING, "UNKNOWN", "STOPPED"], None, "STOPPED", None),
        (["RUNNING"], JobState.OUT_OF_MEMORY, "FAILED", None),
        (["RUNNING"], JobState.NODE_FAIL, "FAILED", None),
        (["RUNNING"], JobState.TIMEOUT, "FAILED", None),
        (["RUNNING"], JobState.CANCELLED, "STOPPED", None),
        (["RUNNING"], JobState.UNKNOWN, "RUNNING", None),
        (["COMPLETE"], JobState.NODE_FAIL, "COMPLETE", None),
        (["RUNNING", "LATER"], JobState.RUNNING, "UNKNOWN", None),  # the state of a newer version
    ],
)
def test_the_state_follows_from_events_and_the_job(
    told: Iterable[str | dict[str, Any]], job: JobState | None, state: str, pending: str | None
) -> None:
    status = None if job is None else JobStatus(job, "the scheduler's reason", None, None)
    found = states.summary(3, RECORD, events(*told), status)
    assert (found.state, found.pending) == (state, pending)
    assert found.history.states[0] is ProcedureState.CREATING
    ended_by_the_scheduler = job is not None and job.final and not any(word in ("STOPPED", "COMPLETE") for word in told)
    assert found.reason == ("the scheduler's reason" if ended_by_the_scheduler else "")


def test_a_summary_has_the_calls_the_times_and_the_limit() -> None:
    outcome = Outcome(status="failed", phase="process", ended=99.0)
    told = events("IDLE", "LOADING", {"event": "state", "state": "IDLE", "expected": 60}, "READY", CALLED, "RUNNING")
    found = states.summary(3, RECORD, told, JobStatus(JobState.TIMEOUT, None, None, outcome))
    assert repr(found.script_args[1].fn_args) == "ProcedureInput(1, x=2)"
    assert [call.fn for call in found.script_args] == ["init", "main"]
    assert [when for _, when in found.history.process_states] == [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 99.0]
    assert (found.ends_at, found.expected) == (603.0, 60)
    assert repr(found) == "<procedure 3: FAILED (its process ended with status 0), x.py, procedure/1>"
    assert repr(found.history) == "<history: CREATING, IDLE, LOADING, IDLE, READY, RUNNING, FAILED>"


def test_a_clock_that_goes_back_changes_no_order(tmp_path: Path) -> None:
    """The order of states is that of the file; the order of procedures is that of their numbers."""
    told = [{**event, "time": 1e9 - number} for number, event in enumerate(events("IDLE", "LOADING", "READY"))]
    found = states.summary(3, RECORD, told, JobStatus(JobState.RUNNING, None, None, None))
    assert found.state == "READY"
    assert [str(state) for state in found.history.states] == ["CREATING", "IDLE", "LOADING", "READY"]
    with InlineCluster(root=tmp_path / "root") as cluster:
        service = ScriptExecutionService(on=cluster)
        for created in (3e9, 1.0, 2e9):
            record = RECORD.replace(key=new_key("procedure"), created=created)
            EarlyEvents.open(cluster.place, record)
            write_record(cluster.place, record)
        assert [(each.id, each.history.process_states[0][1]) for each in service.summarise()] == [
            (3, 2e9),
            (2, 1.0),
            (1, 3e9),
        ]


def test_a_file_of_events_is_read_in_whole_lines_from_any_offset(tmp_path: Path) -> None:
    file = tmp_path / "events" / "0.jsonl"
    file.parent.mkdir()
    lines = [json.dumps({"event": "report", "text": f"{number} é", "values": {}}) + "\n" for number in range(100)]
    data = "".join([*lines[:50], "damaged\n", *lines[50:]]).encode()
    texts: list[str] = []
    offset = 0
    for cut in range(0, len(data) + 97, 97):  # a new reader each time, from where the last event ended
        file.write_bytes(data[:cut])
        for event in EventFile(LocalTransport(), str(tmp_path), offset).read():
            texts.append(event["text"])
            offset = event["offset"]
    assert texts == [f"{number} é" for number in range(100)]
    assert offset == len(data)


def test_an_event_that_is_longer_than_what_is_read_at_once_is_read_whole(tmp_path: Path) -> None:
    texts = ["a", "b" * (2 * MOST + 3), "c" * MOST, "d"]
    (tmp_path / "events").mkdir()
    lines = "".join(json.dumps({"event": "report", "text": text}) + "\n" for text in texts)
    (tmp_path / "events" / "0.jsonl").write_text(lines + "e" * (MOST + 1))
    events = EventFile(LocalTransport(), str(tmp_path))
    assert [event["text"] for event in events.read()] == texts
    assert events.offset == len(lines)
    assert events.read() == []


def test_events_that_cannot_be_written_are_written_later_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    path.write_text('{"event": "hook", "attempt": 1}\n')
    log = EventLog(str(path), 1)
    log.add({"event": "state", "state": "IDLE"})
    path.rename(tmp_path / "away")
    path.mkdir()
    log.add({"event": "state", "state": "READY"})
    assert not log.write()
    path.rmdir()
    (tmp_path / "away").rename(path)
    assert log.write()
    assert [event.get("state") for event in map(json.loads, path.read_text().splitlines())] == [None, "IDLE", "READY"]
    assert (EventLog(str(path), 2).earlier, EventLog(str(path), 2).prepared) == (True, True)


@pytest.mark.parametrize(
    ("text", "valid"), [("telescope", True), ("operator.ready-2_x", True), ("", False), (".x", False), ("a/b", False)]
)
def test_names_of_slots_and_topics_are_names_of_directories(text: str, valid: object) -> None:
    assert is_name(text) is valid
    assert abort_name("procedure/20261129T042500Z-1a2b3c4d") == "abort-procedure-20261129T042500Z-1a2b3c4d.json"


def test_procedures_run_on_the_cluster_for_tests() -> None:
    with InlineCluster() as cluster:
        procedure = ScriptExecutionService(on=cluster).prepare(Script.text("def f(x): return x + 1\ndef main(): pass"))
        procedure.wait("READY", 60)
        assert procedure.run("f", 3) == 4
        procedure.start()
        assert procedure.wait(None, 60) == "COMPLETE"
