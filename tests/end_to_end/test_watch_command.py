"""`slurm watch`: lines and JSON in pipes, a table on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

from slurm import Cluster, task

if TYPE_CHECKING:
    from collections.abc import Callable

SLURM = os.fspath(Path(sys.executable).with_name("slurm"))


@task
def step(number: int, go: str) -> int:
    while number and not Path(go, str(number)).exists():
        time.sleep(0.1)
    if number == 2:
        raise ValueError(number)
    return number


@pytest.fixture
def on(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return cluster.url


def test_lines_on_change_until_all_have_ended(on: str, tmp_path: Path) -> None:
    array = step.map([0, 1, 2], go=str(tmp_path))
    array[0].result(60)
    lines = subprocess.Popen([SLURM, "watch", array.key, "--on", on], stdout=subprocess.PIPE, text=True)
    data = subprocess.Popen([SLURM, "watch", "--json", "--on", on], stdout=subprocess.PIPE, text=True)
    assert lines.stdout is not None
    assert data.stdout is not None
    first = lines.stdout.readline()
    assert f"  {array.key}: " in first
    assert "1 COMPLETED" in first
    assert json.loads(data.stdout.readline())["states"]["COMPLETED"] == 1
    (tmp_path / "2").touch()
    failed = next(line for line in lines.stdout if "FAILED" in line)
    assert failed.endswith("1 COMPLETED, 1 FAILED: [2] ValueError: 2\n")
    (tmp_path / "1").touch()
    assert lines.communicate(timeout=60)[0].endswith(f"{array.key}: 2 COMPLETED, 1 FAILED\n")
    found = [json.loads(line) for line in data.communicate(timeout=60)[0].splitlines()]
    assert [each["failed"] for each in found if each["failed"]] == [{"2": "ValueError: 2"}]
    assert (found[-1]["key"], found[-1]["count"], found[-1]["states"]) == (array.key, 3, {"COMPLETED": 2, "FAILED": 1})
    assert (lines.returncode, data.returncode) == (1, 1)
    none = subprocess.run([SLURM, "watch", "--on", on], capture_output=True, text=True, check=False)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", f"there are no unfinished jobs on {on}\n")


def test_ctrl_c_ends_the_command_alone(on: str, tmp_path: Path) -> None:
    one, some = step(1, str(tmp_path)), step.map([0, 1], go=str(tmp_path))
    argv = [SLURM, "watch", one.key, some.key, "--on", on]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        time.sleep(0.5)
        watching.send_signal(signal.SIGINT)
        assert (watching.wait(30), watching.communicate()[1]) == (130, "")
    (tmp_path / "1").touch()
    assert (one.result(60), some.results(60)) == (1, [0, 1])


class Terminal:
    """A command on a terminal."""

    def __init__(self, columns: int, rows: int, *argv: str, **variables: str) -> None:
        self.screen, (self._end, theirs) = pyte.Screen(columns, rows), pty.openpty()
        self._stream = pyte.ByteStream(self.screen)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", **variables}
        for name in ("COLUMNS", "LINES"):  # readline sets them in the process that imports it
            environment.pop(name, None)
        self.process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.printed = b""

    def wait_for(self, seen: Callable[[str], bool]) -> str:
        """Read until the screen is as wanted, or the command ends."""
        while not seen(self.text):
            data = b""
            with contextlib.suppress(OSError):
                data = os.read(self._end, 4096)
            if not data:
                break
            self.printed += data
            self._stream.feed(data)
        return self.text

    @property
    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_on_a_terminal(local: Cluster, columns: int, tmp_path: Path) -> None:
    array = step.map([1, *([0] * 18), 2], go=str(tmp_path))
    (tmp_path / "2").touch()
    array[19].exception(60)
    one = Terminal(columns, 12, SLURM, "watch", array.key, "--on", local.url, NO_COLOR="1" if columns == 80 else "")
    text = one.wait_for(lambda text: "FAILED" in text and "18 COMPLETED" in text and "… 1" in text)
    lines = text.splitlines()
    assert lines[0] == array.key
    assert lines[1].startswith("  1 RUNNING, 18 COMPLETED, 1 FAILED")
    table = lines[next(at for at, line in enumerate(lines) if line.startswith("CALL")) :]
    assert table[1].split()[:2] == ["[19]", "FAILED"]
    assert table[2].split()[:2] == ["[0]", "RUNNING"]
    assert table[-1] == f"… {20 - (len(table) - 2)} more: {20 - (len(table) - 2)} COMPLETED"
    assert (b"\x1b[31m" in one.printed) == (columns != 80)
    other = step(1, str(tmp_path))
    every = Terminal(columns, 12, SLURM, "watch", "--on", local.url)
    shown = every.wait_for(lambda text: "18 COMPLETED" in text).splitlines()
    assert shown[2].startswith(array.key)
    assert shown[0].startswith(other.key if columns < 110 else "KEY  ")
    (tmp_path / "1").touch()
    for terminal in (one, every):
        terminal.wait_for(lambda _: False)
        assert terminal.process.wait(30) == 1
        assert "19 COMPLETED, 1 FAILED" in " ".join(terminal.text.split())
