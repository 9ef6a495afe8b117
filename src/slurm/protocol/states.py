"""Job states, and the mapping of Slurm's state names to them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.protocol.outcomes import Outcome


class JobState(str, Enum):
    """The state of a job, by Slurm's names (sacct(1), JOB STATE CODES).

    Two states are defined by this library: REFUSED, if the scheduler rejected the job; LOST, if it no longer knows it.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    REFUSED = "REFUSED"
    LOST = "LOST"
    UNKNOWN = "UNKNOWN"

    @property
    def final(self) -> bool:
        """Whether a job in this state never runs again."""
        return self in _FINAL

    @classmethod
    def parse(cls, word: str) -> JobState:
        """Return the state for one of Slurm's names; a name that Slurm's manual does not list is UNKNOWN, not failed.

        Accepts the long and the short form, and suffixes: "CANCELLED by 1000", "CANCELLED+".
        """
        head = word.strip().split(" ", 1)[0].rstrip("+").upper()
        return _WORDS.get(head, cls.UNKNOWN)

    @classmethod
    def named(cls, word: str) -> JobState:
        """Return the state that a user names, by Slurm's long or short name. Raises ValueError for another word."""
        state = cls.parse(word)
        if state is cls.UNKNOWN and word.upper() != state.value:
            raise ValueError(f"{word!r} is not a state: write one of {', '.join(cls)}.")
        return state

    @classmethod
    def of(cls, outcome: Outcome) -> JobState:
        """Return the state of a job with an outcome; the scheduler's state if the scheduler ended the job."""
        return cls.COMPLETED if outcome.succeeded else cls.parse(outcome.state) if outcome.state else cls.FAILED

    def __str__(self) -> str:
        return self.value


_FINAL = frozenset({
    JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY,
    JobState.NODE_FAIL, JobState.PREEMPTED, JobState.BOOT_FAIL, JobState.DEADLINE, JobState.REFUSED,
    JobState.LOST,
})  # fmt: skip

# The names that squeue(1) and sacct(1) document, JOB STATE CODES of 20.11 to 26.05, long then short. Flags such as
# REQUEUED say why a job waits again; a revoked job continues as a sibling on another cluster of the federation.
_TABLE: tuple[tuple[JobState, tuple[str, ...]], ...] = (
    (JobState.PENDING, (
        "PENDING", "PD", "CONFIGURING", "CF", "REQUEUED", "RQ", "REQUEUE_FED", "RF", "REQUEUE_HOLD", "RH",
        "RESV_DEL_HOLD", "RD", "SPECIAL_EXIT", "SE", "POWER_UP_NODE", "PO", "LAUNCH_FAILED", "RECONFIG_FAIL",
        "REVOKED", "RV",
    )),
    (JobState.RUNNING, ("RUNNING", "R", "RESIZING", "RS", "SIGNALING", "SI", "STAGE_OUT", "SO", "EXPEDITING")),
    (JobState.SUSPENDED, ("SUSPENDED", "S", "STOPPED", "ST")),
    (JobState.COMPLETING, ("COMPLETING", "CG", "UPDATE_DB")),
    (JobState.COMPLETED, ("COMPLETED", "CD")),
    (JobState.FAILED, ("FAILED", "F")),
    (JobState.CANCELLED, ("CANCELLED", "CA")),
    (JobState.TIMEOUT, ("TIMEOUT", "TO")),
    (JobState.OUT_OF_MEMORY, ("OUT_OF_MEMORY", "OOM", "OUT_OF_ME")),  # sacct cuts it to ten characters with a "+"
    (JobState.NODE_FAIL, ("NODE_FAIL", "NF")),
    (JobState.PREEMPTED, ("PREEMPTED", "PR")),
    (JobState.BOOT_FAIL, ("BOOT_FAIL", "BF")),
    (JobState.DEADLINE, ("DEADLINE", "DL")),
)  # fmt: skip

_WORDS = {word: state for state, words in _TABLE for word in words}
