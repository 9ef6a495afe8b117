"""Timings: how often outcomes are listed, and how long to wait for missing outcomes."""

from __future__ import annotations

from typing import NamedTuple


class Timings(NamedTuple):
    """The pauses and time limits of the tracker, in seconds; `eagerness` is a fraction."""

    eagerness: float = 0.02
    """A listing is due after this share of the time already waited: after a minute, within about a second."""
    slowest_look: float = 0.5
    """The longest pause between two fast listings."""
    growth_look: float = 1.0
    """The shortest pause between two looks for new elements of elastic pools; otherwise `eagerness` says when."""
    growth_rest: float = 10.0
    """The longest pause between two such looks."""
    longest_rest: float = 5.0
    """The longest pause after a slow listing, so that an outage does not cause a tenfold wait."""
    explained_grace: float = 1.0
    """The time for an outcome to appear if the scheduler has given a reason for none (cancelled, time limit)."""
    unexplained_grace: float = 10.0
    """The same time if the scheduler gives no reason or reports success: shared file systems show new files late."""
    verdict: float = 5.0
    """The time for the scheduler to explain the signal that ended a task."""
    runaway: float = 600.0
    """A job that only the accounting reports as alive counts as lost after this time: it may have missed the end."""
    abandoned_claim: float = 60.0
    """A claim to resubmit an element is abandoned if it has no job after this time."""
    resubmit_pause: float = 2.0
    """The pause between two attempts to resubmit, which wait for another process, an upstream job or queue room."""
    abandoned_child: float = 10.0
    """A child that another attempt of the workflow was submitting is abandoned after this time."""
    progress_look: float = 0.5
    """The shortest pause between two readings of progress; after a slow one, three times its duration."""
    progress_rest: float = 5.0
    """The longest pause between two readings of progress."""
