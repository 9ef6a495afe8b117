"""Procedures: scripts that are prepared early, started later on command, and stopped at any time. Experimental.

from slurm.procedures import Script, ScriptExecutionService

service = ScriptExecutionService("~/procedures", on="slurm")
procedure = service.prepare(Script.file("observe.py"), subarray_id=1)
procedure.wait("READY")
procedure.start("main", sb_id="sbi-1")
for event in procedure.events(follow=True):
    print(event)
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

if TYPE_CHECKING:
    from slurm.procedures.commands import (
        EmbeddedStringScript,
        FileSystemScript,
        GitArgs,
        GitScript,
        PrepareProcessCommand,
        StartProcessCommand,
        StopProcessCommand,
    )
    from slurm.procedures.environments import EnvironmentManager
    from slurm.procedures.errors import (
        CommandRefused,
        NoSuchProcedure,
        ProcedureError,
        ProcedureFailed,
        ScriptError,
    )
    from slurm.procedures.procedure import Procedure
    from slurm.procedures.script import Script
    from slurm.procedures.service import ScriptExecutionService
    from slurm.procedures.states import ArgCapture, ProcedureHistory, ProcedureInput, ProcedureState, ProcedureSummary
    from slurm.runner.procedures.interface import ProcedureStopped, ScriptContext, procedure

_HOMES = {
    "slurm.procedures.commands": (
        "EmbeddedStringScript",
        "FileSystemScript",
        "GitArgs",
        "GitScript",
        "PrepareProcessCommand",
        "StartProcessCommand",
        "StopProcessCommand",
    ),
    "slurm.procedures.environments": ("EnvironmentManager",),
    "slurm.procedures.errors": (
        "CommandRefused",
        "NoSuchProcedure",
        "ProcedureError",
        "ProcedureFailed",
        "ScriptError",
    ),
    "slurm.procedures.procedure": ("Procedure",),
    "slurm.procedures.script": ("Script",),
    "slurm.procedures.service": ("ScriptExecutionService",),
    "slurm.procedures.states": (
        "ArgCapture",
        "ProcedureHistory",
        "ProcedureInput",
        "ProcedureState",
        "ProcedureSummary",
    ),
    "slurm.runner.procedures.interface": ("ProcedureStopped", "ScriptContext", "procedure"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArgCapture",
    "CommandRefused",
    "EmbeddedStringScript",
    "EnvironmentManager",
    "FileSystemScript",
    "GitArgs",
    "GitScript",
    "NoSuchProcedure",
    "PrepareProcessCommand",
    "Procedure",
    "ProcedureError",
    "ProcedureFailed",
    "ProcedureHistory",
    "ProcedureInput",
    "ProcedureState",
    "ProcedureStopped",
    "ProcedureSummary",
    "Script",
    "ScriptContext",
    "ScriptError",
    "ScriptExecutionService",
    "StartProcessCommand",
    "StopProcessCommand",
    "procedure",
]


def __getattr__(name: str) -> object:
    """Import a name at its first use: a script on a node needs only a few names."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found
