"""The plug-ins of the pages "Add a transport" and "Add an environment" pass their contract suites."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGES = TESTS.parent / "docs" / "how-to"

# Stand-ins for programs that this machine doesn't have: a client of another host, and a package manager.
TSH = '#!/bin/sh\nshift 2\nexec "${SHELL:-sh}" -c "$*"\n'
SPACK = '#!/bin/sh\n[ "$*" = "env activate tools" ]\n'


@pytest.mark.parametrize(
    ("page", "program", "script"),
    [("add-a-transport.md", "tsh", TSH), ("add-an-environment.md", "spack", SPACK)],
    ids=["transport", "environment"],
)
def test_plugin_page_example_passes_its_contract_suite(tmp_path: Path, page: str, program: str, script: str) -> None:
    files = dict(
        re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)
    )
    assert len(files) == 2
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / program).write_text(script)
    (tmp_path / "bin" / program).chmod(0o755)
    python = Path(sys.executable).parent  # the environment of the page is found by the name of its Python
    path = f"{tmp_path / 'bin'}:{python}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": f"{TESTS}:{tmp_path}"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
