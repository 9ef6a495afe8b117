"""Slurm's compressed host lists: "n[1-3,07],login" expands to n1, n2, n3, n07, login."""

from __future__ import annotations

import itertools

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def expand(text: str) -> tuple[str, ...]:
    """Return the names in the order of `scontrol show hostnames`; numbers keep their leading zeros."""
    return tuple(name for part in _split(text) for name in _names(part))


def _split(text: str) -> Iterator[str]:
    """Split at the commas outside of brackets."""
    part, inside = "", False
    for character in text:
        inside = character == "[" or (inside and character != "]")
        if character == "," and not inside:
            yield part
            part = ""
        else:
            part += character
    if part:
        yield part


def _names(part: str) -> Iterator[str]:
    """Expand one part; with several brackets, the last one varies fastest."""
    prefix, *bracketed = part.split("[")
    choices = []
    for piece in bracketed:
        ranges, _, rest = piece.partition("]")
        choices.append([number + rest for one in ranges.split(",") for number in _numbers(one)])
    return (prefix + "".join(chosen) for chosen in itertools.product(*choices))


def _numbers(text: str) -> Iterator[str]:
    low, _, high = text.partition("-")
    return (str(number).zfill(len(low)) for number in range(int(low), int(high or low) + 1))
