"""ProgressCallback: show the progress of jobs, as bars in a terminal or a notebook, or as lines of text."""

from __future__ import annotations

from slurm.callbacks.base import Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from slurm.callbacks.events import CompleteEvent, ProgressEvent, StateEvent, SubmitEvent
    from slurm.callbacks.progress_display import Display
    from slurm.callbacks.progress_model import Bar, ProgressModel


class ProgressCallback(Callback):
    """Show a bar for each map, and one bar for all single calls of a task: counts by state, rate, time left.

    In a terminal, rich draws the bars on standard error. If standard error is not a terminal, or is a dumb terminal,
    the callback prints lines, at most one for each bar in `interval` seconds. In a notebook, it updates the cell's
    output. The progress that tasks report with `ctx.progress` is shown, and counts as a fraction of the call.
    """

    def __init__(self, *, interval: float = 10.0) -> None:
        from slurm.sanitize.numbers import positive_seconds  # noqa: PLC0415 - not needed on a node

        self._interval = positive_seconds(interval, "interval") if interval != 0 else 0.0
        self._shown: tuple[ProgressModel, Display] | None = None

    def on_submit(self, event: SubmitEvent) -> None:
        """Add the submission to the display."""
        self._show("submitted", event)

    def on_state(self, event: StateEvent) -> None:
        """Show the new states."""
        self._show("changed", event)

    def on_progress(self, event: ProgressEvent) -> None:
        """Show the progress of a call."""
        self._show("progressed", event)

    def on_complete(self, event: CompleteEvent) -> None:
        """Stop showing the progress of the element's calls."""
        if self._shown is not None:
            self._shown[0].completed(event)

    def close(self) -> None:
        """Restore the terminal."""
        if self._shown is not None:
            self._shown[1].close()

    def _show(self, update: str, event: Any) -> None:
        if self._shown is None:
            from slurm.callbacks.progress_display import display  # noqa: PLC0415
            from slurm.callbacks.progress_model import ProgressModel  # noqa: PLC0415 - a node needs neither

            self._shown = ProgressModel(), display(self._interval)
        model, screen = self._shown
        if model.finished:
            model.clear()
        bar: Bar = getattr(model, update)(event)
        screen.show(model, bar)
