"""The example notebooks run in a real kernel, here and on Slurm; what is committed of them is what they show."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks import EXAMPLES, HOST, ROOT, executed

SHOWN = {
    "first-steps": ["Cluster", "COMPLETED", "FAILED", "ZeroDivisionError", "inverting 0", "submissions"],
    "workflow": ["round 2: ", "image/svg+xml", "cost × 9", "COMPLETED"],
    "parameter-scan": ["36 jobs", "COMPLETED", "image/png"],
}
"""Of each notebook, words that its displays have wherever it runs."""


URLS = ["local", pytest.param("slurm", marks=pytest.mark.slurm)]
PATH = re.compile(r"(?<![\w.:/<])/(?:\w[\w.-]*/)+[\w.-]*")
"""An absolute path of two steps or more, which the end of a tag and a URL's are not."""


def shown(notebook: Any) -> str:
    """All that the cells of a notebook have shown, but for pictures."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kept = [{**output, "data": {**output.get("data", {}), "image/png": ""}} for output in outputs]
    return json.dumps(kept, ensure_ascii=False)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", SHOWN)
def test_notebook_runs_and_shows_its_parts(name: str, url: str, root: Path, request: pytest.FixtureRequest) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    found = shown(executed(EXAMPLES / f"{name}.ipynb", url, root))
    assert [part for part in SHOWN[name] if part not in found] == []


@pytest.mark.parametrize("name", SHOWN)
def test_committed_notebook_has_outputs_without_machine_names(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    found = shown(notebook)
    assert [part for part in SHOWN[name] if part not in found] == []
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(
        range(1, 1 + sum(cell.cell_type == "code" for cell in notebook.cells))
    )
    paths = [path for path in PATH.findall(found) if not path.endswith("ipykernel_1/1.py")]
    assert [path for path in paths if not path.startswith(ROOT)] == []
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", found.replace(HOST, ""))
    assert all(not cell.metadata for cell in notebook.cells)


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(SHOWN)
