r"""Text from elsewhere made safe to show: a terminal obeys what it is sent.

What a job prints or raises may hold sequences that set a title, clear the screen, write the clipboard or turn the
direction of what follows. Colours, tabs and line breaks pass; the rest is shown as an escape, such as `\x1b`.
"""

from __future__ import annotations

import re
from typing import IO

_COLOUR = r"\x1b\[[0-9;:]*m"
"""SGR (ECMA-48, 8.3.117), in its 7-bit form."""
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
"""C0 without tab, line feed and carriage return; DEL; C1; what sets the direction of text, LRM and RLM excepted."""
_BREAKS = r"[\t\n\r\u2028\u2029]"

_UNSAFE = re.compile(f"(?P<colour>{_COLOUR})|{_CONTROL}")
_UNSAFE_IN_LINE = re.compile(f"(?P<colour>{_COLOUR})|{_CONTROL}|{_BREAKS}")
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def for_terminal(text: str) -> str:
    """Text that a terminal shows and doesn't obey, but for colours, tabs and line breaks."""
    return _UNSAFE.sub(lambda found: found["colour"] or _escape(found[0]), text)


def for_line(text: str) -> str:
    """The same for one line of a layout: colours are left out, tabs and line breaks are escapes."""
    return _UNSAFE_IN_LINE.sub(lambda found: "" if found["colour"] else _escape(found[0]), text)


def without_sequences(text: str) -> str:
    """Text for a page: colours and movements of the cursor are left out, other control characters are escapes."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), _SEQUENCE.sub("", text).replace("\r", ""))


def for_json(text: str) -> str:
    """JSON whose control characters are JSON's own escapes; the data stay the same."""
    return _UNSAFE.sub(lambda found: "".join(f"\\u{ord(character):04x}" for character in found[0]), text)


def for_stream(text: str, stream: IO[str]) -> str:
    """Text as it goes to a stream: `for_terminal` if that is a terminal, unchanged if it is a pipe or a file."""
    return for_terminal(text) if stream.isatty() else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
