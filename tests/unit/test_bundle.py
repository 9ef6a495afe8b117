"""The runner's zip, as a client makes and keeps it."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.storage.runner_zip import bundle


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    bundle.cache_clear()
    yield
    bundle.cache_clear()


def test_the_zip_is_the_same_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = bundle()
    [file] = tmp_path.glob("slurm-tasks/*")
    assert file.read_bytes() == kept.data
    assert kept.name == f"{hashlib.sha256(kept.data).hexdigest()}-runner.zip"
    bundle.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert bundle() == kept


def test_the_zip_is_small_and_holds_only_what_a_node_imports() -> None:
    data = bundle().data
    assert len(data) <= 1_500_000
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    packages = {name.split("/")[1] for name in names if name.startswith("slurm/")}
    assert packages.isdisjoint({"cli", "doctor", "server", "testing"})
    assert {"former", "clusters", "runner"} <= packages


def test_nothing_that_a_task_loads_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    compressed = {member.filename for member in zipfile.ZipFile(path).infolist() if member.compress_type}
    assert "slurm/clusters/cluster.pyc" in compressed
    imports = "import slurm.runner.main, slurm.runner.completed, cloudpickle"
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from slurm import task; {imports}; print(*sys.modules)"
    argv = [sys.executable, "-S", "-E", "-c", code, str(path)]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    files = {
        f"{name.replace('.', '/')}{end}" for name in loaded for end in (".pyc", "/__init__.pyc") if name != "__main__"
    }
    assert files & compressed == set()
