"""Timings: how often submissions are looked at, and how long to wait before something is concluded."""

from __future__ import annotations

from typing import NamedTuple


class Timings(NamedTuple):
    """All in seconds, but `eagerness`."""

    eagerness: float = 0.02
    """A look is due after this share of the time already waited: a wait of a minute is noticed within a second."""
    slowest_look: float = 0.5
    """The longest pause between two looks that succeed at once."""
    longest_rest: float = 5.0
    """The longest pause after a look that was slow itself, so that an outage is not waited for ten times."""
    explained_grace: float = 1.0
    """For an outcome to appear after the scheduler has given a reason why there may be none (cancelled, time limit)."""
    unexplained_grace: float = 10.0
    """The same if the scheduler has no reason or reports success: shared file systems show new files late."""
    verdict: float = 5.0
    """For the scheduler to explain the signal that ended a task."""
    runaway: float = 600.0
    """A job that only the accounting reports as alive counts as lost after this time: it may have missed the end."""
    abandoned_claim: float = 60.0
    """A claim to resubmit an element is abandoned if it has no job after this time."""
    resubmit_pause: float = 2.0
    """Between two attempts to resubmit that must wait for another process, an upstream job, or room in the queue."""
    abandoned_child: float = 10.0
    """A child that another attempt of the workflow was submitting is abandoned after this time."""
    progress_look: float = 0.5
    """The shortest pause between two looks at progress; a longer one is three times as long as the look took."""
    progress_rest: float = 5.0
    """The longest pause between two looks at progress."""
