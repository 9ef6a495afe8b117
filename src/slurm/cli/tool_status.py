"""Exit statuses of `slurm tool`: what went wrong, for scripts."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from slurm.cli import output
from slurm.errors import ConfigurationError, SchedulerNotFound, SlurmError, SubmissionRefused
from slurm.tools.errors import ManifestError, NotPrepared, RunNotWritten, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED, WRONG, MISSING, REFUSED = 1, 2, 3, 4


def exits(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command show its error, and end with the status of that error."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            output.show("interrupted; what is queued goes on", err=True)
            raise SystemExit(output.INTERRUPTED) from None
        except SlurmError as error:
            output.show_error(error)
            raise SystemExit(_status(error)) from None

    return run


def _status(error: SlurmError) -> int:
    if isinstance(error, (NotPrepared, ManifestError)):
        return MISSING
    if isinstance(error, (SubmissionRefused, SchedulerNotFound)):
        return REFUSED
    if isinstance(error, RunNotWritten):
        return FAILED
    return WRONG if isinstance(error, (ToolError, ConfigurationError)) else FAILED
