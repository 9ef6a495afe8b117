"""Tracebacks from nodes: adds source lines that only this process has."""

from __future__ import annotations

import linecache
import re

_FRAME = re.compile(r'(?P<indent> *)File "(?P<file>[^"]+)", line (?P<line>\d+), in .*')


def sourced(text: str) -> str:
    """Add the missing source lines of notebook cells to a traceback, or to a log that contains a traceback."""
    lines = text.split("\n")
    found: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found.append(line)
        frame = _FRAME.fullmatch(line)
        if frame and not following.startswith(f"{frame['indent']}  "):
            source = linecache.getline(frame["file"], int(frame["line"])).strip()
            found += [f"{frame['indent']}  {source}"] if source else []
    return "\n".join(found)
