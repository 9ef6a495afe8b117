"""Live displays of a ProgressModel: bars in a terminal, the output of a notebook cell, or lines of text."""

from __future__ import annotations

import html
import os
import sys
import threading
from typing import TYPE_CHECKING

from slurm.callbacks.progress_model import count_text, metrics_text, progress_text
from slurm.sanitize.terminal import for_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from slurm.callbacks.events import ProgressEvent
    from slurm.callbacks.progress_model import Bar, ProgressModel

_MOST_CALLS = 3
"""The largest number of running calls of a map whose progress is shown: those with the lowest indices."""
_WIDE = 100
_PER_SECOND = 4


class Display:
    """The base class of displays of a ProgressModel. Its `close` does nothing."""

    def show(self, model: ProgressModel, bar: Bar) -> None:
        """Show a change of a bar."""

    def close(self) -> None:
        """Stop showing."""


def display(interval: float) -> Display:
    """Return the display for a notebook, a terminal, or any other standard error."""
    if _in_notebook():
        return Notebook()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        return Terminal()
    return Lines(interval)


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Throttle:
    """Runs a callback `seconds` after the first call of `call`. Further calls until then are dropped."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pending = False

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Schedule the callback, unless one is scheduled already."""
        if not self._pending:
            self._pending = True
            timer = threading.Timer(self._seconds, self._run, (callback, *args))
            timer.daemon = True
            timer.start()

    def _run(self, callback: Callable[..., object], *args: object) -> None:
        self._pending = False
        callback(*args)


class Lines(Display):
    """Lines on standard error: when a bar starts, when it finishes, and every `interval` seconds in between."""

    def __init__(self, interval: float) -> None:
        self._throttle = _Throttle(interval)
        self._lock = threading.Lock()
        self._shown: dict[int, str] = {}

    def show(self, model: ProgressModel, bar: Bar) -> None:
        """Print a line, now or after the interval."""
        if bar.finished_at is None and id(bar) in self._shown:
            self._throttle.call(self._print_all, model)
        else:
            self._print(bar)

    def _print_all(self, model: ProgressModel) -> None:
        for bar in list(model.bars):
            self._print(bar)

    def _print(self, bar: Bar) -> None:
        with self._lock:
            line = for_line(f"{bar.name}: {bar.line()}")
            if self._shown.get(id(bar)) != line:
                self._shown[id(bar)] = line
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()


class Terminal(Display):
    """Bars that are redrawn below the program's output until all submissions have finished."""

    def __init__(self) -> None:
        self._live: Any = None

    def show(self, model: ProgressModel, bar: Bar) -> None:
        """Start to draw. When all submissions have finished, draw a last time and stop."""
        from rich.console import Console  # noqa: PLC0415 - many programs show no progress
        from rich.live import Live  # noqa: PLC0415

        del bar
        if self._live is None and not model.finished:
            self._live = Live(
                get_renderable=lambda: _grid(model, console.width),
                console=(console := Console(stderr=True)),
                refresh_per_second=_PER_SECOND,
                redirect_stdout=sys.stdout.isatty(),  # output to a pipe or file must not go to the terminal
            )
            self._live.start()
        elif model.finished:
            self.close()

    def close(self) -> None:
        """Draw a last time and stop."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _calls(bar: Bar) -> Sequence[ProgressEvent]:
    """Return the progress of those calls of a bar that have their own lines."""
    return [] if bar.single else sorted(bar.progress.copy().values(), key=lambda event: event.index)[:_MOST_CALLS]


def _grid(model: ProgressModel, width: int) -> Any:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    wide = width >= _WIDE
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True, max_width=width // 4)
    grid.add_column(ratio=1, min_width=8)
    for justify in ("right", "left", "right", "right") if wide else ("right", "left", "right"):
        grid.add_column(no_wrap=True, justify=justify, max_width=width // 3)
    for bar in model.bars:
        style = "red" if bar.failed else "green"
        line = ProgressBar(
            total=max(bar.total, 1),
            completed=bar.amount,
            pulse=bar.finished_at is None and bar.started_at is not None and not bar.amount,
            complete_style=style if bar.failed else "cyan",
            finished_style=style,
        )
        states = Text(for_line(bar.state_text(pending=wide)), style="red" if bar.failed else "", overflow="ellipsis")
        grid.add_row(
            Text(for_line(bar.name), style="bold", overflow="ellipsis"),
            line,
            bar.count(),
            states,
            *([bar.pace()] if wide else []),
            bar.time(),
        )
        for event in _calls(bar):
            part = ProgressBar(total=event.total, completed=event.done, pulse=event.total is None)
            metrics = Text(for_line(metrics_text(event)), overflow="ellipsis")
            grid.add_row(Text(f"  [{event.index}]", style="dim"), part, count_text(event), metrics)
    return grid


class Notebook(Display):
    """A live output of the cell that was running at the first event."""

    def __init__(self) -> None:
        self._throttle = _Throttle(1 / _PER_SECOND)
        self._lock = threading.Lock()  # prevents an older page from replacing the last one
        self._handle: Any = None

    def show(self, model: ProgressModel, bar: Bar) -> None:
        """Update the output, now or at the next refresh."""
        with self._lock:
            if self._handle is None:
                from IPython.display import display  # noqa: PLC0415 - the program runs in a notebook, so it is installed

                self._handle = display(_page(model), raw=True, display_id=True)  # type: ignore[no-untyped-call]
            elif bar.finished_at is None:
                self._throttle.call(self._draw, model)
            else:
                self._handle.update(_page(model), raw=True)
            if model.finished:
                self._handle = None

    def _draw(self, model: ProgressModel) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.update(_page(model), raw=True)


def _page(model: ProgressModel) -> dict[str, str]:
    """Return the bars as HTML, and as text for front ends that don't show HTML."""
    rows = []
    for bar in model.bars:
        rows.append(_row(bar.name, bar.amount, bar.total, bar.line()))
        rows += [_row(f"[{event.index}]", event.done, event.total, progress_text(event)) for event in _calls(bar)]
    lines = [for_line(f"{bar.name}: {bar.line()}") for bar in model.bars]
    return {"text/html": f"<table>{''.join(rows)}</table>", "text/plain": "\n".join(lines)}


def _row(name: str, done: float, total: float | None, text: str) -> str:
    line = "<progress></progress>" if total is None else f'<progress value="{done:g}" max="{total:g}"></progress>'
    cells = (html.escape(for_line(name)), line, html.escape(for_line(text)))
    return f"<tr>{''.join(f'<td style=text-align:left>{cell}</td>' for cell in cells)}</tr>"
