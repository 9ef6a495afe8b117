"""The runner's zip, as a client makes and keeps it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurm.bundle import bundle
from slurm.cache import cached


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    bundle.cache_clear()
    yield
    bundle.cache_clear()


def test_it_is_the_same_where_no_cache_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = bundle()
    assert cached(kept.name).read_bytes() == kept.data
    bundle.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert bundle() == kept
