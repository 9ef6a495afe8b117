"""NewSubmission: the files that a client writes for a submission before it is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol import (
    ATTEMPTS,
    CALLBACKS,
    CALLS,
    INDEX,
    JOBS,
    LOGS,
    OUTCOMES,
    RESULTS,
    SUBMISSION,
)
from slurm.protocol.pools import is_elastic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.protocol import (
        Submission,
    )
    from slurm.serialization.calls import Calls


class NewSubmission(NamedTuple):
    """A submission that is not written yet: its record, its pickled calls, and its scripts by their names."""

    submission: Submission
    calls: Calls
    scripts: Mapping[str, str]

    @property
    def directory(self) -> str:
        """The directory, relative to the root."""
        return f"{JOBS}/{self.submission.key}"

    @property
    def subdirectories(self) -> tuple[str, ...]:
        """The directories to make in the job directory; "" is the job directory itself."""
        attempts = self.submission.continues or is_elastic(self.submission.pool)
        return ("", LOGS, OUTCOMES, RESULTS, *((ATTEMPTS,) if attempts else ()))

    @property
    def files(self) -> dict[str, bytes]:
        """The files, by their names in the directory."""
        found = {CALLS: self.calls.data, INDEX: self.calls.offsets, SUBMISSION: self.submission.dumps()}
        found |= {CALLBACKS: self.calls.callbacks} if self.calls.callbacks else {}
        return found | {name: text.encode() for name, text in self.scripts.items()}
