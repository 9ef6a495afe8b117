"""Tracebacks of the node's, with the lines of source that only this process has."""

from __future__ import annotations

import linecache
import re

_FRAME = re.compile(r'(?P<indent> *)File "(?P<file>[^"]+)", line (?P<line>\d+), in .*')


def sourced(text: str) -> str:
    """A traceback, or a log with one in it, with the lines that the node didn't have: those of a notebook's cells."""
    lines = text.split("\n")
    found: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found.append(line)
        frame = _FRAME.fullmatch(line)
        if frame and not following.startswith(f"{frame['indent']}  "):
            source = linecache.getline(frame["file"], int(frame["line"])).strip()
            found += [f"{frame['indent']}  {source}"] if source else []
    return "\n".join(found)
