"""Errors of procedures. ProcedureError is the base of all."""

from __future__ import annotations

from slurm.errors import SlurmError


class ProcedureError(SlurmError):
    """Base class of the errors of procedures."""


class ScriptError(ProcedureError):
    """A script cannot be read or parsed, or is not in its repository; nothing was prepared."""


class NoSuchProcedure(ProcedureError):
    """No procedure has this number."""


class CommandRefused(ProcedureError):
    """A procedure has refused a command: its state does not allow it, it has no such function, or its slot is taken."""


class ProcedureFailed(ProcedureError):
    """A procedure has ended without the expected result. Its log has the traceback of the script.

    Attribute: `stacktrace`, the traceback of the script's exception; "" if there was none.
    """

    def __init__(self, message: str, *, stacktrace: str = "") -> None:
        super().__init__(message)
        self.stacktrace = stacktrace
