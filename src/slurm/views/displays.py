"""Displays: build the HTML that notebooks show. Pure; `slurm.views.notebook` queries the jobs.

Each element has inline styles, because an untrusted notebook removes all other styles. Text has the colours of the
page, so it is readable on light and dark backgrounds. A colour only marks a state whose name is beside it.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from html import escape as escape_markup
from typing import TYPE_CHECKING

from slurm.sanitize.terminal import for_line, without_sequences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_GREY, _BLUE, _GREEN, _AMBER, _RED = "#8b8f98", "#3b82f6", "#22a565", "#d98a06", "#e5484d"
_COLOURS = {
    **dict.fromkeys(("RUNNING", "COMPLETING"), _BLUE),
    "COMPLETED": _GREEN,
    **dict.fromkeys(("CANCELLED", "PREEMPTED", "SUSPENDED"), _AMBER),
    **dict.fromkeys(
        ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "REFUSED", "LOST"), _RED
    ),
}
"""Colours of states; all others (pending, unknown) are grey."""

_LINE = "1px solid var(--jp-border-color2, rgba(128, 128, 128, 0.4))"
_FONT = "font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 13px; line-height: 1.5"
_MONO = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 12px"
_FAINT = "opacity: 0.7"
_CELL = "text-align: left; vertical-align: top; border: 0; padding: 1px 16px 1px 0; max-width: 60em"


def escape(text: str) -> str:
    """Text as HTML of one line, with markup and control characters escaped."""
    return escape_markup(for_line(text))


def card(title: str, parts: Iterable[str], *, colour: str = _GREY) -> str:
    """A frame with a title and, below the title, its parts. The title and the parts are HTML."""
    frame = f"border: {_LINE}; border-left: 4px solid {colour}; border-radius: 3px; padding: 6px 12px"
    box = f"display: inline-block; box-sizing: border-box; max-width: 100%; overflow-x: auto; {frame}; {_FONT}"
    return f'<div style="{box}"><div>{title}</div>{"".join(parts)}</div>'


def strong(text: str) -> str:
    """Bold text."""
    return f"<strong>{escape(text)}</strong>"


def faint(text: str) -> str:
    """Dimmed text."""
    return f'<span style="{_FAINT}">{escape(text)}</span>'


def code(text: str) -> str:
    """A key, a path or other text to copy, in a monospaced font."""
    return f'<span style="{_MONO}; overflow-wrap: anywhere">{escape(text)}</span>'


def state(name: str) -> str:
    """A state: a coloured mark and its name."""
    return f'<span style="white-space: nowrap"><span style="color: {colour(name)}">●</span> {escape(name)}</span>'


def colour(state: str) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, _GREY)


def facts(rows: Mapping[str, str]) -> str:
    """A table of names and values. Values are HTML; empty values are left out."""
    return table([(faint(name), value) for name, value in rows.items() if value])


def table(rows: Sequence[Sequence[str]], *, head: Sequence[str] = ()) -> str:
    """A table; cells are HTML, and `head` is text."""
    lines = [_row("th", [faint(name) for name in head])] if head else []
    lines += [_row("td", row) for row in rows]
    return f'<table style="margin: 4px 0 0 0; border: 0; border-collapse: collapse">{"".join(lines)}</table>'


def _row(tag: str, cells: Iterable[str]) -> str:
    weight = "; font-weight: normal" if tag == "th" else ""
    inside = "".join(f'<{tag} style="{_CELL}{weight}">{cell}</{tag}>' for cell in cells)
    return f'<tr style="background: none; border: 0">{inside}</tr>'


def bar(counts: Mapping[str, int]) -> str:
    """A bar whose segments show the number of jobs in each state."""
    parts = "".join(
        f'<div title="{count} {escape(name)}" style="flex: {count} 0 2px; background: {colour(name)}"></div>'
        for name, count in counts.items()
        if count
    )
    shape = "display: flex; gap: 1px; height: 8px; border-radius: 4px; overflow: hidden; min-width: 20em"
    return f'<div style="margin: 6px 0 2px 0; {shape}">{parts}</div>'


def folded(title: str, text: str) -> str:
    """Printed lines in a section that can be folded; it is open at first."""
    style = f"margin: 2px 0 0 0; padding: 6px 8px; border: {_LINE}; white-space: pre-wrap; overflow-wrap: anywhere"
    lines = f'<pre style="{style}; color: inherit; background: none; {_MONO}">{printed(text)}</pre>'
    summary = f'<summary style="{_FAINT}">{escape(title)}</summary>'
    return f'<details open style="margin: 4px 0 0 0">{summary}{lines}</details>'


def printed(text: str) -> str:
    """Printed lines as HTML, without terminal sequences."""
    return escape_markup(without_sequences(text))


def duration(seconds: float) -> str:
    """Seconds as text with one or two units: "40 ms", "1.3 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    seconds = max(seconds, 0.0)
    if seconds < 0.95:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    for size, unit, smaller_size, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if rest >= size:
            return f"{rest // size} {unit} {rest % size // smaller_size} {smaller_unit}"
    return f"{rest} s"


def age(seconds: float) -> str:
    """A duration before now, in whole seconds: "12 s ago"."""
    return f"{round(max(seconds, 0.0))} s ago" if seconds < 59.5 else f"{duration(seconds)} ago"


def memory(amount: int) -> str:
    """Bytes with a binary unit: "1.5 GiB"."""
    size, units = float(amount), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.3g} {units[0]}" if size < 999.5 else f"{size:.0f} {units[0]}"


def clock(seconds: float) -> str:
    """A time of day in the local time zone, with the date if it is not today."""
    then = datetime.fromtimestamp(seconds, tz=timezone.utc).astimezone()
    today = datetime.fromtimestamp(time.time(), tz=timezone.utc).astimezone().date() == then.date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
