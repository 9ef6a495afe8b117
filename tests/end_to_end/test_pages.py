"""Run every Python block of the documentation, on `local`, on Slurm or over SSH. Exceptions are listed with reasons.

The blocks of a page run as one program, one after another, and those of a tutorial for a shell after them. The pages
"Coming from …" and those of plug-ins have tests of their own, which also compare what the blocks print.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from slurm.schedulers.local_queue import client
from testbed.sshd import SSHTestbed

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
TESTED_ELSEWHERE = ("coming-from/", "how-to/add-a")


class Page(NamedTuple):
    """What the blocks of a page need before they run."""

    slurm: bool = False
    ssh: bool = False
    """Whether it needs a host `login`."""
    files: dict[str, str] = {}  # noqa: RUF012 - nothing changes it
    """Files that the reader has, in the directory of the program; those in `bin` are programs."""
    before: dict[int, str] = {}  # noqa: RUF012
    """Code that runs before a block, by the number of the block."""
    omitted: dict[int, str] = {}  # noqa: RUF012
    """The reason why a block does not run, by the number of the block."""
    argv: tuple[str, ...] = ("program.py",)


SITE = "its cluster needs what this machine does not have: modules, Conda, a project or a registry"
NOTEBOOK = ("-m", "IPython", "--colors=NoColor", "program.ipy")
PAGES = {
    "how-to/commands.md": Page(
        slurm=True,
        files={"train.py": "open('model.pt', 'w')", "mesh.h5": "mesh", "ref.fa": "", "model.py": "", "conf/a": ""},
    ),
    "how-to/environments.md": Page(
        omitted={0: SITE, 1: SITE, 2: SITE},
        files={"image/Containerfile": "FROM docker.io/library/python:3.12-slim\n"},
        before={3: "from slurm import Container"},
    ),
    "how-to/external-tools.md": Page(
        slurm=True,
        files={
            "bin/solve": "#!/bin/sh\ngrep -q 'steps: 4' \"$1\" && echo > field.h5\n",
            "bin/report": '#!/bin/sh\ncp "$1" report.pdf\n',
            "small/case.yaml": "grid:\n  steps: 1\n",
        },
        omitted={3: "a part of a class of the library", 4: "pyuvsim is not installed: `nox -s tools` runs it"},
    ),
    "how-to/grid-engine.md": Page(omitted={0: "needs Grid Engine: `nox -s grid_engine`"}),
    "how-to/notebooks.md": Page(argv=NOTEBOOK),
    "how-to/parameter-spaces.md": Page(files={"sweep.yaml": "sweep:\n  grid:\n    lr: [0.1, 0.2]\n"}),
    "how-to/pbs.md": Page(omitted={0: "needs PBS"}),
    "how-to/pools.md": Page(
        omitted={1: "needs 8 CPUs: test_elastic_pools.py runs such a pool"},
        before={
            2: "cluster = Cluster().activate()\npool = cluster.pool(workers=1, time='10:00')\n"
            "square.on(pool).map(range(6)).results()\nkey = pool.key"
        },
    ),
    "how-to/procedures.md": Page(
        files={
            "observe.py": "def init(subarray_id): pass\ndef calibrate(n): return n\ndef main(sb_id): return sb_id\n",
            "abort.py": "",
        },
        omitted={4: "test_procedures_from_git.py runs the same classes"},
        before={1: "def connect(n): ...\ndef observe(n, messages): ..."},
    ),
    "how-to/reuse.md": Page(slurm=True),
    "how-to/run-on-slurm.md": Page(slurm=True),
    "how-to/slurmrestd.md": Page(omitted={0: "needs slurmrestd: `nox -s slurmrest`"}),
    "how-to/survive-failures.md": Page(before={2: "class Model:\n    def fit(self): ..."}),
    "how-to/sweeps.md": Page(files={"Slurmfile": "default: cpu\nclusters:\n  cpu: {url: local}\n"}),
    "how-to/test-your-code.md": Page(argv=("-m", "pytest", "-q", "-p", "no:cacheprovider", "program.py")),
    "how-to/use-ssh.md": Page(slurm=True, ssh=True),
    "reference/api.md": Page(
        before={
            4: "@task\ndef load(path: str) -> str:\n    return path\n\n\n@task\ndef summary(day: str) -> str:\n"
            "    return day\n\n\n@task\ndef fit(x: int) -> int:\n    return x"
        }
    ),
    "tutorials/laptop-to-cluster.md": Page(slurm=True, ssh=True),
    "tutorials/notebook.md": Page(argv=NOTEBOOK),
    "reference/slurmfile.md": Page(files={"Slurmfile": "default: gpu\nclusters:\n  gpu: {url: slurm}\n"}),
}


@pytest.fixture(autouse=True)
def own_scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use a local scheduler for each page: otherwise, jobs that a page leaves take the CPUs of the next page."""
    with tempfile.TemporaryDirectory(prefix="slurm-page-", ignore_cleanup_errors=True) as directory:
        monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", f"{directory}/local")
        yield
        with contextlib.suppress(OSError):
            client.stop()
        monkeypatch.undo()


def pages() -> list[str]:
    """The names of the pages that have Python blocks."""
    found = [path for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text())]
    names = sorted(path.relative_to(DOCS).as_posix() for path in found)
    return ["../README.md", *(name for name in names if not name.startswith(TESTED_ELSEWHERE))]


def run(name: str, directory: Path) -> None:
    """Run the blocks of a page as one program."""
    page = PAGES.get(name, Page())
    blocks = BLOCK.findall((DOCS / name).read_text())
    assert {*page.omitted, *page.before} <= {*range(len(blocks))}, "a block is no longer there"
    program = [
        f"{page.before.get(number, '')}\n{block}" for number, block in enumerate(blocks) if number not in page.omitted
    ]
    files = {page.argv[-1]: "\n".join(program), **page.files}
    for path, text in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o700)
    environ = {
        **os.environ,
        "HOME": str(directory),
        "SCRATCH": str(directory),
        "PATH": f"{directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    commands = [[sys.executable, *page.argv]]
    if name.startswith("tutorials/"):
        commands.append(["bash", "-ec", "\n".join(SHELL.findall((DOCS / name).read_text()))])
    for argv in commands:
        done = subprocess.run(
            argv, cwd=directory, env=environ, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in pages() if not PAGES.get(name, Page()).slurm])
def test_blocks_of_a_page_run(tmp_path: Path, name: str) -> None:
    run(name, tmp_path)


@pytest.mark.slurm
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.slurm and not page.ssh])
def test_blocks_of_a_page_run_on_slurm(tmp_path: Path, slurm_env: object, name: str) -> None:
    run(name, tmp_path)


@pytest.mark.slurm
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.ssh])
def test_blocks_of_a_page_run_over_ssh(
    tmp_path: Path, slurm_env: object, ssh_env: SSHTestbed, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = ssh_env.write_config("login")
    config.write_text(config.read_text().replace("Host box", "Host login"))
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(config))
    run(name, tmp_path)


def test_pages_that_are_prepared_exist() -> None:
    assert PAGES.keys() <= {*pages()}
