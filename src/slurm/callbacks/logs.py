"""LoggingCallback: log the events of jobs with the standard module `logging`."""

from __future__ import annotations

from slurm.callbacks.base import Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.callbacks.events import CompleteEvent, StateEvent, SubmitEvent


class LoggingCallback(Callback):
    """Log a line for each change of state; for a map, with the counts of all states. Log failures as warnings.

    This callback does not configure the logger: call `logging.basicConfig`, or configure logging yourself.
    """

    def __init__(self, logger: str = "slurm.jobs", level: int = 20) -> None:
        import logging  # noqa: PLC0415 - not needed on a node

        self._logger, self._level = logging.getLogger(logger), level
        self._warning = max(level, logging.WARNING)

    def on_submit(self, event: SubmitEvent) -> None:
        """Log the number of calls and the ids."""
        ids = ", ".join(event.job_ids) or f"nothing yet{': the queue is full' if event.count else ''}"
        self._logger.log(self._level, "%s: submitted %d as %s", event.key, event.count, ids)

    def on_state(self, event: StateEvent) -> None:
        """Log the new states; `on_complete` logs the final state of a single element."""
        calls, elements = sum(event.calls.values()), sum(event.states.values())
        if calls > 1:
            counts = ", ".join(f"{count} {state}" for state, count in event.calls.items())
            chunks = f" in {elements} chunks" if elements < calls else ""
            self._logger.log(self._level, "%s: %s%s", event.key, counts, chunks)
        elif not event.final:
            self._logger.log(self._level, "%s: %s", event.key, *event.states)

    def on_complete(self, event: CompleteEvent) -> None:
        """Log the final state of an element; for a map, only of failed elements."""
        name = f"{event.key}[{event.index}]" if event.mapped else event.key
        if event.state != "COMPLETED":
            from slurm.sanitize.terminal import for_terminal  # noqa: PLC0415 - not needed on a node

            error = f": {for_terminal(event.error)}" if event.error else ""
            self._logger.log(self._warning, "%s: %s%s", name, event.state, error)
        elif not event.mapped:
            self._logger.log(self._level, "%s: %s", name, event.state)
