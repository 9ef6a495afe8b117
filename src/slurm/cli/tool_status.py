"""Exit statuses of `slurm tool`: they tell scripts what went wrong."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from slurm.cli import output
from slurm.errors import ConfigurationError, SchedulerNotFound, SlurmError, SubmissionRefused
from slurm.tools.errors import ManifestError, NotPrepared, RunNotWritten, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED, WRONG, MISSING, REFUSED = 1, 2, 3, 4
_OPTIONS = (
    ("open it, or choose", "submit it with `slurm tool submit DIR`, or choose"),
    ("open it, and submit(again=True, on=…)", "`slurm tool submit DIR --again --on CLUSTER`"),
    ("again=True", "--again"),
    ("unique=True", "--unique"),
    ("template=…", "--template …"),
    ("on=…", "--on …"),
)
"""Python arguments as error messages of tools write them, and the options of the command with the same meaning."""


def exits(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command show its error, and end with the exit status of this error."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            output.show("interrupted; what is queued goes on", err=True)
            raise SystemExit(output.INTERRUPTED) from None
        except SlurmError as error:
            error.args = (_for_a_shell(str(error)),)
            output.show_error(error)
            raise SystemExit(_status(error)) from None

    return run


def _for_a_shell(message: str) -> str:
    """A message with the options of the command in place of Python arguments. `show_error` replaces longer advice."""
    for argument, option in _OPTIONS:
        message = message.replace(argument, option)
    return message


def _status(error: SlurmError) -> int:
    if isinstance(error, (NotPrepared, ManifestError)):
        return MISSING
    if isinstance(error, (SubmissionRefused, SchedulerNotFound)):
        return REFUSED
    if isinstance(error, RunNotWritten):
        return FAILED
    return WRONG if isinstance(error, (ToolError, ConfigurationError)) else FAILED
