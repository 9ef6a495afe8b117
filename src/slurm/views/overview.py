"""Overview: how the calls of submissions have ended, in numbers. For a large map, its summary has these numbers."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SlurmError
from slurm.protocol.states import JobState
from slurm.protocol.summary import Summary
from slurm.views.status import failed, peak_memory, statuses, took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.submission.status import JobStatus
    from slurm.views.status import Part

_log = logging.getLogger(__name__)

LARGE = 1000
"""A summary is written for this many calls or more: to read fewer outcomes takes only a fraction of a second."""


class Overview(NamedTuple):
    """How some calls have ended. `calls` has the status of each call; it is empty if a summary was read."""

    part: Part
    summary: Summary
    calls: Sequence[JobStatus]

    @property
    def states(self) -> Counter[JobState]:
        """The number of calls in each state."""
        return Counter({JobState(name): count for name, count in self.summary.states.items()})

    def failures(self) -> Mapping[int, JobStatus]:
        """The calls that failed, by index. Reads their outcomes if a summary was read."""
        indices = list(self.summary.failed)
        if self.calls:
            by_index = dict(zip(self.part.indices, self.calls, strict=True))
            return {index: by_index[index] for index in indices}
        (found,) = statuses([self.part._replace(indices=indices)]) if indices else ((),)
        return dict(zip(indices, found, strict=True))


def overviews(parts: Sequence[Part]) -> list[Overview]:
    """How the calls of each part have ended. Queries parts without a summary, as `statuses` does."""
    read = {at: part.state.summary for at, part in enumerate(parts) if _whole(part) and part.state.summary}
    asked = [at for at in range(len(parts)) if at not in read]
    found = dict(zip(asked, statuses([parts[at] for at in asked]), strict=True))
    return [Overview(part, read[at], ()) if at in read else _counted(part, found[at]) for at, part in enumerate(parts)]


def _whole(part: Part) -> bool:
    """Whether a part is a whole map of several calls. A single call has a node and an error: no summary has these."""
    return 1 < len(part.indices) == part.state.count


def _counted(part: Part, calls: Sequence[JobStatus]) -> Overview:
    states = Counter(status.state.value for status in calls)
    summary = Summary.of(
        {state.value: states[state.value] for state in JobState if states[state.value]},
        [index for index, status in zip(part.indices, calls, strict=True) if failed(status)],
        seconds=took(calls),
        peak_memory=peak_memory(calls),
    )
    if (
        len(calls) >= LARGE
        and _whole(part)
        and not part.state.may_grow
        and all(status.outcome and not status.problem for status in calls)
    ):
        _keep(part, summary)
    return Overview(part, summary, calls)


def _keep(part: Part, summary: Summary) -> None:
    """Write the summary for the next listing. Without the summary, the next listing reads all outcomes again."""
    part.state.summary = summary
    try:
        part.place.store.summarise(part.state.key, summary)
    except SlurmError as error:
        _log.debug("the summary of %s is not kept: %s", part.state.key, error)
