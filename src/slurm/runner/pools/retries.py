"""Retries of calls of a pool: whether the same element makes a failed call again."""

from __future__ import annotations

from functools import lru_cache

from slurm.errors import UntrustedFile
from slurm.protocol.files import open_own
from slurm.protocol.pools import RETRY
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.options.retry import Retry
    from slurm.protocol.outcomes import CallFailure


def is_made_again(function: str, failure: CallFailure, attempt: int) -> bool:
    """Whether another attempt follows this one. `function` is the directory with the function of the call."""
    from slurm.options.retry import failure_names  # noqa: PLC0415 - most calls do not fail

    retry = _retry_of(function)
    return retry is not None and retry.allows(failure_names(failure.phase, failure.error), attempt)


@lru_cache(maxsize=64)
def _retry_of(function: str) -> Retry | None:
    from slurm.options.retry import of_options  # noqa: PLC0415 - as above

    try:
        with open_own(f"{function}/{RETRY}") as file:
            text = file.read().decode()
    except (OSError, UntrustedFile):
        return None
    return of_options({"retry": text}.get)
