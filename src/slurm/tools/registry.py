"""Registry: find the tools of installed packages by their entry points `slurm.tools`, and open run directories."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from slurm.tools.declaration import GROUP
from slurm.tools.errors import ToolError
from slurm.tools.manifest import load_manifest
from slurm.tools.run import Run
from slurm.tools.run_directory import validate_run_dir
from slurm.tools.tool import Tool
from slurm.usage import near

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

_log = logging.getLogger(__name__)


def tools() -> Mapping[str, type[Tool]]:
    """Return the tools by name. A tool whose package cannot be imported is left out, with a warning."""
    found = {}
    for name, point in sorted(_points().items()):
        try:
            found[name] = _loaded(point)
        except ToolError as error:
            _log.warning("%s", error)
    return found


def find_tool(name: str) -> type[Tool]:
    """Return the tool with a name; imports no other tool. Raises ToolError with the nearest name for an unknown one."""
    points = _points()
    if name not in points:
        raise ToolError(
            f"there is no installed tool {name!r} (a class of yours is MODULE:CLASS or FILE.py:CLASS, also for --tool)"
            f"{near(name, points)}"
        )
    return _loaded(points[name])


def open_run(run_dir: str | os.PathLike[str], tool: type[Tool] | None = None) -> Run:
    """Open the run in a prepared directory, with the tool that its manifest names, unless `tool` is given.

    Raises RunDirectoryError, ManifestError, ToolError.
    """
    found = validate_run_dir(run_dir)
    return Run(tool or find_tool(load_manifest(found).tool), found)


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: EntryPoint) -> type[Tool]:
    try:
        found = point.load()
    except Exception as error:  # a package of somebody else may raise anything
        raise ToolError(f"the tool {point.name} ({point.value}) cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Tool)):
        raise ToolError(f"the tool {point.name} ({point.value}) is no subclass of slurm.tools.Tool")
    return found
