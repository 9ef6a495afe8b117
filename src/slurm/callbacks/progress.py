"""ProgressCallback: how far jobs are, as bars in a terminal or a notebook, or as lines."""

from __future__ import annotations

from slurm.callbacks.base import Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from slurm.callbacks.events import CompleteEvent, ProgressEvent, StateEvent, SubmitEvent
    from slurm.callbacks.progress_display import Display
    from slurm.callbacks.progress_model import Bar, ProgressModel


class ProgressCallback(Callback):
    """Shows a bar for each map, and one for the single calls of a task: counts by state, rate, time left.

    In a terminal they are drawn by rich, on the standard error; where that is no terminal, or a dumb one, they are
    lines, at most one in `interval` seconds until it ends. In a notebook they are a live output. What tasks tell by
    `ctx.progress` is shown as it comes, and counts as a part of the call.
    """

    def __init__(self, *, interval: float = 10.0) -> None:
        from slurm.sanitize.numbers import positive_seconds  # noqa: PLC0415 - a node makes none

        self._interval = positive_seconds(interval, "interval") if interval != 0 else 0.0
        self._shown: tuple[ProgressModel, Display] | None = None

    def on_submit(self, event: SubmitEvent) -> None:
        """A submission has been queued."""
        self._show("submitted", event)

    def on_state(self, event: StateEvent) -> None:
        """Elements have changed their states."""
        self._show("changed", event)

    def on_progress(self, event: ProgressEvent) -> None:
        """A task has told how far it is."""
        self._show("told", event)

    def on_complete(self, event: CompleteEvent) -> None:
        """An element has ended."""
        if self._shown is not None:
            self._shown[0].completed(event)

    def close(self) -> None:
        """The program ends: a terminal is left as it was."""
        if self._shown is not None:
            self._shown[1].close()

    def _show(self, what: str, event: Any) -> None:
        if self._shown is None:
            from slurm.callbacks.progress_display import display  # noqa: PLC0415
            from slurm.callbacks.progress_model import ProgressModel  # noqa: PLC0415 - a node needs neither

            self._shown = ProgressModel(), display(self._interval)
        board, screen = self._shown
        if board.over:
            board.clear()
        bar: Bar = getattr(board, what)(event)
        screen.show(board, bar)
