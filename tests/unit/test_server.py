"""The server: its routes over a real socket, what it refuses, and how little it reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from served import CLIENTS, READING, TOKEN, Client, served
from slurm import JobArray, task
from slurm.errors import ConfigurationError, SchedulerError
from slurm.server.overview import JobsOverview
from slurm.server.serving import Address, listen, tokens
from slurm.sweeps import Sweep, grid
from slurm.testing import InlineCluster
from waiting import until

WAIT = 60.0
KEY = "work/20260101T000000Z-00000000"


@task
def work(x: int) -> int:
    print("working on", x)
    if x == 2:
        raise ValueError("two is too <b>much</b>")
    return x


@task
def score(lr: float, depth: int) -> dict[str, float]:
    if lr > 0.25:
        raise ValueError(f"{lr} is too large")
    return {"loss": lr * depth}


@task
def follow(before: list[int | None]) -> int:
    return len(before)


@pytest.fixture(scope="module")
def inline() -> Iterator[InlineCluster]:
    with InlineCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(inline: InlineCluster) -> Iterator[Client]:
    with served(inline) as found:
        yield found


@pytest.fixture(scope="module")
def jobs(inline: InlineCluster) -> JobArray[int]:
    """A map of four calls, of which one failed."""
    found = work.with_options(labels={"of": "tests"}).map(range(4))
    found.results(WAIT, return_exceptions=True)
    return found


def test_the_overview_has_the_states_of_a_map_and_its_first_error(client: Client, jobs: JobArray[int]) -> None:
    (found,) = [job for job in client.get("/overview")["jobs"] if job["key"] == jobs.key]
    assert found["states"] == {"COMPLETED": 3, "FAILED": 1}
    assert found["errors"] == [{"call": 2, "error": "ValueError: two is too <b>much</b>"}]
    assert (found["ended"], found["failed"], found["uncounted"], found["labels"]) == (True, 1, 0, {"of": "tests"})


def test_the_overview_comes_in_pages(client: Client, jobs: JobArray[int]) -> None:
    keys = [work(x).key for x in (10, 11, 12)]
    first = client.get("/overview?limit=2")
    rest = client.get(f"/overview?limit=1000&before={first['before']}")
    found = [job["key"] for job in first["jobs"] + rest["jobs"]]
    assert len(found) == len(set(found)) == first["total"]
    assert {*keys, jobs.key} <= set(found)
    assert rest["before"] is None


def test_jobs_are_listed_by_state_label_and_task(client: Client, jobs: JobArray[int]) -> None:
    assert [job["key"] for job in client.get("/jobs?state=failed&label=of=tests&task=wor*")] == [jobs.key]
    assert client.get("/jobs?label=of=nothing") == []


def test_a_job_is_shown_by_key_beginning_and_label(client: Client, jobs: JobArray[int]) -> None:
    whole = client.get(f"/jobs/{jobs.key}")
    assert whole["failures"] == {"2": "ValueError: two is too <b>much</b>"}
    assert client.get(f"/jobs/{jobs.key.rpartition('-')[2]}") == client.get("/jobs/of=tests") == whole
    assert client.get(f"/jobs/{jobs.key}%5B1%5D")["states"] == {"COMPLETED": 1}


def test_calls_are_listed_in_parts_and_those_that_failed_alone(client: Client, jobs: JobArray[int]) -> None:
    some = client.get(f"/jobs/{jobs.key}/calls?offset=1&limit=2")
    assert (some["count"], [(call["call"], call["state"]) for call in some["calls"]]) == (
        4,
        [(1, "COMPLETED"), (2, "FAILED")],
    )
    failed = client.get(f"/jobs/{jobs.key}/calls?failed=true")
    assert (failed["count"], [call["call"] for call in failed["calls"]]) == (1, [2])


def test_logs_go_on_from_an_offset(client: Client, jobs: JobArray[int]) -> None:
    found = client.get(f"/jobs/{jobs.key}/logs?call=3")
    assert (found["offset"], found["text"], found["ended"]) == (0, "working on 3\n", True)
    more = client.get(f"/jobs/{jobs.key}/logs?call=3&offset={found['next'] - 2}")
    assert (more["text"], more["next"]) == ("3\n", found["next"])


def test_a_long_log_is_sent_from_near_its_end_and_no_character_is_cut(client: Client, jobs: JobArray[int]) -> None:
    path = client.get(f"/jobs/{jobs.key}/logs?call=1")["path"]
    with open(path, "wb") as log:
        log.write("é".encode() * 50_000 + b"\xc3")  # the first half of one more
    found = client.get(f"/jobs/{jobs.key}/logs?call=1")
    assert set(found["text"]) == {"é"}
    assert (found["offset"] % 2, found["next"]) == (0, 100_000)
    with open(path, "ab") as log:
        log.write(b"\xa9!")
    assert client.get(f"/jobs/{jobs.key}/logs?call=1&offset=100000")["text"] == "é!"


def test_a_graph_an_explanation_and_the_use(client: Client, jobs: JobArray[int]) -> None:
    after = follow([jobs[0], jobs[1]])  # type: ignore[list-item]
    after.result(WAIT)
    graph = client.get(f"/jobs/{after.key}/graph")
    assert {node["key"] for node in graph["nodes"]} == {jobs.key, after.key}
    assert [(edge["source"], edge["target"]) for edge in graph["edges"]] == [(jobs.key, after.key)]
    assert any("[2] FAILED" in line for line in client.get(f"/jobs/{jobs.key}/explanation")["lines"])
    assert "time" in client.get(f"/jobs/{jobs.key}/efficiency")["options"]


def test_failed_calls_are_retried(client: Client, jobs: JobArray[int], inline: InlineCluster) -> None:
    found = client.post(f"/jobs/{jobs.key}/retry", failed=True, options={"time": "5"})
    assert found["calls"] == 1
    assert inline.job(found["key"]).part.state.count == 1
    refused = client.ask("POST", f"/jobs/{jobs.key}%5B0%5D/retry", body=b'{"failed": true}')
    assert (refused.status, "no call" in refused.data["detail"]) == (409, True)


def test_a_job_that_waits_is_cancelled(client: Client, inline: InlineCluster) -> None:
    with inline.queue.held():
        job = work(7)
        assert client.get(f"/jobs/{job.key}")["states"] == {"PENDING": 1}
        assert client.post(f"/jobs/{job.key}/cancel")["cancelled"] == {job.key: 1}
        until(lambda: client.get(f"/jobs/{job.key}")["states"] == {"CANCELLED": 1})


def test_a_stream_begins_with_a_snapshot_and_has_what_changes(client: Client, inline: InlineCluster) -> None:
    with client.events() as events:
        name, page = next(events)
        assert (name, page["troubles"]) == ("overview", {})
        job = work(8)
        states = [found["states"] for _, data in events_until(events, job.key) for found in data["jobs"]]
        assert {"COMPLETED": 1} in states


def events_until(events: Iterator[tuple[str, dict]], key: str) -> Iterator[tuple[str, dict]]:  # type: ignore[type-arg]
    """The events up to that which says that a job has ended."""
    for name, data in events:
        yield name, data
        if any(job["key"] == key and job["ended"] for job in data["jobs"]):
            return


def test_an_answer_that_has_not_changed_is_not_sent_again(client: Client, jobs: JobArray[int]) -> None:
    first = client.ask("GET", f"/jobs/{jobs.key}")
    again = client.ask("GET", f"/jobs/{jobs.key}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.data) == (304, "")


def test_the_description_has_each_route_and_its_parameters(client: Client) -> None:
    paths = client.get("/openapi.json")["paths"]
    assert {"/overview", "/events", "/jobs/{key}", "/jobs/{key}/cancel", "/sweeps/{name}/points/{number}"} <= set(paths)
    names = [parameter["name"] for parameter in paths["/jobs/{key}/logs"]["get"]["parameters"]]
    assert names == ["key", "call", "rank", "stderr", "offset"]
    retry = paths["/jobs/{key}/retry"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(retry["properties"]) == {"failed", "options"}
    assert all(operation["summary"] for methods in paths.values() for operation in methods.values())


# What is refused.

REFUSED = [
    ("an unknown key", "GET", "/jobs/nothing", {}, 404, "there is no job 'nothing'"),
    ("an unknown path", "GET", "/nothing", {}, 404, "nothing at this path"),
    ("another method", "DELETE", "/jobs", {}, 405, "Method Not Allowed"),
    ("an unknown parameter", "GET", "/jobs?tasks=a", {}, 422, "no parameter 'tasks'; there are: task, label"),
    ("a number that is none", "GET", "/jobs?limit=many", {}, 422, "limit='many' is not a whole number from 1 to 1000"),
    ("an unknown state", "GET", "/jobs?state=ready", {}, 422, "'ready' is not a state"),
    ("an unknown time", "GET", "/jobs?since=once", {}, 422, "'once' is not a time"),
    ("no token", "GET", "/jobs", {"token": None}, 401, "send the token"),
    ("a wrong token", "GET", "/jobs", {"token": "x" * 46}, 401, "send the token"),
    ("another scheme", "GET", "/jobs", {"headers": {"Authorization": f"Basic {TOKEN}"}}, 401, "send the token"),
    ("a token in a query", "GET", f"/jobs?token={TOKEN}", {}, 401, "a token in a URL"),
    ("a token in a query only", "GET", f"/jobs?access_token={TOKEN}", {"token": None}, 401, "a token in a URL"),
    ("a foreign page", "GET", "/jobs", {"headers": {"Origin": "http://evil.example"}}, 403, "evil.example"),
    ("a page of no origin", "GET", "/jobs", {"headers": {"Origin": "null"}}, 403, "null"),
    ("a foreign name", "GET", "/", {"headers": {"Host": "evil.example"}}, 403, "evil.example"),
    ("a name that begins alike", "GET", "/", {"headers": {"Host": "localhost.evil.example"}}, 403, "evil.example"),
    ("a token that may only read", "POST", f"/jobs/{KEY}/cancel", {"token": READING, "body": b"{}"}, 403, "only read"),
    ("a body that is no JSON", "POST", f"/jobs/{KEY}/cancel", {"body": b"{"}, 400, "not JSON"),
    ("a body that is deep", "POST", f"/jobs/{KEY}/cancel", {"body": b"[" * 100_000}, 400, "not JSON"),
    ("a body that is no object", "POST", f"/jobs/{KEY}/cancel", {"body": b"[]"}, 422, "not a JSON object"),
    ("an unknown field", "POST", f"/jobs/{KEY}/cancel", {"body": b'{"force": true}'}, 422, "no field 'force'"),
    ("a field of another type", "POST", f"/jobs/{KEY}/cancel", {"body": b'{"children": 1}'}, 422, "children=1"),
    (
        "a body that is too large",
        "POST",
        f"/jobs/{KEY}/cancel",
        {"body": b" " * (1 << 20) + b"{}"},
        413,
        "1048576 bytes",
    ),
    (
        "a form of a foreign page",
        "POST",
        f"/jobs/{KEY}/cancel",
        {"body": b"{}", "headers": {"Content-Type": "text/plain"}},
        415,
        "application/json",
    ),
    ("an unknown option", "POST", "/jobs/last/retry", {"body": b'{"options": {"memory": "8G"}}'}, 422, "memory"),
]


@pytest.mark.parametrize("by", CLIENTS)
@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "detail"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_what_is_refused_gets_a_problem_document(  # noqa: PLR0917 - a case, and two fixtures
    by: str,
    client: Client,
    jobs: JobArray[int],
    method: str,
    path: str,
    sent: dict[str, object],
    status: int,
    detail: str,
) -> None:
    answer = CLIENTS[by](client.port).ask(method, path, **sent)  # type: ignore[arg-type]
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.data["status"], answer.data["type"]) == (status, "about:blank")
    assert detail in answer.data["detail"]
    assert TOKEN not in json.dumps(answer.data)


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80", "LOCALHOST:9"])
def test_a_tunnel_may_change_the_port(client: Client, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.ask("GET", "/jobs", headers=headers).status == 200


def test_a_reading_token_reads(client: Client) -> None:
    assert client.ask("GET", "/jobs", token=READING).status == 200


def test_the_page_has_no_data_and_a_policy_with_a_new_nonce(client: Client, jobs: JobArray[int]) -> None:
    first, second = (client.ask("GET", "/", token=None) for _ in range(2))
    policies = [answer.headers["Content-Security-Policy"] for answer in (first, second)]
    assert policies[0] != policies[1]
    assert all("default-src 'none'" in policy and "unsafe" not in policy for policy in policies)
    nonce = policies[0].partition("nonce-")[2].partition("'")[0]
    assert first.data.count(f'nonce="{nonce}"') == 2
    assert "NONCE" not in first.data
    for outside in ("http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert outside not in first.data.replace("http://www.w3.org/2000/svg", "")
    assert jobs.key not in first.data


# Sweeps.


@pytest.fixture(scope="module")
def sweeps(inline: InlineCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a sweep of six points, of which two failed, and a damaged one."""
    directory = tmp_path_factory.mktemp("sweeps")
    sweep = Sweep(score, grid(lr=[0.1, 0.2, 0.3], depth=[1, 2]), name="depths", directory=directory)
    sweep.run(on=[(inline, 4)])
    assert len(list(sweep.as_completed())) == 6
    (directory / "damaged").mkdir()
    (directory / "damaged" / "sweep.json").write_text("{")
    with served(inline, sweeps=directory) as found:
        yield found


def test_sweeps_are_listed_with_their_states_or_what_is_wrong(sweeps: Client) -> None:
    damaged, found = sweeps.get("/sweeps")
    assert (damaged["name"], "sweep.json" in damaged["error"]) == ("damaged", True)
    assert (found["name"], found["points"], found["counts"]) == ("depths", 6, {"done": 4, "failed": 2})


def test_a_sweep_is_shown_with_its_failures_and_points(sweeps: Client) -> None:
    found = sweeps.get("/sweeps/depths")
    assert [(group["points"], "too large" in group["pattern"]) for group in found["errors"]] == [([4, 5], True)]
    assert len(found["recent"]) == 6
    points = sweeps.get("/sweeps/depths/points?state=done&limit=1&offset=1")
    assert (points["count"], [point["point"] for point in points["points"]]) == (4, [1])
    assert points["points"][0]["metrics"] == {"loss": 0.2}
    assert "complete(failed=True)" in "".join(sweeps.get("/sweeps/depths/points/4")["lines"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sweeps/none", 404),
        ("/sweeps/..", 404),
        ("/sweeps/%2e%2e%2fdepths", 404),
        ("/sweeps/depths/points/6", 404),
        ("/sweeps/depths/points?state=good", 422),
        ("/sweeps/damaged", 500),
    ],
)
def test_sweeps_that_do_not_exist_get_a_problem(sweeps: Client, path: str, status: int) -> None:
    answer = sweeps.ask("GET", path)
    assert (answer.status, answer.data["status"]) == (status, status)


# How little it reads, and how it ends.


def note(monkeypatch: pytest.MonkeyPatch, owner: object, method: str, seen: list[str]) -> None:
    """Note the paths that a method of a transport is called with."""
    call = getattr(owner, method)

    def noted(paths: Sequence[str], **arguments: object) -> object:
        seen.extend(paths)
        return call(paths, **arguments)

    monkeypatch.setattr(owner, method, noted)


def test_a_look_lists_what_is_alive_and_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with InlineCluster(root=tmp_path / "budget") as cluster:
        for x in range(30):
            work(x).result(WAIT) if x != 2 else None
        with cluster.queue.held():
            alive = [work(x) for x in range(5)]
            overview = JobsOverview(cluster.place, everywhere=False)
            assert len(overview.page(100)["jobs"]) == 34
            listed: list[str] = []
            read: list[str] = []
            note(monkeypatch, cluster.place.transport, "list", listed)
            note(monkeypatch, cluster.place.transport, "get_each", read)
            overview.look()
            assert len(listed) <= len(alive) + 2  # the tasks, and the submissions of the one
            assert read == []
        alive[0].result(WAIT)
        until(lambda: overview.look() is False and overview.page(100)["jobs"][0]["ended"])
        seen = [path for path in read if path.endswith("outcomes/0.json")]
        assert len(seen) == len(set(seen))


def test_a_submission_whose_directory_was_seen_before_its_record_is_found(tmp_path: Path) -> None:
    with InlineCluster(root=tmp_path / "written") as cluster:
        overview = JobsOverview(cluster.place, everywhere=False)
        job = work(1)
        assert job.result(WAIT) == 1
        record = cluster.place.store.root + f"/jobs/{job.key}/submission.json"
        Path(record).rename(tmp_path / "later")
        for _ in range(2):
            overview.look()
        assert overview.changed(0) == ([], [])
        (tmp_path / "later").rename(record)
        overview.look()
        assert [found["key"] for found in overview.changed(0)[0]] == [job.key]


def test_a_map_is_counted_in_parts(inline: InlineCluster, jobs: JobArray[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slurm.server.overview._MOST_READ", 3)
    overview = JobsOverview(inline.place, everywhere=False)
    counting = overview.counting(jobs.key)
    assert (counting.facts()["uncounted"], sum(counting.facts()["states"].values())) == (1, 3)
    until(lambda: overview.look() is False)
    assert overview.counting(jobs.key).facts()["states"] == {"COMPLETED": 3, "FAILED": 1}


def test_a_request_that_takes_too_long_gets_503_and_others_go_on(
    client: Client, jobs: JobArray[int], inline: InlineCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("slurm.server.endpoints._SECONDS", 0.2)
    with monkeypatch.context() as slow:
        slow.setattr(type(inline.place.store), "keys", lambda _: go_on.wait(WAIT) and [])
        late = client.ask("GET", "/jobs")
        assert (late.status, late.headers["Retry-After"]) == (503, "10")
        go_on.set()
    monkeypatch.undo()
    assert client.ask("GET", f"/jobs/{jobs.key}").status == 200


def test_the_server_ends_while_streams_are_open(inline: InlineCluster) -> None:
    with contextlib.ExitStack() as open_streams:
        with served(inline) as own:
            streams = [open_streams.enter_context(own.events()) for _ in range(20)]
            assert [next(stream)[0] for stream in streams] == ["overview"] * 20
        for stream in streams:
            assert {name for name, _ in stream} <= {"changes"}  # each ends, without an error


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with InlineCluster(root=tmp_path / "silent") as cluster, cluster.queue.held():
        job = work(1)
        with served(cluster) as own, own.events() as events:
            assert next(events)[0] == "overview"

            def fail(*_: object) -> None:
                raise SchedulerError("squeue: no answer from https://ann:secret@login")

            monkeypatch.setattr(cluster.place.tracker, "check", fail)
            found = next(data["troubles"] for _, data in events if data["troubles"])
            assert found == {str(cluster.place.url): "squeue: no answer from https://***@login"}
            assert own.get(f"/jobs/{job.key}")["states"] == {"PENDING": 1}


# Where it listens, and the tokens.


def test_small_answers_are_sent_at_once() -> None:
    """Nagle's algorithm would hold back the second part of each answer until the client acknowledges the first."""
    found: list[int] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def ask(listening: socket.socket) -> None:
        async with await asyncio.start_server(answer, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            assert await reader.read() == b""
            writer.close()

    with listen(Address("127.0.0.1", 0)) as listening:
        asyncio.run(ask(listening))
    assert found == [1]


def test_tokens_are_kept_in_private_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = tokens()
    assert tokens() == first
    assert len(set(first)) == 2
    (path,) = tmp_path.glob("slurm-tasks/server/*/token")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="is not a private file"):
        tokens()


def test_a_socket_is_in_a_private_directory_and_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "own" / "socket"
    with listen(Address("127.0.0.1", 0, str(path))):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(ConfigurationError, match="another server listens"):
            listen(Address("127.0.0.1", 0, str(path)))
    listen(Address("127.0.0.1", 0, str(path))).close()
    path.parent.chmod(0o755)
    with pytest.raises(ConfigurationError, match="mode 0700"):
        listen(Address("127.0.0.1", 0, str(path)))
    with listen(Address("127.0.0.1", 0)) as used, pytest.raises(ConfigurationError, match="cannot listen at 127"):
        listen(Address("127.0.0.1", used.getsockname()[1]))
