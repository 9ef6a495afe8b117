"""Files: write all reports of a sweep from one snapshot."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from slurm.sweeps.reports.numbers import completion_of, failures_of, parameter_levels, performance_of
from slurm.sweeps.reports.pages import completion_page, errors_page, performance_page
from slurm.views.displays import clock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.snapshot import Snapshot

NAMES: Mapping[str, str] = {
    "completion": "completion_report.html",
    "performance": "performance_analysis.html",
    "errors": "error_analysis.html",
}
"""The file names of the reports, by kind."""


def write_reports(name: str, snapshot: Snapshot, directory: Path, search: Search | None = None) -> list[Path]:
    """Write the three reports of a sweep into a directory; returns their paths.

    Makes the directory if needed, and replaces older reports. `search` has the settings of an adaptive search.
    """
    subtitle = f"{len(snapshot.points)} points, as they were at {clock(time.time())}"
    levels = parameter_levels(snapshot)
    pages = {
        "completion": completion_page(name, subtitle, completion_of(snapshot, levels, search)),
        "performance": performance_page(name, subtitle, performance_of(snapshot, levels)),
        "errors": errors_page(name, subtitle, failures_of(snapshot), len(snapshot.points)),
    }
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, text in pages.items():
        path = directory / NAMES[kind]
        new = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
        new.write_text(text, encoding="utf-8")
        paths.append(new.replace(path))
    return paths
