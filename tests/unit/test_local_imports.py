"""Modules that functions import when they are called, as a client finds them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm.serialization import local_imports
from slurm.serialization.local_imports import imports_of, local_sources


def function(source: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - a function whose imports nobody has to resolve here
    found: Callable[..., Any] = namespace["f"]
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): return 1", set()),
        ("def f(): import a", {("a", 0)}),
        ("def f(): import a.b as c, d", {("a.b", 0), ("d", 0)}),
        ("def f():\n from a.b import c\n from . import d\n from ..e import g", {("a.b", 0), ("", 1), ("e", 2)}),
        ("def f():\n def g():\n  import a\n return g", {("a", 0)}),
        ("f = lambda: [__import__('a') for _ in ()]", set()),
        ("def f():\n class A:\n  import a", {("a", 0)}),
    ],
)
def test_the_imports_of_a_function(source: str, expected: set[tuple[str, int]]) -> None:
    assert set(imports_of(function(source).__code__)) == expected


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "one.py": "import json, pytest\ndef f():\n    import two\n",
        "two.py": "import one  # a cycle\n",
        "pack/__init__.py": "from . import first\n",
        "pack/first.py": "from .deep.inner import x\nimport three\n",
        "pack/deep/__init__.py": "",
        "pack/deep/inner.py": "x = 'ü'\n",
        "pack/data.txt": "",
        "pack/not-a-module.py": "",
        "three.py": "this is no Python",
        "space/part.py": "# -*- coding: latin-1 -*-\n",
        "unused.py": "",
        "json.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], set()),
        (["one"], {"one", "two"}),
        (["pack"], {"pack", "pack.first", "pack.deep", "pack.deep.inner", "three"}),
        (["space"], {"space", "space.part"}),
        (["json", "numpy", "pytest", "slurm", "nothing_has_this_name", ""], set()),
    ],
)
def test_local_modules_are_found_with_those_that_they_import(
    directory: Path, wanted: list[str], expected: set[str]
) -> None:
    found = local_sources(wanted)
    assert found.keys() == expected
    for name, (path, source) in found.items():
        file = Path(path)
        assert file.is_relative_to(directory), name
        assert (file.is_dir() and source is None) or source == file.read_text(
            "latin-1" if name == "space.part" else "utf-8"
        )


def test_modules_of_the_environment_are_not_sent(directory: Path) -> None:
    assert local_sources(["one", "pack"], ["pack", "two"]).keys() == {"one"}


def test_a_module_that_is_too_large_is_named_and_not_sent(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local_imports, "MOST_BYTES", 30)
    with caplog.at_level(logging.WARNING):
        assert local_sources(["one", "two"]).keys() == {"two"}
    assert "the module one is not sent with the function that imports it: it has 31 bytes" in caplog.text
