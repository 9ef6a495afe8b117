"""Live displays of progress: a board as bars of a terminal, as a live output of a notebook, or as lines."""

from __future__ import annotations

import html
import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from slurm.callbacks.progress_model import counted, in_words, measured
from slurm.sanitize.terminal import for_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from slurm.callbacks.events import ProgressEvent
    from slurm.callbacks.progress_model import Bar, ProgressModel

_MOST_CALLS = 3
"""So many calls of a map are shown with what they tell, the first that run."""
_WIDE = 100
_PER_SECOND = 4


class Display(Protocol):
    """Where a board is shown."""

    def show(self, board: ProgressModel, bar: Bar) -> None:
        """Something has changed on that bar."""

    def close(self) -> None:
        """Show no more."""


def display(interval: float) -> Display:
    """The display for where the program runs: a notebook, a terminal, or anything else."""
    if _in_notebook():
        return Notebook()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        return Terminal()
    return Lines(interval)


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Later:
    """Makes a call so many seconds from now, one for however many that are asked for until then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pending = False

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Make it, unless one is to be made already."""
        if not self._pending:
            self._pending = True
            timer = threading.Timer(self._seconds, self._run, (callback, *args))
            timer.daemon = True
            timer.start()

    def _run(self, callback: Callable[..., object], *args: object) -> None:
        self._pending = False
        callback(*args)


class Lines:
    """Lines on the standard error: one when a bar begins, when it is over, and meanwhile every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._later = _Later(interval)
        self._lock = threading.Lock()
        self._shown: dict[int, str] = {}

    def show(self, board: ProgressModel, bar: Bar) -> None:
        """Print a line, now or soon."""
        if bar.ended is None and id(bar) in self._shown:
            self._later.call(self._print_all, board)
        else:
            self._print(bar)

    def _print_all(self, board: ProgressModel) -> None:
        for bar in list(board.bars):
            self._print(bar)

    def _print(self, bar: Bar) -> None:
        with self._lock:
            line = for_line(f"{bar.name}: {bar.line()}")
            if self._shown.get(id(bar)) != line:
                self._shown[id(bar)] = line
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()

    def close(self) -> None:
        """Nothing is held."""


class Terminal:
    """Bars that are drawn over themselves, below what the program prints, for as long as anything goes on."""

    def __init__(self) -> None:
        self._live: Any = None

    def show(self, board: ProgressModel, bar: Bar) -> None:
        """Begin to draw; when all is over, draw a last time and leave it there."""
        from rich.console import Console  # noqa: PLC0415 - many programs show no progress
        from rich.live import Live  # noqa: PLC0415

        del bar
        if self._live is None and not board.over:
            self._live = Live(
                get_renderable=lambda: _drawn(board, console.width),
                console=(console := Console(stderr=True)),
                refresh_per_second=_PER_SECOND,
                redirect_stdout=sys.stdout.isatty(),  # what is piped elsewhere must not come to the terminal
            )
            self._live.start()
        elif board.over:
            self.close()

    def close(self) -> None:
        """Draw a last time."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _calls(bar: Bar) -> Sequence[ProgressEvent]:
    """The calls of a bar that have lines of their own."""
    return [] if bar.alone else sorted(bar.told.copy().values(), key=lambda event: event.index)[:_MOST_CALLS]


def _drawn(board: ProgressModel, width: int) -> Any:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    wide = width >= _WIDE
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True, max_width=width // 4)
    grid.add_column(ratio=1, min_width=8)
    for justify in ("right", "left", "right", "right") if wide else ("right", "left", "right"):
        grid.add_column(no_wrap=True, justify=justify, max_width=width // 3)
    for bar in board.bars:
        style = "red" if bar.failed else "green"
        line = ProgressBar(
            total=max(bar.total, 1),
            completed=bar.amount,
            pulse=bar.ended is None and bar.begun is not None and not bar.amount,
            complete_style=style if bar.failed else "cyan",
            finished_style=style,
        )
        words = Text(for_line(bar.words(pending=wide)), style="red" if bar.failed else "", overflow="ellipsis")
        grid.add_row(
            Text(for_line(bar.name), style="bold", overflow="ellipsis"),
            line,
            bar.count(),
            words,
            *([bar.pace()] if wide else []),
            bar.time(),
        )
        for event in _calls(bar):
            part = ProgressBar(total=event.total, completed=event.done, pulse=event.total is None)
            told = Text(for_line(measured(event)), overflow="ellipsis")
            grid.add_row(Text(f"  [{event.index}]", style="dim"), part, counted(event), told)
    return grid


class Notebook:
    """A live output of the cell that ran when something first happened."""

    def __init__(self) -> None:
        self._later = _Later(1 / _PER_SECOND)
        self._lock = threading.Lock()  # lest an older page come after the last one
        self._handle: Any = None

    def show(self, board: ProgressModel, bar: Bar) -> None:
        """Bring the output up to date, now or soon."""
        with self._lock:
            if self._handle is None:
                from IPython.display import display  # noqa: PLC0415 - it is there, or this would not be asked

                self._handle = display(_page(board), raw=True, display_id=True)  # type: ignore[no-untyped-call]
            elif bar.ended is None:
                self._later.call(self._draw, board)
            else:
                self._handle.update(_page(board), raw=True)
            if board.over:
                self._handle = None

    def _draw(self, board: ProgressModel) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.update(_page(board), raw=True)

    def close(self) -> None:
        """The output stays as it is."""


def _page(board: ProgressModel) -> dict[str, str]:
    """A board as notebooks show it: in HTML, and as text where that isn't shown."""
    rows = []
    for bar in board.bars:
        rows.append(_row(bar.name, bar.amount, bar.total, bar.line()))
        rows += [_row(f"[{event.index}]", event.done, event.total, in_words(event)) for event in _calls(bar)]
    lines = [for_line(f"{bar.name}: {bar.line()}") for bar in board.bars]
    return {"text/html": f"<table>{''.join(rows)}</table>", "text/plain": "\n".join(lines)}


def _row(name: str, done: float, total: float | None, words: str) -> str:
    line = "<progress></progress>" if total is None else f'<progress value="{done:g}" max="{total:g}"></progress>'
    cells = (html.escape(for_line(name)), line, html.escape(for_line(words)))
    return f"<tr>{''.join(f'<td style=text-align:left>{cell}</td>' for cell in cells)}</tr>"
