"""The server: the cost of its start, the time of its answers with many procedures, and the delay of its events."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import noop_task
from common import judged, unmeasured

from browser import CHROMIUM, browser
from slurm import Cluster
from slurm.procedures import Script, ScriptExecutionService
from slurm.protocol.procedures import PROCEDURES, Plan, ProcedureRecord
from slurm.testing import InlineCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

FEW, MANY, REQUESTS, MESSAGES, STARTS = 1000, 10_000, 200, 30, 9
_CPU, _MEGABYTES, _SHOW, _LIST, _POST, _READY, _TAKEN, _SENT, _PAINT = 250, 60, 5, 50, 100, 1000, 200, 300, 300
"""The budgets: MB, and milliseconds."""
_STATES = ("IDLE", "LOADING", "IDLE", "READY", "RUNNING", "READY", "COMPLETE")
_LISTENS = """
from slurm.procedures import procedure

def main():
    while "end" not in procedure.messages():
        procedure.sleep(60)
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if importlib.util.find_spec("starlette") is None:
        yield unmeasured("`slurm serve`", "the extra `server` is not installed")
        return
    root = settings.workspace / "server"
    with Cluster("local", root=root) as cluster:
        ScriptExecutionService(on=cluster).prepare(Script.text("")).stop()  # the first one creates files
    _write_ended(root, FEW)
    yield _of_start(root)
    with _served(root) as client:
        client.wait()
        yield from _of_life(client)
        yield _timed(client, "/procedures/500", f"GET of a procedure, of {FEW:,} that exist", _SHOW)
    _write_ended(root, MANY)
    with _served(root) as client:
        client.wait()
        what = f"GET of the newest 100 of {MANY:,} procedures that have ended"
        yield _timed(client, "/procedures?limit=100", what, _LIST)
    yield _of_page()


def _of_start(root: Path) -> Row:
    spent, megabytes = zip(*(_start(root) for _ in range(STARTS)), strict=True)
    what = f"`slurm serve` until it answers: CPU time, memory; the median of {STARTS}"
    measured, most = f"{median(spent):.0f} ms, {median(megabytes):.0f} MB", f"≤ {_CPU} ms, ≤ {_MEGABYTES} MB"
    return judged(what, measured, budget=most, kept=median(spent) <= _CPU and median(megabytes) <= _MEGABYTES)


def _start(root: Path) -> tuple[float, float]:
    """The milliseconds until a server answers, and the MB that it then uses."""
    with _served(root) as client:
        client.ask("GET", "/openapi.json")
        fields = Path(f"/proc/{client.pid}/stat").read_text().rpartition(")")[2].split()
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{client.pid}/status").read_text().splitlines())
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    return tick * (int(fields[11]) + int(fields[12])), int(lines["VmHWM"].split()[0]) / 1024


def _of_life(client: _Client) -> Iterator[Row]:
    begin = time.time()
    made = client.ask("POST", "/procedures", {"script": {"text": _LISTENS}})
    posted = time.time() - begin
    path = f"/procedures/{made['number']}"
    while (found := client.ask("GET", path))["state"] != "READY":
        time.sleep(0.01)
    ready = found["history"][-1]["time"] - begin
    yield _judged("POST of a procedure, to the answer", posted, _POST)
    yield _judged("… until it is READY, on `local`", ready, _READY)
    client.ask("PUT", path, {"state": "RUNNING"})
    arrived: dict[int, tuple[float, float]] = {}
    news = threading.Condition()

    def follow() -> None:
        for event in client.events(path):
            if event.get("event") == "message":
                with news:
                    arrived[len(arrived)] = event["time"], time.time()
                    news.notify_all()

    reader = threading.Thread(target=follow)
    reader.start()
    taken = []
    for number in range(MESSAGES):
        begin = time.time()
        client.ask("POST", f"{path}/messages", {"message": number})
        with news:
            news.wait_for(lambda: len(arrived) > number)  # noqa: B023 - it is called in this iteration only
        taken.append(arrived[number][0] - begin)
        time.sleep(0.3 + number / 100)  # so that events fall at different times in the pauses of the readers
    client.ask("POST", f"{path}/messages", {"message": "end"})
    reader.join()
    yield _judged(f"POST of a message, until the script has it: the median of {MESSAGES}", median(taken), _TAKEN)
    sent = median(there - told for told, there in list(arrived.values())[:MESSAGES])
    yield _judged("an event, until a client of its stream has it: the same", sent, _SENT)


def _of_page() -> Row:
    what, budget = f"the page's first paint, with {FEW:,} submissions: the median of {STARTS}", f"≤ {_PAINT} ms"
    if CHROMIUM is None:
        return unmeasured(what, "there is no Chromium", budget)
    from served import TOKEN, served  # noqa: PLC0415 - the extra is installed

    with InlineCluster() as cluster, cluster.queue.held():
        jobs = [noop_task.nothing() for _ in range(FEW)]
        with served(cluster) as client, browser() as page:
            client.get("/overview")
            times = []
            for _ in range(STARTS):
                page.open("about:blank")
                page.open(f"{client.url}/#{TOKEN}")
                page.until("document.querySelectorAll('.row').length >= 100")
                page.until("performance.getEntriesByName('first-contentful-paint').length")
                times.append(page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        for job in jobs:
            job.cancel()
    return _judged(what, median(times) / 1000, _PAINT)


def _timed(client: _Client, path: str, what: str, budget: int) -> Row:
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        client.ask("GET", path)
        times.append(time.perf_counter() - begin)
    return _judged(f"{what}: the median of {REQUESTS}", median(times), budget)


def _judged(what: str, seconds: float, budget: int) -> Row:
    return judged(what, f"{1000 * seconds:.1f} ms", budget=f"≤ {budget} ms", kept=1000 * seconds <= budget)


def _write_ended(root: Path, count: int) -> None:
    """Write the files of ended procedures, until there are this many."""
    plan = Plan(script=Script.text("def main(): pass").read(), grace=1.0, kill_wait=2.0)
    known = {int(path.stem) for path in (root / PROCEDURES).glob("*.json")}
    for number in set(range(1, count + 1)) - known:
        key = f"procedure/20260101T000000Z-{number:08x}"
        record = ProcedureRecord(key=key, plan=plan, by="ann@here", created=1.0 + number)
        (root / PROCEDURES / f"{number}.json").write_bytes(record.dumps())
        events = [{"time": 2.0, "attempt": 1, "event": "state", "state": state} for state in _STATES]
        directory = root / "jobs" / key
        (directory / "events").mkdir(parents=True)
        (directory / "events" / "0.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


class _Client:
    """A client that sends all requests through one connection."""

    def __init__(self, pid: int, port: int, token: str) -> None:
        self.pid = pid
        self._port, self._headers = port, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def wait(self) -> None:
        """Wait until the server has read the root for the first time: before, it answers 503."""
        while "status" in self.ask("GET", "/procedures?limit=1"):
            pass

    def ask(self, method: str, path: str, data: Any = None) -> Any:
        """The data of the answer."""
        body = None if data is None else json.dumps(data)
        self._connection.request(method, path, body, self._headers)
        return json.loads(self._connection.getresponse().read())

    def events(self, path: str) -> Iterator[Any]:
        """The events of a procedure, until it has ended."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("GET", f"{path}/events", headers=self._headers)
        for line in iter(connection.getresponse().readline, b""):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
        connection.close()


@contextmanager
def _served(root: Path) -> Iterator[_Client]:
    argv = [sys.executable, "-m", "slurm", "serve", "--on", "local", "--dir", str(root), "--allow-text"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"127\.0\.0\.1:(\d+)/#(\S+)", process.stdout.readline())
            assert found is not None
            yield _Client(process.pid, int(found[1]), found[2])
        finally:
            process.terminate()
