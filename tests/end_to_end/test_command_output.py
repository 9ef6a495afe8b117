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

from slurm import Cluster, current_job, task
from slurm.cli.main import COMMANDS, slurm
from terminals import at_terminal
from waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
NO_JSON = {"completion"}


@task(time="5", mem="50M")
def halve(x: int) -> float:
    print("halving", x)
    if not x:
        raise ValueError(f"{x} has a long story of why it cannot be halved, which no terminal of 40 columns can hold")
    (current_job().output_directory() / "half.txt").write_text(f"{x / 2}")
    return x / 2


def documented() -> dict[str, tuple[str, set[str]]]:
    """What `--json` prints, by command: its kind and the names of its fields."""
    rows = re.findall(r"^\| `([\w ]+)` \| (an? [\w ]+) \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    return {name: (kind, set(re.findall(r"`([\w-]+)`", fields))) for name, kind, fields in rows}


def commands() -> set[str]:
    """All commands, with those of groups."""
    found = set()
    with click.Context(slurm) as ctx:
        for name in COMMANDS:
            command = slurm.get_command(ctx, name)
            inner = command.commands if isinstance(command, click.Group) else {}
            found |= {f"{name} {each}" for each in inner} or {name}
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
        "show of a job": ["show", f"{array}[1]"],
        "wait": ["wait", array],
        "result": ["result", array],
        "efficiency": ["efficiency", array],
        "explain": ["explain", array],
        "logs": ["logs", array],
        "script": ["script", array],
        "fetch": ["fetch", array, "*.txt", "--to", "here"],
        "fetch with a list": ["fetch", array, "--list"],
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
    made = halve.map([1, 0])
    made.exceptions(90)
    running = wait(str(tmp_path / "gate"))
    until(running.running)
    envs = Path(cluster.place.store.root, "envs")
    (envs / "environment" / "1a2b3c4d").mkdir(parents=True)
    (envs / "environment.json").touch()
    return made.key, running.key


def test_json_of_every_command_is_as_documented_and_all_that_is_printed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, table = documented(), words(*used(cluster, tmp_path, monkeypatch), tmp_path / "new")
    assert {name.partition(" of ")[0].partition(" with ")[0] for name in table} == commands() - NO_JSON == set(pages)
    for name, argv in table.items():
        done = subprocess.run(
            [sys.executable, "-m", "slurm", *argv, "--json"], capture_output=True, text=True, check=False
        )
        assert (done.returncode in (0, 1), bool(done.stdout)) == (True, True), (name, done.stderr)
        value: Any = json.loads(done.stdout)
        kind, fields = pages[name.partition(" of ")[0].partition(" with ")[0]]
        if name == "result":
            assert value == [0.5, None]
        elif kind == "an object":
            assert value.keys() <= fields, name
        elif kind == "a list of texts" and name != "fetch with a list":
            assert all(isinstance(text, str) for text in value), name
        else:
            assert value, name
            assert all(item.keys() <= fields for item in value), name


def fits(line: str, columns: int) -> bool:
    """Whether a line fits; one that holds a single long word cannot."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
    return len(text) <= columns or len(text.split()) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_every_command_shows_fits_the_terminal(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    table = words(*used(local, tmp_path, monkeypatch), tmp_path / "Slurmfile")
    for name in ("logs", "script", "result", "envs rm", "config init", "config trust"):  # texts as they are
        del table[name]
    for name, argv in table.items():
        lines = at_terminal(columns, *argv)
        wrong = [line for line in lines if not fits(line, columns)]
        assert not wrong, (name, wrong)
