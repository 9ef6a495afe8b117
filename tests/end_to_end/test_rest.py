"""Procedures over HTTP have the same answers, states and events on this machine, on Slurm, and on Slurm over SSH.

What is expected is written here once, and compared exactly on each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from served import Client, served
from slurm import Cluster
from slurm.procedures import ScriptExecutionService
from slurm.server.scripts import ScriptRules
from waiting import until

WAIT = 180.0
SCRIPT = """
from slurm.procedures import procedure

seen = {}

def init(subarray_id=0):
    seen["subarray"] = subarray_id

def calibrate(n):
    procedure.report("calibrates", n=n)
    return n * seen["subarray"]

def listen():
    while not (found := procedure.messages()):
        procedure.sleep(60)
    return [found, procedure.flag("operator.ready")]

def main(sb_id):
    print("observing", sb_id)
    return sb_id
"""
REST = "def init(subarray_id=0): pass\ndef main(): pass\n"

LOADED = ["CREATING", "IDLE", "LOADING", "IDLE", "INITIALISING", "READY"]
WHOLE = [*LOADED, *["RUNNING", "READY"] * 4, "COMPLETE"]
CALLED = ["called", "RUNNING", "returned", "READY"]
REPORTED = ["called", "RUNNING", "report", "returned", "READY"]
HEARD = ["called", "RUNNING", "message", "returned", "READY"]
EVENTS = [*LOADED[1:], *REPORTED, *HEARD, "refused", *REPORTED, *CALLED, "COMPLETE"]


@pytest.fixture
def client(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A server for the cluster. Its procedures are ended afterwards."""
    monkeypatch.setattr("slurm.server.endpoints._SECONDS", WAIT)  # the machine may be busy
    with served(cluster, rules=ScriptRules(text=True)) as found:
        yield found
    for procedure in ScriptExecutionService(on=cluster).procedures():
        procedure.stop()


def prepared(client: Client, text: str = SCRIPT, **fields: Any) -> str:
    """The path of a procedure."""
    sent = {"script": {"text": text}, "options": {"time": "10"}, "grace": 1, **fields}
    made = client.ask("POST", "/procedures", body=json.dumps(sent).encode())
    assert made.status == 201, made
    return made.headers["Location"]


def comes(client: Client, path: str, state: str) -> None:
    """Wait for a state."""
    until(lambda: client.get(path)["state"] == state, WAIT)


def states(client: Client, path: str) -> list[str]:
    """The states that a procedure has had."""
    return [each["state"] for each in client.get(path)["history"]]


def test_a_whole_life_has_the_same_states_and_events(client: Client, cluster: Cluster) -> None:
    assert client.put("/context", topic="operator.ready", values={"enabled": True})["change"] == 1
    path = prepared(client, kwargs={"subarray_id": 7})
    comes(client, path, "READY")
    created = client.ask("GET", path)
    assert client.ask("GET", path, headers={"If-None-Match": created.headers["ETag"]}).status == 304
    for function, args in (("calibrate", [3]), ("listen", [])):
        client.put(path, state="RUNNING", function=function, args=args)
        if function == "listen":
            comes(client, path, "RUNNING")
            client.post(f"{path}/messages", message={"go": [1, None]})
        comes(client, path, "READY")
    old = client.ask("PUT", path, body=b'{"state": "RUNNING"}', headers={"If-Match": created.headers["ETag"]})
    assert old.status == 412
    wrong = client.ask("PUT", path, body=b'{"state": "RUNNING"}')
    assert (wrong.status, "sb_id" in wrong.data["detail"]) == (409, True), wrong
    client.put(path, state="RUNNING", function="calibrate", args=[1])
    comes(client, path, "READY")
    client.put(path, state="RUNNING", kwargs={"sb_id": "sbi-1"}, force=True)
    with client.events(path=f"{path}/events") as stream:
        *seen, (name, last) = stream
    assert (name, last["state"]) == ("end", "COMPLETE")
    assert [call["function"] for call in last["calls"]] == ["init", "calibrate", "listen", "calibrate", "main"]
    assert states(client, path) == WHOLE
    kinds = [event.get("state") or event["event"] for _, event in seen]
    assert kinds.count("override") == 1  # the script reads it while it is loaded, or just after
    assert [kind for kind in kinds if kind != "override"] == EVENTS
    values = [event["value"] for _, event in seen if event["event"] == "returned"]
    assert values == [21, [[{"go": [1, None]}], True], 7, "sbi-1"]
    for cut in range(0, len(seen), 9):
        with client.events(path=f"{path}/events?after={seen[cut][1]['offset']}") as stream:
            assert list(stream) == [*seen[cut + 1 :], ("end", last)]
    number = int(path.rpartition("/")[2])
    procedure = ScriptExecutionService(on=cluster).procedure(number)
    assert client.get(path) == procedure.look().facts()
    assert [event for _, event in seen] == list(procedure.events())
    assert client.get("/procedures?state=COMPLETE")["procedures"] == [client.get(path)]
    job = client.get(f"/jobs/{procedure.key}")
    assert (job["states"], job["key"]) == ({"COMPLETED": 1}, procedure.key)
    assert client.get(f"/jobs/{procedure.key}/logs")["text"] == "observing sbi-1\n"


def test_a_stop_an_abort_and_a_slot_are_the_same(client: Client) -> None:
    first = prepared(client, exclusive="dish", abort={"text": REST})
    second = prepared(client, exclusive="dish")
    for path in (first, second):
        comes(client, path, "READY")
    key = client.get(first)["key"]
    client.put(first, state="RUNNING", function="listen")
    refused = client.ask("PUT", second, body=b'{"state": "RUNNING", "function": "calibrate", "args": [1]}')
    assert (refused.status, key in refused.data["detail"]) == (409, True), refused
    client.put(first, state="STOPPED", abort=True)
    comes(client, first, "STOPPED")
    assert states(client, first) == [*LOADED, "RUNNING", "STOPPED"]
    until(lambda: any(each["aborts"] == key for each in client.get("/procedures")["procedures"]), WAIT)
    [aborting] = [each for each in client.get("/procedures")["procedures"] if each["aborts"] == key]
    path = f"/procedures/{aborting['number']}"
    comes(client, path, "COMPLETE")
    assert states(client, path) == [*LOADED, "RUNNING", "READY", "COMPLETE"]
    client.put(second, state="RUNNING", function="calibrate", args=[1])
    comes(client, second, "READY")
    assert client.post("/slots/dish/release")["holder"] in {None, client.get(second)["key"]}
    client.put(second, state="STOPPED")
    comes(client, second, "STOPPED")
    until(lambda: client.get(f"/jobs/{key}")["states"] == {"CANCELLED": 1}, WAIT)
    assert client.ask("PUT", second, body=b'{"state": "RUNNING"}').status == 409


def test_a_failure_and_what_is_unknown_are_the_same(client: Client) -> None:
    path = prepared(client, "def init():\n    raise RuntimeError('no antenna')\n")
    comes(client, path, "FAILED")
    assert states(client, path) == [*LOADED[:5], "FAILED"]
    assert "RuntimeError: no antenna" in client.get(path)["stacktrace"]
    assert client.ask("GET", "/procedures/99").status == 404
    assert client.ask("POST", f"{path}/messages", body=b'{"message": 1}').status == 409
    assert client.ask("DELETE", "/environments/none").status == 404
    assert client.get("/environments") == []
