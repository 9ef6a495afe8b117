"""Procedures over HTTP: their routes over a real socket, what is refused, and their events."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from served import CLIENTS, READING, Client, served
from slurm.procedures import Script, ScriptExecutionService
from slurm.procedures.preparing import EarlyEvents, write_record
from slurm.protocol.procedures import Plan, ProcedureRecord
from slurm.server.scripts import ScriptRules
from slurm.storage.inbox import sender
from slurm.storage.keys import new_key
from slurm.testing import InlineCluster
from waiting import until

WAIT = 60.0
SCRIPT = """
from slurm.procedures import procedure
seen = {}

def init(subarray_id=0):
    seen["subarray"] = subarray_id

def calibrate(n):
    procedure.report("calibrates", n=n, words="<b>" + str(procedure.context.get("operator.ready")))
    return n * seen["subarray"]

def listen():
    while not procedure.messages():
        procedure.sleep(60)

def main():
    pass
"""
RAISES = "def init():\n    raise RuntimeError('no https://ann:secret@antenna')\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is allowed, beside one that is not, and a link from one to the other."""
    top = tmp_path_factory.mktemp("scripts")
    (top / "allowed").mkdir()
    (top / "allowed-not").mkdir()
    (top / "allowed" / "observe.py").write_text(SCRIPT)
    (top / "allowed" / "raises.py").write_text(RAISES)
    (top / "allowed" / "broken.py").write_text("def f(:\n")
    (top / "allowed-not" / "other.py").write_text(SCRIPT)
    (top / "allowed" / "link.py").symlink_to("../allowed-not/other.py")
    os.mkfifo(top / "allowed" / "pipe.py")
    return top / "allowed"


@pytest.fixture(scope="module")
def inline() -> Iterator[InlineCluster]:
    with InlineCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(inline: InlineCluster, folder: Path) -> Iterator[Client]:
    rules = ScriptRules((str(folder),), ("https://example.invalid/team", "git@example.invalid:team/"), text=True)
    ScriptExecutionService(on=inline).prepare(Script.text("")).wait("READY", WAIT)  # makes what the first one needs
    with pytest.MonkeyPatch.context() as patient, served(inline, rules=rules) as found:
        patient.setattr("slurm.server.endpoints._SECONDS", WAIT)  # of a busy machine
        yield found


@pytest.fixture(scope="module")
def ready(client: Client) -> str:
    """The path of a procedure that is READY, with an argument of its init."""
    made = client.ask("POST", "/procedures", body=b'{"script": {"file": "observe.py"}, "kwargs": {"subarray_id": 7}}')
    assert made.status == 201, made
    path = made.headers["Location"]
    until(lambda: client.get(path)["state"] == "READY")
    assert client.get(path)["number"] == made.data["number"] == int(path.rpartition("/")[2])
    return path


def prepared(client: Client, script: dict[str, Any], **fields: Any) -> str:
    """The path of a procedure."""
    return f"/procedures/{client.post('/procedures', script=script, **fields)['number']}"


def streamed(client: Client, path: str, *, after: int = 0, most: int = 10**9) -> list[tuple[str, Any]]:
    """The events of a stream, at most so many; the whole stream ends with `end`."""
    with client.events(path=f"{path}/events", headers={"Last-Event-ID": str(after)} if after else None) as events:
        return [event for _, event in zip(range(most), events, strict=False)]


def test_a_script_is_prepared_called_and_started(client: Client) -> None:
    path = prepared(client, {"text": SCRIPT, "name": "mine.py"}, kwargs={"subarray_id": 7}, exclusive="telescope")
    made = client.get(path)
    assert (made["script"]["path"], made["exclusive"], made["can_abort"]) == ("mine.py", "telescope", False)
    assert "text" not in made["script"]
    client.put("/context", topic="operator.ready", values={"enabled": False})
    assert client.get("/context")["operator.ready"] == {"enabled": False}
    until(lambda: client.get(path)["state"] == "READY")
    assert client.put(path, state="RUNNING", function="calibrate", args=[3])["calls"][1]["args"] == [3]
    until(lambda: client.get(path)["state"] == "READY")
    client.put(path, state="RUNNING", function="listen")
    assert client.get("/procedures?state=RUNNING")["procedures"][0]["key"] == made["key"]
    assert client.post(f"{path}/messages", message={"go": [1, None]})["message"] == {"go": [1, None]}
    assert client.put(path, state="RUNNING", force=True)["calls"][0]["kwargs"] == {"subarray_id": 7}
    events = streamed(client, path)
    (name, end) = events.pop()
    assert (name, end["state"], end["history"][-1]["state"]) == ("end", "COMPLETE", "COMPLETE")
    assert {name for name, _ in events} == {"event"}
    assert [event["value"] for _, event in events if event["event"] == "returned"] == [21, None, None]
    (report,) = [event for _, event in events if event["event"] == "report"]
    assert {"n": 3, "words": "<b>{'enabled': False}"} in report.values()


def test_a_slot_is_released_with_who_and_when(client: Client) -> None:
    fields = {"script": {"text": SCRIPT}, "exclusive": "dish"}
    assert client.post("/slots/dish/release") == {"slot": "dish", "holder": None, "by": None, "time": None}
    first, second = (f"/procedures/{client.post('/procedures', **fields)['number']}" for _ in range(2))
    for path in (first, second):
        until(lambda path=path: client.get(path)["state"] == "READY")  # type: ignore[misc]
    client.put(first, state="RUNNING", function="listen")
    early = client.ask("PUT", first, body=b'{"state": "RUNNING", "function": "calibrate", "args": [1]}')
    assert (early.status, "send the field 'force'" in early.data["detail"]) == (409, True), early
    assert "force_start" not in early.data["detail"]
    refused = client.ask("PUT", second, body=b'{"state": "RUNNING", "function": "calibrate", "args": [1]}')
    key = client.get(first)["key"]
    assert (refused.status, key in refused.data["detail"]) == (409, True), refused
    before = time.time()
    released = client.post("/slots/dish/release")
    assert before <= released.pop("time") <= time.time()
    assert released == {"slot": "dish", "holder": key, "by": sender()}
    assert client.post("/slots/dish/release")["holder"] is None
    assert client.post("/slots/dish/release")["by"] == sender()
    client.put(second, state="RUNNING", function="calibrate", args=[1])
    for path in (first, second):
        client.put(path, state="STOPPED")
        until(lambda path=path: client.get(path)["state"] == "STOPPED")  # type: ignore[misc]


def test_a_stream_that_is_cut_again_and_again_has_each_event_once(client: Client) -> None:
    report = "from slurm.procedures import procedure\ndef main():\n    for i in range(1000): procedure.report(str(i))\n"
    path = prepared(client, {"text": report})
    until(lambda: client.get(path)["state"] == "READY")
    client.put(path, state="RUNNING")
    seen: list[tuple[str, Any]] = []
    cuts = -1
    while not seen or seen[-1][0] != "end":
        seen += streamed(client, path, after=seen[-1][1]["offset"] if seen else 0, most=20)
        cuts += 1
    assert cuts >= 50
    events = [event for name, event in seen if name == "event"]
    assert [event["text"] for event in events if event["event"] == "report"] == [str(i) for i in range(1000)]
    assert [event["offset"] for event in events] == sorted({event["offset"] for event in events})
    assert streamed(client, path) == seen
    assert seen[-1][1]["state"] == "COMPLETE"


def test_a_stream_has_an_event_that_is_longer_than_what_is_read_at_once(client: Client) -> None:
    report = "from slurm.procedures import procedure\ndef main():\n    procedure.report('x' * 3_000_000)\n"
    path = prepared(client, {"text": report})
    until(lambda: client.get(path)["state"] == "READY")
    with client.events(path=f"{path}/events") as events:
        first = next(events)
        client.put(path, state="RUNNING")
        seen = [first, *events]
    assert [len(event["text"]) for _, event in seen if event.get("event") == "report"] == [3_000_000]
    assert (seen[-1][0], seen[-1][1]["state"]) == ("end", "COMPLETE")


def test_the_server_ends_while_events_of_procedures_are_followed(
    inline: InlineCluster, client: Client, ready: str
) -> None:
    with contextlib.ExitStack() as open_streams:
        with served(inline) as own:
            streams = [open_streams.enter_context(own.events(path=f"{ready}/events")) for _ in range(20)]
            assert [next(stream)[0] for stream in streams] == ["event"] * 20
        for stream in streams:
            assert {name for name, _ in stream} == {"event"}  # each ends, without an error and without `end`
    assert client.get(ready)["state"] == "READY"


def test_a_put_without_a_state_changes_nothing_and_an_answer_has_a_tag(client: Client, ready: str) -> None:
    first = client.ask("GET", ready)
    assert client.put(ready) == client.put(ready, abort=True) == first.data
    again = client.ask("GET", ready, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.data) == (304, "")


def test_a_put_that_names_an_old_state_changes_nothing(client: Client) -> None:
    path = prepared(client, {"text": SCRIPT})
    created = client.ask("GET", path).headers["ETag"]
    until(lambda: client.get(path)["state"] == "READY")
    ready = client.ask("GET", path).headers["ETag"]
    start = b'{"state": "RUNNING", "function": "calibrate", "args": [1]}'
    for old in (created, f'"x", {created}', f"W/{ready}", "", "x"):
        for body in (start, b"{}"):
            answer = client.ask("PUT", path, body=body, headers={"If-Match": old})
            assert (answer.status, answer.headers["Content-Type"]) == (412, "application/problem+json"), answer
            assert answer.data["title"] == "Precondition Failed"
            assert f"{path} is not in the state" in answer.data["detail"]
    assert client.ask("GET", path).headers["ETag"] == ready
    calls = 1
    for new in (ready, "*", f"{created}, CURRENT"):
        tag = client.ask("GET", path).headers["ETag"]
        answer = client.ask("PUT", path, body=start, headers={"If-Match": new.replace("CURRENT", tag)})
        calls += 1
        assert (answer.status, len(answer.data["calls"])) == (200, calls), answer
        until(lambda: client.get(path)["state"] == "READY")
    assert client.ask("PUT", path, body=start, headers={"If-Match": ready}).status == 412
    unknown = client.ask("PUT", "/procedures/999", body=b"{}", headers={"If-Match": ready})
    assert unknown.status == 404
    client.put(path, state="STOPPED")


def test_overrides_are_set_if_nobody_has_changed_them(client: Client) -> None:
    client.put("/context", topic="tagged", values={"n": 1})
    tag = client.ask("GET", "/context").headers["ETag"]
    body = b'{"topic": "tagged", "values": {"n": 2}}'
    assert [client.ask("PUT", "/context", body=body, headers={"If-Match": tag}).status for _ in range(2)] == [200, 412]
    assert client.get("/context")["tagged"] == {"n": 2}


def test_procedures_are_listed_in_pages(client: Client, ready: str) -> None:
    numbers = [int(prepared(client, {"file": "observe.py"}).rpartition("/")[2]) for _ in range(2)]
    first = client.get("/procedures?limit=2")
    assert [each["number"] for each in first["procedures"]] == numbers[::-1]
    rest = client.get(f"/procedures?before={first['before']}&limit=1000")
    assert all(each["number"] < numbers[0] for each in rest["procedures"])
    assert int(ready.rpartition("/")[2]) in [each["number"] for each in rest["procedures"]]
    assert rest["before"] is None
    for number in numbers:
        client.put(f"/procedures/{number}", state="STOPPED")
        until(lambda number=number: client.get(f"/procedures/{number}")["state"] == "STOPPED")  # type: ignore[misc]


def test_an_init_that_raises_is_told_without_passwords(client: Client) -> None:
    path = prepared(client, {"file": "raises.py"})
    until(lambda: client.get(path)["state"] == "FAILED")
    assert "RuntimeError: no https://***@antenna" in client.get(path)["stacktrace"]
    assert "secret" not in json.dumps(streamed(client, path))


def test_environments_are_listed(client: Client) -> None:
    assert client.get("/environments") == []


def test_the_description_has_the_routes_of_procedures(client: Client) -> None:
    paths = client.get("/openapi.json")["paths"]
    assert set(paths["/procedures/{number}"]) == {"get", "put"}
    assert "If-Match" in [each["name"] for each in paths["/procedures/{number}"]["put"]["parameters"]]
    assert "201" in paths["/procedures"]["post"]["responses"]
    schema = paths["/procedures"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["script"]
    assert "text/event-stream" in paths["/procedures/{number}/events"]["get"]["responses"]["200"]["content"]
    assert {"/context", "/environments/{key}", "/procedures/{number}/messages", "/slots/{name}/release"} <= set(paths)


def with_script(**script: Any) -> dict[str, Any]:
    return {"body": json.dumps({"script": script}).encode()}


TEAM = "https://example.invalid/team"
REFUSED: list[tuple[str, str, str, dict[str, Any], int, str]] = [
    ("an unknown number", "GET", "/procedures/999", {}, 404, "no procedure 999"),
    (
        "an unknown number to change",
        "PUT",
        "/procedures/999",
        {"body": b'{"state": "STOPPED"}'},
        404,
        "no procedure 999",
    ),
    ("events of an unknown number", "GET", "/procedures/999/events", {}, 404, "no procedure 999"),
    ("events after no number", "GET", "READY/events", {"headers": {"Last-Event-ID": "x"}}, 422, "Last-Event-ID='x'"),
    ("a message to an unknown number", "POST", "/procedures/999/messages", {"body": b'{"message": 1}'}, 404, "999"),
    ("no message", "POST", "READY/messages", {"body": b"{}"}, 422, "needs the field 'message'"),
    ("a key for a number", "GET", "/procedures/last", {}, 404, "nothing at this path"),
    ("an unknown state", "GET", "/procedures?state=DONE", {}, 422, "'DONE' is no state of a procedure"),
    ("a state that is no command", "PUT", "READY", {"body": b'{"state": "READY"}'}, 422, "RUNNING, STOPPED"),
    ("an unknown field", "PUT", "READY", {"body": b'{"state": "STOPPED", "kill": 1}'}, 422, "no field 'kill'"),
    ("a field of a start", "PUT", "READY", {"body": b'{"state": "STOPPED", "args": []}'}, 422, "'args'"),
    ("a field of a stop", "PUT", "READY", {"body": b'{"state": "RUNNING", "abort": true}'}, 422, "'abort'"),
    (
        "an abort without a script for it",
        "PUT",
        "READY",
        {"body": b'{"state": "STOPPED", "abort": true}'},
        422,
        "no abort",
    ),
    ("no such function", "PUT", "READY", {"body": b'{"state": "RUNNING", "function": "f"}'}, 409, "no function"),
    ("arguments it does not take", "PUT", "READY", {"body": b'{"state": "RUNNING", "args": [1]}'}, 409, "argument"),
    (
        "a name of a field as an argument",
        "PUT",
        "READY",
        {"body": b'{"state": "RUNNING", "kwargs": {"force_start": 1}}'},
        422,
        "force_start",
    ),
    ("a body that is no JSON", "POST", "/procedures", {"body": b"{"}, 400, "not JSON"),
    ("a body that is too large", "POST", "/procedures", {"body": b" " * (1 << 20) + b"{}"}, 413, "1048576 bytes"),
    ("no script", "POST", "/procedures", {"body": b"{}"}, 422, "needs the field 'script'"),
    ("a script that is a text", "POST", "/procedures", {"body": b'{"script": "observe.py"}'}, 422, "type object"),
    ("a script of no kind", "POST", "/procedures", with_script(path="x"), 422, "one of: file, git, text"),
    ("a script of two kinds", "POST", "/procedures", with_script(file="x", text="y"), 422, "one of: file, git, text"),
    ("an unknown field of a script", "POST", "/procedures", with_script(file="x", uri="y"), 422, "no field 'uri'"),
    ("a field of another kind", "POST", "/procedures", with_script(file="x", branch="y"), 422, "no field 'branch'"),
    ("a file that is no text", "POST", "/procedures", with_script(file=3), 422, "file=3"),
    ("no token", "POST", "/procedures", {**with_script(text=""), "token": None}, 401, "send the token"),
    ("a wrong token", "POST", "/procedures", {**with_script(text=""), "token": "x" * 46}, 401, "send the token"),
    ("a reading token", "POST", "/procedures", {**with_script(text=""), "token": READING}, 403, "only read"),
    (
        "a reading token that stops",
        "PUT",
        "READY",
        {"body": b'{"state": "STOPPED"}', "token": READING},
        403,
        "only read",
    ),
    ("a foreign page", "PUT", "READY", {"body": b"{}", "headers": {"Origin": "http://evil.example"}}, 403, "evil"),
    ("a file outside", "POST", "/procedures", with_script(file="/etc/passwd"), 403, "not below an allowed folder"),
    ("a file above", "POST", "/procedures", with_script(file="../allowed-not/other.py"), 403, "not below"),
    ("a link that leads out", "POST", "/procedures", with_script(file="link.py"), 403, "not below"),
    ("a home directory", "POST", "/procedures", with_script(file="~/observe.py"), 422, "no such file"),
    ("a file that does not exist", "POST", "/procedures", with_script(file="none.py"), 422, "no such file"),
    ("a file that is a pipe", "POST", "/procedures", with_script(file="pipe.py"), 422, "no such file"),
    ("a path that is none", "POST", "/procedures", with_script(file="a\0b"), 422, "not a path"),
    ("a file that is not Python", "POST", "/procedures", with_script(file="broken.py"), 422, "line 1"),
    ("a text that is not Python", "POST", "/procedures", with_script(text="def f(:"), 422, "line 1"),
    ("a text that is no Unicode", "POST", "/procedures", with_script(text="x = '\ud800'"), 422, "UTF-8"),
    (
        "a git URL that runs a program",
        "POST",
        "/procedures",
        with_script(git="ext::sh -c x", path="a.py"),
        422,
        "no URL",
    ),
    ("a git URL that is an option", "POST", "/procedures", with_script(git="--upload-pack=x", path="a"), 422, "no URL"),
    (
        "a repository of another prefix",
        "POST",
        "/procedures",
        with_script(git=f"{TEAM}-evil/x", path="a"),
        403,
        "allowed",
    ),
    ("a repository above", "POST", "/procedures", with_script(git=f"{TEAM}/../x", path="a"), 403, "allowed"),
    (
        "a repository above, escaped",
        "POST",
        "/procedures",
        with_script(git=f"{TEAM}/%2e%2e/x", path="a"),
        403,
        "allowed",
    ),
    ("a path in no repository", "POST", "/procedures", with_script(git=f"{TEAM}/x", path="../a"), 422, "not the path"),
    ("no path in a repository", "POST", "/procedures", with_script(git=f"{TEAM}/x"), 422, "'path'"),
    ("a branch and a tag", "POST", "/procedures", with_script(git=TEAM, path="a", branch="b", tag="c"), 422, "one of"),
    (
        "an abort script outside",
        "POST",
        "/procedures",
        {"body": b'{"script": {"text": ""}, "abort": {"file": "/etc/passwd"}}'},
        403,
        "not below",
    ),
    (
        "an unknown option",
        "POST",
        "/procedures",
        {"body": b'{"script": {"text": ""}, "options": {"memo": 1}}'},
        422,
        "memo",
    ),
    (
        "a grace that is none",
        "POST",
        "/procedures",
        {"body": b'{"script": {"text": ""}, "grace": -1}'},
        422,
        "grace=-1",
    ),
    (
        "a slot that is none",
        "POST",
        "/procedures",
        {"body": b'{"script": {"text": ""}, "exclusive": "a/b"}'},
        422,
        "a/b",
    ),
    (
        "an abort on what is not",
        "POST",
        "/procedures",
        {"body": b'{"script": {"text": ""}, "abort_on": [1]}'},
        422,
        "1 is",
    ),
    ("a topic that is none", "PUT", "/context", {"body": b'{"topic": "../x", "values": {}}'}, 422, "../x"),
    ("a slot with a space", "POST", "/slots/a%20b/release", {"body": b"{}"}, 422, "slot='a b'"),
    ("a reading token that releases", "POST", "/slots/a/release", {"body": b"{}", "token": READING}, 403, "only read"),
    ("no values", "PUT", "/context", {"body": b'{"topic": "x"}'}, 422, "needs the field 'values'"),
    ("an unknown environment", "DELETE", "/environments/none", {}, 404, "no environment none"),
]


@pytest.mark.parametrize("by", CLIENTS)
@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "detail"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_is_refused_gets_a_problem_and_prepares_nothing(  # noqa: PLR0917 - a case, and two fixtures
    by: str, client: Client, ready: str, method: str, path: str, sent: dict[str, Any], status: int, detail: str
) -> None:
    before = client.get("/procedures?limit=1")["procedures"][0]["number"]
    answer = CLIENTS[by](client.port).ask(
        method, path.replace("READY", ready, 1) if path.startswith("READY") else path, **sent
    )
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert detail in answer.data["detail"]
    assert client.get("/procedures?limit=1")["procedures"][0]["number"] == before
    assert client.get(ready)["state"] == "READY"


def test_by_default_a_server_takes_no_script(inline: InlineCluster, folder: Path) -> None:
    with served(inline) as own:
        for script in ({"text": ""}, {"file": str(folder / "observe.py")}, {"git": TEAM, "path": "a.py"}):
            answer = own.ask("POST", "/procedures", **with_script(**script))
            assert (answer.status, "slurm serve --allow" in answer.data["detail"]) == (403, True), answer


def test_a_server_goes_on_with_a_procedure_whose_preparer_has_died(
    inline: InlineCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.server.procedure_events._ATTENDED", (0.1, 0.2))
    monkeypatch.setattr("slurm.procedures.listing.ABANDONED_SECONDS", 0.1)
    plan = Plan(script=Script.text("def main(): pass").read(), grace=1.0, kill_wait=2.0)
    record = ProcedureRecord(key=new_key("procedure"), plan=plan, by="ann@here", created=1.0)
    EarlyEvents.open(inline.place, record)
    number = write_record(inline.place, record)  # and here the process has died
    with served(inline):
        assert ScriptExecutionService(on=inline).procedure(number).wait("READY", WAIT) == "READY"
