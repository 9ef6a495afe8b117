"""Callbacks that come with the library: what they show, write and send, in real terminals, pipes and servers."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pickle
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyte
import pytest

from slurm import Cluster, task
from slurm.callbacks import JSONLinesCallback, LoggingCallback, WebhookCallback
from waiting import until

PROGRAM = """\
import sys, time
from slurm import Cluster, current_job, task
from slurm.callbacks import ProgressCallback

def wait_for(path):
    while not __import__("os").path.exists(path):
        time.sleep(0.02)

@task
def square(x, gate):
    if x == 7:
        raise ValueError("odd")
    wait_for(gate)
    return x * x

@task
def train(gate):
    current_job().progress(40, 100, loss=0.25)
    wait_for(gate)

gate = sys.argv[2]
with Cluster("local", root=sys.argv[1], callbacks=[ProgressCallback(interval=0.2)]):
    jobs = square.map([7, 1, 2], [gate] * 3)
    job = train(gate)
    job.result()
    jobs.exceptions()
print("the end")
"""


def on_a_terminal(tmp_path: Path, columns: int, **environ: str) -> tuple[list[str], list[str], bytes]:
    """What a program shows on a terminal while its tasks run, and when it has ended; and all that it wrote."""
    program, gate = tmp_path / "program.py", tmp_path / "gate"
    program.write_text(PROGRAM)
    argv = [sys.executable, str(program), str(tmp_path / "root"), str(gate)]
    screen = pyte.Screen(columns, 24)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}
    }  # of the tests' own
    settings = {**inherited, "TERM": "xterm-256color", **environ}
    running = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=settings)
    os.close(theirs)
    raw, meanwhile, latest = b"", list[str](), time.monotonic() + 40
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # nobody is at the other end any more
            break
        raw += data
        stream.feed(data)
        shown = [line.rstrip() for line in screen.display if line.strip()]
        wanted = (("40/100", "loss=0.25"), ("1/3", "1 failed"))
        there = all(any(a in line and b in line for line in shown) for a, b in wanted)
        rated = columns < 200 or any("/s" in line or "s each" in line for line in shown)
        if not meanwhile and ((there and rated) or time.monotonic() > latest):  # too late: what is shown tells why
            meanwhile = shown
            gate.touch()
    assert running.wait(30) == 0
    os.close(ours)
    return meanwhile, [line.rstrip() for line in screen.display if line.strip()], raw


@pytest.mark.parametrize("columns", [80, 200])
def test_progress_is_bars_in_a_terminal(tmp_path: Path, columns: int) -> None:
    meanwhile, at_end, raw = on_a_terminal(tmp_path, columns)
    assert [line.split()[0] for line in meanwhile] == ["square", "train"]
    assert all("━" in line and len(line) <= columns for line in meanwhile)
    assert ("running" in meanwhile[0], "/s" in meanwhile[0] or "s each" in meanwhile[0]) == (True, columns == 200)
    assert [line.split("━")[0].split()[0] for line in at_end] == ["square", "train", "the"]
    assert "3/3" in at_end[0]
    assert " in 0:00:" in at_end[1]
    assert raw.endswith(b"the end\r\n")
    assert raw.count(b"\x1b[?25l") == raw.count(b"\x1b[?25h") == 1  # the cursor is hidden, and comes back


def test_progress_has_no_colour_where_none_is_wanted(tmp_path: Path) -> None:
    _, at_end, raw = on_a_terminal(tmp_path, 80, NO_COLOR="1")
    assert "3/3" in at_end[0]
    assert b"\x1b[3" not in raw.replace(b"\x1b[38", b"\x1b[3")


@pytest.mark.parametrize("dumb", [False, True])
def test_progress_is_lines_in_a_pipe_and_on_a_dumb_terminal(tmp_path: Path, dumb: bool) -> None:
    if dumb:
        _, lines, raw = on_a_terminal(tmp_path, 80, TERM="dumb")
        assert b"\x1b" not in raw
    else:
        program, gate = tmp_path / "program.py", tmp_path / "gate"
        program.write_text(PROGRAM)
        gate.touch()
        argv = [sys.executable, str(program), str(tmp_path / "root"), str(gate)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert done.stdout == "the end\n"
        lines = done.stderr.splitlines()
    assert lines[0] == "square: 0/3, 3 pending"
    ends = [line for line in lines if " in 0:00:" in line]
    assert sorted(line.partition(",")[0] for line in ends) == ["square: 3/3", "train: 1/1"]


@task
def invert(x: int) -> float:
    return 1 / x


def test_logging_has_a_line_for_each_transition(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    handlers = list(logging.getLogger().handlers)
    with caplog.at_level(logging.INFO, logger="slurm.jobs"), Cluster("local", root=root, callbacks=[LoggingCallback()]):
        job = invert(0)
        job.exception(60)
    said = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "slurm.jobs"]
    assert said[0][1].startswith(f"{job.key}: submitted 1 as ")
    assert said[-1] == ("WARNING", f"{job.key}: FAILED: ZeroDivisionError: division by zero")
    assert {line for _, line in said[1:-1]} <= {f"{job.key}: RUNNING"}
    assert logging.getLogger().handlers == handlers


def test_lines_of_json_hold_every_event(local: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    with local:
        array = invert.with_options(callbacks=[JSONLinesCallback(path)]).map([0, 1, 2])
        array.exceptions(60)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert events[0]["event"] == "submit"
    ends = sorted((event["index"], event["state"]) for event in events if event["event"] == "complete")
    assert ends == [(0, "FAILED"), (1, "COMPLETED"), (2, "COMPLETED")]
    assert events[0]["count"] == 3
    assert "pickle" not in path.read_text()


class Service(BaseHTTPRequestHandler):
    """Takes notices; each path fails the first time if it says so."""

    notices: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - what all requests of a test have brought

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fails = self.path.endswith("/busy") and not any(path == self.path for path, _ in self.notices)
        self.notices.append((self.path, body))
        self.send_response(503 if fails else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web service on this machine, and nothing between it and whoever asks."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SECRET_TOKEN", "t0psecret")
    Service.notices.clear()
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slurm
def test_a_webhook_is_called_by_the_node_and_its_secret_stays_there(
    slurm_env: object, root: Path, tmp_path: Path, service: str
) -> None:
    kept = tmp_path / "webhook"
    kept.write_text(f"{service}/0therSecret/busy\n")
    kept.chmod(0o600)
    webhooks = [
        WebhookCallback(f"{service}/$SECRET_TOKEN", on=("on_run_begin", "on_completed")),
        WebhookCallback(url_file=str(kept), failures=True),
    ]
    with Cluster("slurm", root=root, callbacks=webhooks):
        job = invert(0)
        until(lambda: len(Service.notices) >= 4)
        job.exception(60)
    assert [(path, body["event"]) for path, body in Service.notices] == [
        ("/t0psecret", "run_begin"),
        ("/t0psecret", "completed"),
        ("/0therSecret/busy", "completed"),
        ("/0therSecret/busy", "completed"),
    ]
    text = Service.notices[-1][1]["text"]
    assert re.match(r"invert failed after \d+ s: ZeroDivisionError: division by zero \(invert/", text)
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".zip"]
    assert any(path.name == "callbacks.pkl" for path in files)
    assert not [path for path in files if b"ecret" in path.read_bytes().replace(b"SECRET_TOKEN", b"")]


ODD = (
    "http://127.0.0.1:9/s3cret",
    "http://me:s3cret@127.0.0.1:9/",
    "http://127.0.0.1:s3cret/",
    "http://[s3cret/",
    "https://127.0.0.1:9/s3cret x",
    "ftp://s3cret",
    "http://s3cret..example/",
    "http://127.0.0.1:9/\ns3cret",
)


def test_a_webhook_that_fails_names_no_address(local: Cluster, tmp_path: Path) -> None:
    kept = [tmp_path / f"webhook{number}" for number in range(len(ODD))]
    for path, url in zip(kept, ODD, strict=True):
        path.write_text(url)
        path.chmod(0o600)
    open_to_all = tmp_path / "open to all"
    open_to_all.touch(mode=0o644)
    files = [*kept, open_to_all]
    webhooks = [WebhookCallback(url_file=str(path), timeout=1) for path in files]
    job = invert.with_options(callbacks=[*webhooks, WebhookCallback("https://127.0.0.1:9/$N0WHERE")])(1)
    assert job.result(60) == 1
    events = Path(job.directory, "events", "0.jsonl")
    until(lambda: events.exists() and len(events.read_text().splitlines()) == len(files) + 1)
    *odd, refused, missing = (json.loads(line)["error"] for line in events.read_text().splitlines())
    assert odd[0].startswith("RuntimeError: the webhook failed: ")
    assert f"must be readable only by its owner: chmod 600 '{open_to_all}'" in refused
    assert missing == "LookupError: the webhook's URL contains $N0WHERE, but the node has no variable N0WHERE"
    written = [path for path in Path(job.directory).rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_a_webhook_whose_url_is_written_out_is_called_by_the_client(
    root: Path, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = WebhookCallback(f"{service}/s3cret")
    with Cluster(
        "local", root=root, callbacks=[webhook, WebhookCallback("http://127.0.0.1:9/s3cret", timeout=1)]
    ) as cluster:
        job = invert.with_options(callbacks=[WebhookCallback(f"{service}/failed", failures=True)])(0)
        fine = invert(1)
        job.exception(60)
        assert fine.result(60) == 1
        until(lambda: len(Service.notices) >= 3)
    del cluster
    told = sorted((path, body["event"], body["text"].partition(" (")[0]) for path, body in Service.notices)
    assert told == [
        ("/failed", "complete", "invert FAILED: ZeroDivisionError: division by zero"),
        ("/s3cret", "complete", "invert COMPLETED"),
        ("/s3cret", "complete", "invert FAILED: ZeroDivisionError: division by zero"),
    ]
    until(lambda: "WebhookCallback.on_complete failed" in caplog.text)
    assert "s3cret" not in caplog.text
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".zip"]
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
    assert not [path for path in files if path.name == "callbacks.pkl"]
    assert b"s3cret" not in pickle.dumps(webhook)


def test_a_webhook_that_was_pickled_before_can_be_loaded() -> None:
    before = {"url": "$HOOK", "url_file": None, "failures": False, "timeout": 10.0, "on": ("on_completed",)}
    loaded = WebhookCallback.__new__(WebhookCallback)
    loaded.__dict__.update(before)
    again = pickle.loads(pickle.dumps(loaded))
    assert (again.url, again.on, again.unused) == ("$HOOK", ("on_completed",), ["on_complete"])


@pytest.mark.parametrize("url", ["https://127.0.0.1/s3cret", "https://127.0.0.1/s3cret$", "https://127.0.0.1/$/s3cret"])
def test_a_url_without_a_variable_is_in_no_pickle(url: str) -> None:
    assert b"s3cret" not in pickle.dumps(WebhookCallback(url))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"url": "http://x", "url_file": "y"},
        {"url": "https://me:pass@host/x"},
        {"url": "https://me:pa/ss@host/$X"},
        {"url": "http://x", "on": "completed"},
        {"url": "http://x", "on": "on_run_begin"},
    ],
)
def test_a_webhook_that_cannot_be_meant_so_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"url_file|hooks"):
        WebhookCallback(**arguments)
