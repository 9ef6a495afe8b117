"""External tools: run programs of other authors as jobs, with run directories, manifests, stages and a dry run.

from slurm.tools import Stage, Tool

class Solver(Tool):
    name, taxonomy, config = "solver", ("case",), "case.yaml"
    solve = Stage("solve {config}", products=["*.h5"], time="1:00:00")

run = Solver.prepare("first", case="wing", template="small", override={"steps": 100})
run.submit()["solve"].result()
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from slurm.runner.finished import Diagnosis
    from slurm.tools.config import get_nested, get_tool_config, merge_slurm_config
    from slurm.tools.errors import (
        AlreadySubmitted,
        ManifestError,
        NotPrepared,
        RunDirectoryError,
        RunNotWritten,
        TemplateError,
        ToolError,
    )
    from slurm.tools.jobs import archive_jobs_json, has_submitted_stage, load_jobs_json, write_jobs_json
    from slurm.tools.launchers import CondaRunner, ContainerRunner
    from slurm.tools.manifest import ManifestBase, load_manifest, validate_manifest, write_manifest
    from slurm.tools.registry import find_tool, open_run, tools
    from slurm.tools.run import Run
    from slurm.tools.run_directory import build_run_dir, ensure_run_dir, validate_run_dir
    from slurm.tools.stage import Stage
    from slurm.tools.templates import get_template_path, list_templates
    from slurm.tools.tool import Tool

_HOMES = {
    "slurm.runner.finished": ("Diagnosis",),
    "slurm.tools.config": ("get_nested", "get_tool_config", "merge_slurm_config"),
    "slurm.tools.errors": (
        "AlreadySubmitted",
        "ManifestError",
        "NotPrepared",
        "RunDirectoryError",
        "RunNotWritten",
        "TemplateError",
        "ToolError",
    ),
    "slurm.tools.jobs": ("archive_jobs_json", "has_submitted_stage", "load_jobs_json", "write_jobs_json"),
    "slurm.tools.launchers": ("CondaRunner", "ContainerRunner"),
    "slurm.tools.registry": ("find_tool", "open_run", "tools"),
    "slurm.tools.manifest": ("ManifestBase", "load_manifest", "validate_manifest", "write_manifest"),
    "slurm.tools.run": ("Run",),
    "slurm.tools.run_directory": ("build_run_dir", "ensure_run_dir", "validate_run_dir"),
    "slurm.tools.stage": ("Stage",),
    "slurm.tools.templates": ("get_template_path", "list_templates"),
    "slurm.tools.tool": ("Tool",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadySubmitted",
    "CondaRunner",
    "ContainerRunner",
    "Diagnosis",
    "ManifestBase",
    "ManifestError",
    "NotPrepared",
    "Run",
    "RunDirectoryError",
    "RunNotWritten",
    "Stage",
    "TemplateError",
    "Tool",
    "ToolError",
    "archive_jobs_json",
    "build_run_dir",
    "ensure_run_dir",
    "find_tool",
    "get_nested",
    "get_template_path",
    "get_tool_config",
    "has_submitted_stage",
    "list_templates",
    "load_jobs_json",
    "load_manifest",
    "merge_slurm_config",
    "open_run",
    "tools",
    "validate_manifest",
    "validate_run_dir",
    "write_jobs_json",
    "write_manifest",
]


def __getattr__(name: str) -> object:
    """Import a name at its first use, so that `import slurm.tools` is fast."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found
