"""Patterns of file names, matched in this process: they never reach a shell."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ANY = "**"
_NAMED = 5
"""The number of files that a message names."""


class Pattern:
    """A pattern of paths below a directory: `*`, `?` and `[…]` match within a name, `**/` any directories.

    A pattern that ends in `/` matches all files below a directory. Raises ConfigurationError for an invalid one.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip("./") or "\0" in text:
            raise ConfigurationError(f"{text!r} is not a pattern of file names: pass a text such as 'out/*.h5'")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts:
            raise ConfigurationError(
                f"the pattern {text!r} leads out of the job's output directory: use a path below it, such as 'out/*.h5'"
            )
        if text.endswith("/"):
            parts.append(_ANY)
        self.text = text
        self._parts = [part for at, part in enumerate(parts) if part != _ANY or parts[at - 1 : at] != [_ANY]]
        literal = next((at for at, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts))
        self.literal = literal == len(parts)
        """Whether the pattern is the name of a single file."""
        self._prefix = "".join(f"{part}/" for part in parts[:literal])

    def matches(self, name: str) -> bool:
        """Whether a path matches."""
        return _match(self._parts, name.split("/"))

    def no_match(self, names: Iterable[str]) -> str:
        """Return a message for a directory without a matching file, which says what pattern to write instead."""
        there = list(dict.fromkeys(names))
        message = f"no file that matches {self.text!r}; it has"
        deeper = Pattern(f"**/{self.text}")
        for name in there:
            if deeper.matches(name):
                return f"{message} {name}: write {deeper.text!r}"
        if not there:
            return f"{message} none"
        return f"{message} {', '.join(there[:_NAMED])}{', …' if len(there) > _NAMED else ''}"

    def begins_with(self, directory: str) -> bool:
        """Whether the first names of the pattern, before any `*`, are those of `directory`."""
        return self._prefix.startswith(f"{directory}/")


def _match(parts: Sequence[str], names: Sequence[str]) -> bool:
    if not parts or not names:
        return not parts and not names
    first, rest = parts[0], parts[1:]
    if first == _ANY:
        return not rest or any(_match(rest, names[at:]) for at in range(len(names)))
    return fnmatchcase(names[0], first) and _match(rest, names[1:])
