"""Shell programs: they pass shellcheck, and load the same from the zip as from a directory."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slurm.places.probe import DEFAULT_ROOT
from slurm.protocol import packed
from slurm.protocol.shell import program
from slurm.storage.runner_zip import bundle

SOURCES = Path(__file__).parents[2] / "src"
PROGRAMS = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.sh"))
SHELLCHECK = pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")


@SHELLCHECK
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_shell_program_passes_shellcheck(name: str) -> None:
    done = subprocess.run(["shellcheck", SOURCES / name], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_read_with_what_it_includes_and_without_comments(name: str) -> None:
    text = program("slurm", name.removeprefix("slurm/"))
    assert not re.search(r"^ *#|^\. \S+\.sh$", text, re.MULTILINE)
    shell = "bash" if "shell=bash" in (SOURCES / name).read_text() else "sh"
    checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_program_reads_the_same_from_the_zip(tmp_path: Path) -> None:
    archive = tmp_path / bundle().name
    archive.write_bytes(bundle().data)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import slurm.places; from slurm.protocol.shell import program; "
        "print(slurm.places.__file__); print(program('slurm.places', 'probe.sh'), end='')"
    )
    argv = [sys.executable, "-S", "-E", "-c", code, str(archive)]
    place, _, text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")
    assert place.startswith(str(archive))
    assert text == program("slurm.places.probe", "probe.sh")


CLIENT_ONLY = (
    *("slurm/cli/", "slurm/doctor/", "slurm/testing/", "slurm/tools/"),
    *(
        "slurm/clusters/list_environments.sh",
        "slurm/clusters/list_space.sh",
        "slurm/clusters/remove_blobs.sh",
        "slurm/clusters/remove_environments.sh",
        "slurm/clusters/remove_jobs.sh",
        "slurm/clusters/remove_wheels.sh",
        "slurm/schedulers/survey.sh",
        "slurm/tracking/elastic_pools.sh",
    ),
)


def test_the_zip_has_all_programs_but_those_of_clients_only() -> None:
    archive = zipfile.ZipFile(io.BytesIO(bundle().data))
    files = (*archive.namelist(), *packed.packed_names(archive.read(packed.SOURCES)))
    inside = {name for name in files if name.endswith(".sh")}
    assert inside == {name for name in PROGRAMS if not name.startswith(CLIENT_ONLY)}


@pytest.mark.parametrize("given", ["~", "~/a b", "/x/$HOME"])
def test_a_root_is_resolved_as_it_is_shown(given: str) -> None:
    script = program("slurm.places.probe", "default_root.sh") + 'set_root "$1"; printf %s "$root"'
    environ = {**os.environ, "HOME": "/home/ann", "SCRATCH": "", "WORK": "/project/ann"}
    done = subprocess.run(["sh", "-c", script, "sh", given], env=environ, capture_output=True, text=True, check=True)
    shown = f'printf %s "{DEFAULT_ROOT}"'
    default = subprocess.run(["sh", "-c", shown], env=environ, capture_output=True, text=True, check=True).stdout
    assert done.stdout == {"~": default, "~/a b": "/home/ann/a b", "/x/$HOME": "/x/$HOME"}[given]
