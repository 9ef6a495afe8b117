"""The output of all commands: `--json` as documented and nothing else, and tables that fit the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from slurm import Cluster, current_job, gather, task
from slurm.cli.main import slurm
from terminals import at_terminal
from waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
NO_JSON = {"completion", "mcp", "serve", "sweep init"}


@task(time="5", mem="50M")
def halve(x: int) -> float:
    print("halving", x)
    if not x:
        raise ValueError(f"{x} has a long story of why it cannot be halved, which no terminal of 40 columns can hold")
    (current_job().output_directory() / "half.txt").write_text(f"{x / 2}")
    return x / 2


COPIES = """
from slurm.tools import Stage, Tool

class Copies(Tool):
    name, taxonomy, config = "copies", (), "case.yaml"
    copy = Stage("cp {config} copy.txt", products=["copy.txt"])
    fail = Stage("sh -c 'echo half > half.txt; exit 3'", resumable=True)
"""


def documented() -> dict[str, tuple[str, set[str]]]:
    """What `--json` prints, by command: its kind and the names of its fields."""
    rows = re.findall(r"^\| `([\w ]+)` \| (an? [\w ]+) \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    return {name: (kind, set(re.findall(r"`([\w-]+)`", fields))) for name, kind, fields in rows}


def commands(group: click.Group = slurm, before: str = "") -> dict[str, click.Command]:
    """All commands, with those of groups."""
    found: dict[str, click.Command] = {}
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            inner = isinstance(command, click.Group)
            found |= commands(command, f"{before}{name} ") if inner else {f"{before}{name}": command}  # type: ignore[arg-type]
    return found


@task(time="5")
def wait(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def words(array: str, running: str, file: Path) -> dict[str, list[str]]:
    """The arguments of each command, in the order in which they run."""
    return {
        "config init": ["config", "init", str(file), "--yes", "--on", "local"],
        "config validate": ["config", "validate", str(file)],
        "config show": ["config", "show"],
        "config trust": ["config", "trust", str(file)],
        "doctor": ["doctor"],
        "jobs": ["jobs"],
        "ls": ["ls"],
        "show": ["show", array],
        "run": ["run", "halves.py:halve", "--x", "4"],
        "graph": ["graph", array],
        "watch": ["watch", array],
        "replay": ["replay", array, "0"],
        "show of a job": ["show", f"{array}[1]"],
        "wait": ["wait", array],
        "result": ["result", array],
        "efficiency": ["efficiency", array],
        "explain": ["explain", array],
        "logs": ["logs", array],
        "script batch": ["script", "batch", array],
        "fetch": ["fetch", array, "*.txt", "--to", "here"],
        "fetch with a list": ["fetch", array, "--list"],
        "connect": ["connect", running, "--", "hostname"],
        "debug": ["debug", running],
        "send": ["send", running, "7"],
        "cancel": ["cancel", running],
        "retry": ["retry", array, "--failed"],
        "envs list": ["envs", "list"],
        "envs gc": ["envs", "gc", "--days", "0", "--dry-run"],
        "envs rm": ["envs", "rm", "environment"],
        "du": ["du"],
        "gc": ["gc", "--days", "0", "--dry-run"],
    }


def used(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Have a map of two calls, of which one has failed, and a job that runs, on the default cluster of a Slurmfile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Slurmfile").write_text(f'default: mine\nclusters: {{mine: {{url: "{cluster.url}"}}}}\n')
    (tmp_path / "halves.py").write_text("print('imported')\ndef halve(x: int) -> int:\n    return x // 2\n")
    made = halve.map([1, 0])
    made.exceptions(90)
    running = wait(str(tmp_path / "gate"))
    until(running.running)
    envs = Path(cluster.place.store.root, "envs")
    (envs / "environment" / "1a2b3c4d").mkdir(parents=True)
    (envs / "environment.json").touch()
    return made.key, running.key


def test_every_command_that_gives_data_takes_json() -> None:
    without = {name for name, command in commands().items() if all(each.name != "as_json" for each in command.params)}
    assert without == NO_JSON


def test_json_of_every_command_is_as_documented_and_all_that_is_printed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, table = documented(), words(*used(cluster, tmp_path, monkeypatch), tmp_path / "new")
    others = {name for name in pages if name.startswith(("sweep ", "tool ", "script "))} - table.keys()
    assert {name.partition(" of ")[0].partition(" with ")[0] for name in table} == set(pages) - others
    assert set(pages) == commands().keys() - NO_JSON
    for name, argv in table.items():
        at = 2 if argv[0] in ("config", "envs", "script") else 1
        done = subprocess.run(
            [sys.executable, "-m", "slurm", *argv[:at], "--json", *argv[at:]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode in (0, 1), bool(done.stdout)) == (True, True), (name, done.stderr)
        value: Any = json.loads(done.stdout)
        kind, fields = pages[name.partition(" of ")[0].partition(" with ")[0]]
        if kind == "a value":
            assert value == {"result": [0.5, None], "run": 2, "replay": 0.5}[name]
        elif kind in ("an object", "a line for each change"):
            assert value.keys() <= fields, name
        elif kind == "a list of texts" and name != "fetch with a list":
            assert all(isinstance(text, str) for text in value), name
        else:
            assert value, name
            assert all(item.keys() <= fields for item in value), name


def test_json_of_sweeps_is_as_documented(local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "halves.py").write_text("def halve(x: int) -> dict:\n    return {'half': 10 / x}\n")
    (tmp_path / "halves.yaml").write_text("sweep:\n  grid: {x: [0, 1]}\ntask: halves.py:halve\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sweep.yaml").write_text("sweep:\n  grid:\n    x: [0, 1]\n")
    words = {
        "import": ["old", "--dry-run"],
        "validate": ["halves.yaml"],
        "run": ["halves.yaml", "--on", local.url],
        "status": ["halves"],
        "watch": ["halves"],
        "recent": ["halves"],
        "errors": ["halves"],
        "why": ["halves", "0"],
        "table": ["halves"],
        "extend": ["halves", "halves.yaml"],
        "complete": ["halves", "--on", local.url],
        "report": ["halves"],
        "compare": ["halves", "halves"],
        "export": ["halves"],
        "logs": ["halves", "1"],
        "fetch": ["halves", "1"],
        "collect": ["halves"],
        "cancel": ["halves"],
        "cleanup": ["halves"],
    }
    pages = {name.removeprefix("sweep "): row for name, row in documented().items() if name.startswith("sweep ")}
    assert pages.keys() == words.keys()
    for name, argv in words.items():
        command = [sys.executable, "-m", "slurm", "sweep", name, *argv, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode in (0, 1), bool(done.stdout)) == (True, True), (name, done.stderr)
        value: Any = json.loads(done.stdout)
        kind, fields = pages[name]
        several = value if kind.startswith("a list") else [value]
        own = {"x", "half"} if name == "table" else set()
        assert several or name == "fetch", name  # a function leaves no files
        assert all(item.keys() - own <= fields for item in several), name


def test_json_of_tools_is_as_documented(local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copies.py").write_text(COPIES)
    (tmp_path / "templates" / "small").mkdir(parents=True)
    (tmp_path / "templates" / "small" / "case.yaml").write_text("steps: 3\n")
    tool = "copies.py:Copies"
    words = {
        "list": [],
        "show": [tool],
        "templates": [tool],
        "prepare": [tool, "one", "--template", "small", "--root", "runs", "--on", local.url],
        "submit": ["runs/copies/one"],
        "runs": ["runs"],
        "status": ["runs/copies/one"],
        "logs": ["runs/copies/one", "--stage", "copy"],
        "verify": ["runs/copies/one"],
        "resume": ["runs/copies/one", "--stage", "fail"],
        "fetch": ["runs/copies/one"],
        "cleanup": ["runs/copies/one"],
    }
    pages = {name.removeprefix("tool "): row for name, row in documented().items() if name.startswith("tool ")}
    assert pages.keys() == words.keys()
    pages["resume"] = pages["submit"]
    for name, argv in words.items():
        command = [sys.executable, "-m", "slurm", "tool", name, *argv, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode in (0, 1), bool(done.stdout)) == (True, True), (name, done.stderr)
        value: Any = json.loads(done.stdout)
        kind, fields = pages[name]
        assert value, name
        if kind == "a list of texts":
            assert all(isinstance(text, str) for text in value), name
        else:
            assert all(item.keys() <= fields for item in (value if kind.startswith("a list") else [value])), name
        if name == "submit":
            gather(*(local.job(found["key"]) for found in value), return_exceptions=True)


def fits(line: str, columns: int) -> bool:
    """Whether a line fits; one that holds a single long word cannot."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
    return len(text) <= columns or len(text.split()) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_every_command_shows_fits_the_terminal(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    table = words(*used(local, tmp_path, monkeypatch), tmp_path / "Slurmfile")
    for name in ("logs", "script batch", "graph", "result", "debug", "envs rm", "config init", "config trust"):  # texts
        del table[name]
    for name, argv in table.items():
        lines = at_terminal(columns, *argv)
        wrong = [line for line in lines if not fits(line, columns)]
        assert not wrong, (name, wrong)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_of_every_command_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ["", *commands()]:
        shown = CliRunner().invoke(slurm, [*name.split(), "--help"]).output
        wrong = [line for line in shown.splitlines() if not fits(line.partition("  [")[0], columns)]
        assert shown, name
        assert not wrong, (name, wrong)
