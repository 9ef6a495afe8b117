"""Displays for notebooks, of real jobs. `test_notebooks.py` shows them in a notebook."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slurm import Cluster, current_job, task
from slurm.views import notebook
from testbed import SSHTestbed
from waiting import until


class Page(HTMLParser):
    """HTML that is well formed: its text, its tags, and the addresses in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open, self.tags = "", list[str](), set[str]()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "title", "open"}
        assert all("url(" not in (value or "") for _, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def page(shown: object) -> Page:
    return Page(shown._repr_html_())  # type: ignore[attr-defined]


NASTY = "<script>alert(1)</script> & 'quotes' \x1b[31mred\x1b[0m"


@task
def fail(text: str, code: int = 0) -> None:
    print("a bar: 10%\rand now 100%")
    if code:
        os._exit(code)
    raise ValueError(text)


@task
def train(gate: str, done: int) -> None:
    current_job().progress(done, 5_000_000, loss=0.25, note="<b>")
    while not Path(gate).exists():
        time.sleep(0.05)


@task
def wait(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.05)


def test_failed_job_shows_its_error_and_log_with_markup_escaped(local: Cluster) -> None:
    job = fail(NASTY)
    assert isinstance(job.exception(60), ValueError)
    shown = page(job)
    assert shown.tags <= {"div", "strong", "span", "table", "tr", "td", "details", "summary", "pre"}
    for part in ("fail", "FAILED", "ValueError", "<script>alert(1)</script> & 'quotes'", "and now 100%", job.key):
        assert part in shown.text
    assert ("a bar" in shown.text, "\x1b" in shown.text) == (False, False)
    assert repr(job).endswith(": FAILED>")


def test_array_shows_counts_by_state_and_its_first_failures(local: Cluster, tmp_path: Path) -> None:
    array = wait.map([str(tmp_path)] * 2 + [str(tmp_path / "go")])
    array[:2].results(60)
    shown = page(array)
    assert ("3 jobs" in shown.text, "COMPLETED" in shown.text, "went wrong" in shown.text) == (True, True, False)
    assert page(array[2]).text.split()[2] in ("PENDING", "RUNNING")
    (tmp_path / "go").touch()
    array.results(60)
    assert repr(array).endswith(": 3 COMPLETED>")
    failed = fail.starmap([("x", code) for code in (0, 7, 0, 0, 0, 0)])
    failed.exceptions(60)
    shown = page(failed)
    for part in ("failed, the first 5 of 6", "[4]", "status 7", "the end of the log of [0]"):
        assert part in shown.text
    assert "[5]" not in shown.text


def test_running_job_shows_its_progress(local: Cluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    job, array = train(gate, 4_000_000), train.map([gate] * 2, [10, 2000])
    until(lambda: "4000000/5000000 loss=0.25, note=<b>" in page(job).text)
    until(lambda: all(words in page(array).text for words in ("[0] 10/5000000", "[1] 2000/5000000")))
    Path(gate).touch()
    array.results(60)
    assert "5000000" not in page(array).text


def test_listing_and_cluster_are_shown_as_tables(local: Cluster, root: Path) -> None:
    assert page(local.jobs()).text.strip() == "no jobs"
    job, array = wait("/"), wait.map(["/", "/"])
    array.results(60)
    job.result(60)
    shown = page(local.jobs())
    assert all(part in shown.text for part in ("2 submissions", job.key, array.key, "COMPLETED"))
    text = repr(local.jobs()).strip("[]").splitlines()
    assert [line.split()[1] for line in text] == [array.key, job.key]
    shown = page(Cluster("slurm+ssh://login", options={"partition": "<short>", "exclusive": True}))
    assert all(part in shown.text for part in ("slurm+ssh://login", "slurm-jobs", "partition", "<short>", "exclusive"))
    assert str(root) in page(local).text


def test_display_says_so_when_the_cluster_does_not_answer(
    new_ssh: Callable[..., SSHTestbed], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh()
    port, relay = box.proxy()
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("config-far", port=port)))
    monkeypatch.setattr(notebook, "_SECONDS", 0.5)
    with Cluster("local+paramiko://box", root=root):
        job = wait("/")
    job.result(60)
    os.kill(relay.pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for trouble in ("no answer within 0.5 s", "the previous query has no answer yet"):
            shown = page(job).text
            assert ("COMPLETED" in shown, f"not up to date: {trouble}" in shown) == (True, True)
        assert time.monotonic() - begin < 60  # where it waits, it is for minutes
    finally:
        os.kill(relay.pid, signal.SIGCONT)
