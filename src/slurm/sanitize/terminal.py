r"""Make text from jobs and other programs safe to show on a terminal.

The output or exception text of a job may contain control sequences that set a title, clear the screen, write the
clipboard or change the text direction. Colours, tabs and line breaks are kept; the rest is shown escaped, as `\x1b`.
"""

from __future__ import annotations

import re
from typing import IO

_COLOUR = r"\x1b\[[0-9;:]*m"
"""SGR (ECMA-48, 8.3.117), in its 7-bit form."""
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
"""C0 without tab, line feed and carriage return; DEL; C1; text direction controls except LRM and RLM."""
_BREAKS = r"[\t\n\r\u2028\u2029]"

_UNSAFE = re.compile(f"(?P<colour>{_COLOUR})|{_CONTROL}")
_UNSAFE_IN_LINE = re.compile(f"(?P<colour>{_COLOUR})|{_CONTROL}|{_BREAKS}")
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def for_terminal(text: str) -> str:
    """Escape control characters and sequences, except colours, tabs and line breaks."""
    return _UNSAFE.sub(lambda match: match["colour"] or _escape(match[0]), text)


def for_line(text: str) -> str:
    """Return text for one line of a layout: colours are removed, tabs and line breaks escaped as well."""
    return _UNSAFE_IN_LINE.sub(lambda match: "" if match["colour"] else _escape(match[0]), text)


def without_sequences(text: str) -> str:
    """Return text for a web page: colours and cursor movements are removed, other control characters escaped."""
    return _UNSAFE.sub(lambda match: _escape(match[0]), _SEQUENCE.sub("", text).replace("\r", ""))


def for_json(text: str) -> str:
    """Replace control characters in JSON text with JSON escapes; the data stay the same."""
    return _UNSAFE.sub(lambda match: "".join(f"\\u{ord(character):04x}" for character in match[0]), text)


def for_stream(text: str, stream: IO[str]) -> str:
    """Apply `for_terminal` if the stream is a terminal; return the text unchanged for a pipe or a file."""
    return for_terminal(text) if stream.isatty() else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
