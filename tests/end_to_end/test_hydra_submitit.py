"""Hydra's launcher for submitit runs on our façade by one changed import. `nox -s peers` installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

LAUNCHER = "hydra_plugins.hydra_submitit_launcher"
PROGRAM = """\
import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    with open("answer.txt", "w") as file:
        file.write(str(10 * config.x))


main()
"""


@pytest.mark.skipif(not find_spec(LAUNCHER), reason="hydra-submitit-launcher is not installed: nox -s peers has it")
def test_multirun_of_the_submitit_launcher_on_the_facade(tmp_path: Path) -> None:
    changed = tmp_path / "plugins" / LAUNCHER.replace(".", "/")
    changed.mkdir(parents=True)
    spec = find_spec(LAUNCHER)
    assert spec is not None
    assert spec.origin is not None
    for source in Path(spec.origin).parent.glob("*.py"):
        text = source.read_text().replace("import submitit\n", "import slurm.compat.submitit as submitit\n")
        (changed / source.name).write_text(text)
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["-m", "hydra/launcher=submitit_local", "+x=1,2,3", "hydra.sweep.dir=out", "hydra.job.chdir=true"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "plugins")}
    argv = [sys.executable, "program.py", *words]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(tmp_path / "out" / str(n) / "answer.txt").read_text() for n in range(3)] == ["10", "20", "30"]
    assert list((tmp_path / "out" / ".submitit" / "jobs").iterdir()), "the jobs are ours"
