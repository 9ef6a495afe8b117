"""LoggingCallback: what becomes of jobs, as lines of the standard `logging`."""

from __future__ import annotations

from slurm.callbacks.base import Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.callbacks.events import CompleteEvent, StateEvent, SubmitEvent


def _told(event: CompleteEvent) -> str:
    from slurm.sanitize.terminal import for_terminal  # noqa: PLC0415 - as below

    return f": {for_terminal(event.error)}" if event.error else ""


class LoggingCallback(Callback):
    """Logs a line for each transition, of a map with the counts of all its states; what fails is a warning.

    It logs to the logger of that name and configures none: where the lines go is for `logging.basicConfig`, or whatever
    else the program does.
    """

    def __init__(self, logger: str = "slurm.jobs", level: int = 20) -> None:
        import logging  # noqa: PLC0415 - no node needs it

        self._logger, self._level = logging.getLogger(logger), level
        self._warning = max(level, logging.WARNING)

    def on_submit(self, event: SubmitEvent) -> None:
        """A submission has been queued."""
        ids = ", ".join(event.job_ids) or "nothing yet: the queue has no room"
        self._logger.log(self._level, "%s: submitted %d as %s", event.key, event.count, ids)

    def on_state(self, event: StateEvent) -> None:
        """Elements have changed their states; how one alone has ended is told by `on_complete`."""
        if sum(event.states.values()) > 1:
            counts = ", ".join(f"{count} {state}" for state, count in event.states.items())
            self._logger.log(self._level, "%s: %s", event.key, counts)
        elif not event.final:
            self._logger.log(self._level, "%s: %s", event.key, *event.states)

    def on_complete(self, event: CompleteEvent) -> None:
        """An element has ended; of those of a map, the failed are told of one by one."""
        name = f"{event.key}[{event.index}]" if event.mapped else event.key
        if event.state != "COMPLETED":
            self._logger.log(self._warning, "%s: %s%s", name, event.state, _told(event))
        elif not event.mapped:
            self._logger.log(self._level, "%s: %s", name, event.state)
