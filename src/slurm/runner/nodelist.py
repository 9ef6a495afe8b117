"""Slurm's short form of host names: "n[1-3,07],login" stands for n1, n2, n3, n07, login."""

from __future__ import annotations

import itertools

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def expand(text: str) -> tuple[str, ...]:
    """The names, in order, as `scontrol show hostnames` has them; a number keeps the zeros before it."""
    return tuple(name for part in _split(text) for name in _names(part))


def _split(text: str) -> Iterator[str]:
    """The parts between commas that stand outside of brackets."""
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
    """What one part stands for; of several brackets the last one counts fastest."""
    prefix, *bracketed = part.split("[")
    choices = []
    for piece in bracketed:
        ranges, _, rest = piece.partition("]")
        choices.append([number + rest for one in ranges.split(",") for number in _numbers(one)])
    return (prefix + "".join(chosen) for chosen in itertools.product(*choices))


def _numbers(text: str) -> Iterator[str]:
    low, _, high = text.partition("-")
    return (str(number).zfill(len(low)) for number in range(int(low), int(high or low) + 1))
