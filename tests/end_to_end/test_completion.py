"""Completion in shells: commands, clusters and keys, without a scheduler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import Cluster, task


@task
def greet(name: str) -> str:
    return f"hello {name}"


PROGRAMS = Path(sys.executable).parent


def bash(*words: str) -> list[str]:
    """What bash completes the last of some words to."""
    line = " ".join(f"'{word}'" for word in words)
    script = (
        f'eval "$(slurm completion bash)"; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; '
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
    for verb in ("wait", "result", "retry"):
        assert shell("slurm", verb, "gre") == expected, verb
    assert shell("slurm", "show", "--on", "mine", "gre") == expected
    assert shell("slurm", "show", "--on", "ftp://nowhere", "gre") == []
    assert not (tmp_path / "called").exists()


def test_the_script_for_zsh_asks_this_command() -> None:
    argv = [str(PROGRAMS / "slurm"), "completion", "zsh"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("#compdef slurm\n")
    assert "_SLURM_COMPLETE=zsh_complete" in done.stdout
