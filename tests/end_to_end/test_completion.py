"""Completion in shells: commands, clusters and keys, without a scheduler."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, task


@task
def greet(name: str) -> str:
    return f"hello {name}"


PROGRAMS = Path(sys.executable).parent


def bash(*words: str) -> list[str]:
    """What bash completes the last of some words to, if it does not split them at colons."""
    line = " ".join(words)
    script = (
        f"eval \"$(slurm completion bash)\"; COMP_WORDBREAKS=' '; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        "_slurm_completion slurm; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    return complete(["bash", "-c", script])


def fish(*words: str) -> list[str]:
    """The same of fish."""
    return complete(["fish", "-c", f"slurm completion fish | source; complete -C '{' '.join(words)}'"])


def complete(argv: list[str]) -> list[str]:
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.split("\n") if line]


@pytest.mark.parametrize("shell", [bash, fish])
def test_commands_clusters_and_keys_are_completed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: object
) -> None:
    if shell is fish and shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    assert callable(shell)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "Slurmfile").write_text(
        f'default: mine\nclusters: {{mine: {{url: "{cluster.url}"}}, far: {{url: slurm}}}}\n'
    )
    one = greet("ann")
    one.result(60)
    for name in ("scontrol", "squeue", "sacct", "sbatch"):
        broken = tmp_path / "broken" / name
        broken.parent.mkdir(exist_ok=True)
        broken.write_text(f"#!/bin/sh\necho {name} >> '{tmp_path}/called'\n")
        broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/broken:{os.environ['PATH']}")
    expected = [] if "+" in cluster.url else [one.key]
    assert shell("slurm", "compl") == ["completion"]
    assert shell("slurm", "jobs", "mi") == ["mine"]
    assert sorted(shell("slurm", "show", "--on", "")) == ["far", "mine"]
    assert shell("slurm", "show", "--on=mi")[-1].endswith("mine")
    for verb in ("wait", "result", "retry"):
        assert shell("slurm", verb, "gre") == expected, verb
    assert shell("slurm", "show", "--on", "mine", "gre") == expected
    assert shell("slurm", "show", "--on", "ftp://nowhere", "gre") == []
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("shell", [bash, fish])
def test_warnings_are_not_printed_into_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """Python warns of an escape that means nothing, when it parses the file."""
    if shell is fish and shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    assert callable(shell)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    (tmp_path / "study.py").write_text('def fit():\n    return "\\d"\n')
    assert shell("slurm", "run", "study.py:f") == ["study.py:fit"]


SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i", "-o", "no_prompt_sp"]}
SET_UP = {"bash": "", "zsh": "autoload -U compinit; compinit -D -u; "}


def typed(keys: str, end: str, directory: Path, shell: str = "bash") -> str:
    """What a shell at a terminal shows, from the keys on until it shows the end."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    own = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> ", "INPUTRC": "/dev/null"}
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 400, 0, 0))
    command = ["setsid", "--ctty", *SHELLS[shell]]
    streams: Any = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=directory, env={**os.environ, **own}, **streams) as running:
        os.close(theirs)
        shown = ""
        try:
            os.write(terminal, f'{SET_UP[shell]}eval "$(slurm completion {shell})"; echo rea""dy\n'.encode())
            while "> " not in shown.partition("ready\r\n")[2]:
                shown += os.read(terminal, 1000).decode()
            os.write(terminal, keys.encode())
            shown = ""
            while end not in shown:
                shown += os.read(terminal, 1000).decode()
        finally:
            running.kill()
            os.close(terminal)
    return shown


@pytest.mark.timeout(100)
@pytest.mark.parametrize("shell", SHELLS)
def test_words_with_colons_are_completed_at_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "Slurmfile").write_text('clusters: {"a:one": {url: local}, far: {url: slurm}}\n')
    with Cluster("local", root=tmp_path / "root") as cluster:
        job = greet("ann")
        job.result(60)
    assert "slurm jobs a:one " in typed("slurm jobs a:o\t#end", "#end", tmp_path, shell)
    line = f"slurm show --on {cluster.url} {job.key} "
    assert line in typed(f"slurm show --on {cluster.url} gre\t#end", "#end", tmp_path, shell)
    assert "--on=a:one " in typed("slurm show --on=a:\t#end", "#end", tmp_path, shell)
