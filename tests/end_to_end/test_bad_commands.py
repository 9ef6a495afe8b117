"""Programs and arguments that are wrong, on every kind of cluster: one clear error, and nothing else is affected."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, CommandFailed, command
from waiting import until

VALUES = ["a b", 'it\'s "$HOME" `x`', "two\nlines\n", "-n", "* {x} é", ""]


@pytest.mark.parametrize(("arguments", "message"), [({}, "'x'"), ({"x": 1, "y": 2}, "'y'")], ids=["missing", "unknown"])
def test_arguments_that_do_not_fit_a_template_submit_nothing(
    cluster: Cluster, arguments: dict[str, Any], message: str
) -> None:
    of: Any = command("tool {x}")
    with pytest.raises(TypeError, match=message):
        of(**arguments)
    assert list(cluster.jobs()) == []


def test_a_value_is_one_word_whatever_it_contains(cluster: Cluster) -> None:
    template = "printf %s {x} > out"
    shell = command(template, products="out", shell=True)  # noqa: S604 - what this is about
    words = command("sh -c 'printf %s \"$1\" > out' sh {x}", products="out")
    for of in shell, words:
        jobs = of.map(VALUES, chunk_size=3)
        assert [done.products[0].read_text() for done in jobs.results(90)] == VALUES


def test_products_outside_of_the_directory_are_refused(cluster: Cluster) -> None:
    for pattern in ("../out", "/etc/passwd", "a/../../out"):
        with pytest.raises(ValueError, match="product"):
            command("true", products=pattern)
    with pytest.raises(ValueError, match="a link to /etc/passwd, outside of the directory"):
        command("ln -s /etc/passwd out", products="out")().result(90)


@pytest.mark.parametrize(
    ("template", "status", "message"),
    [
        ("no-such-program", 127, "there is no program 'no-such-program'"),
        ("/no/such/program", 127, "there is no '/no/such/program'"),
        ("./tool", 126, "not executable: run chmod"),
    ],
)
def test_a_program_that_cannot_be_started_is_named(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tool").write_text("#!/bin/sh\n")
    files = ["tool"] if "tool" in template else []
    with pytest.raises(CommandFailed, match=message) as caught:
        command(template, files=files)().result(90)
    assert caught.value.exit_code == status


LEAVES = """
import os, time
if os.fork():
    while not os.path.exists("pid"):
        time.sleep(0.02)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open("pid.new", "w").write(str(os.getpid()))
os.rename("pid.new", "pid")
time.sleep(600)
"""


def test_no_process_that_has_left_the_group_survives_the_call(cluster: Cluster) -> None:
    done = command(f"{sys.executable} -c {{code}}", products="pid")(LEAVES).result(90)
    pid = done.products[0].read_text()
    until(lambda: not os.path.exists(f"/proc/{pid}"), timeout=30)


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_a_program_that_fills_the_disk_is_an_error_that_says_so(
    url: str, request: pytest.FixtureRequest, disk: Path
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    with Cluster(url, root=disk / "root"):
        job = command("sh -c 'cat /dev/zero > big; exit 1'")()
        with pytest.raises(CommandFailed, match="full"):
            job.result(90)


def test_a_program_that_prints_a_gigabyte_takes_no_memory(cluster: Cluster) -> None:
    job = command("sh -c 'yes | head -c 1000000000'")()
    done = job.result(120)
    log = done.directory / "stdout.log"
    try:
        assert log.stat().st_size == 10**9
        assert done.peak_memory < 1 << 28
        outcome = job.status().outcome
        assert outcome is not None
        assert (outcome.peak_memory or 0) < 1 << 29
    finally:
        log.unlink()
