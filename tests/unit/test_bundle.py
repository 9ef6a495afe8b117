"""The runner's zip, as a client makes and keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.storage.runner_zip import bundle


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    bundle.cache_clear()
    yield
    bundle.cache_clear()


def test_it_is_the_same_where_no_cache_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = bundle()
    [file] = tmp_path.glob("slurm-tasks/*")
    assert file.read_bytes() == kept.data
    assert kept.name == f"{hashlib.sha256(kept.data).hexdigest()}-runner.zip"
    bundle.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert bundle() == kept
