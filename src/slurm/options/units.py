"""Times and memory as people write them: "2h", "1d 2h", "90 min", "4 GiB". Imported only for such text.

For text with two possible meanings, the error names both. The messages complete "expected …".
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Mapping[str, int | Fraction] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400),
}
_MEGABYTES: Mapping[str, int | Fraction] = {
    **dict.fromkeys(("k", "kb", "kib"), Fraction(1, 1024)),
    **dict.fromkeys(("m", "mb", "mib"), 1),
    **dict.fromkeys(("g", "gb", "gib"), 1024),
    **dict.fromkeys(("t", "tb", "tib"), 1 << 20),
    **dict.fromkeys(("p", "pb", "pib"), 1 << 30),
}
"""In Slurm, as on most sites, GB means GiB: `sbatch --mem=4GB` is 4096 MiB."""
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_AMOUNT = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]+)\s*(?:,|and\b)?", re.ASCII)
_COMMA = re.compile(r"([0-9]{1,15}),([0-9]{1,9})\s*([A-Za-z]+)", re.ASCII)
_CLOCK = re.compile(r"([0-9]{1,9}):([0-9]{1,2})\s*([A-Za-z]+)", re.ASCII)
_NO_LAST_UNIT = re.compile(r"([0-9]{1,9})\s*(h|d)[a-z]*\s*([0-9]{1,2})", re.ASCII)


def time(given: str) -> int | None:
    """Return the seconds of a text with units, rounded up; None for text that is not a time. Raises ValueError."""
    _refuse_comma(given, _SECONDS)
    clock, unfinished = _CLOCK.fullmatch(given), _NO_LAST_UNIT.fullmatch(given.lower())
    if clock and clock[3].lower() in _SECONDS:
        first, second = clock[1], clock[2]
        raise ValueError(
            f'one meaning: for sbatch, "{first}:{second}" is minutes and seconds. Write "{first}h {second}min" or '
            f'"{first}min {second}s"'
        )
    if unfinished:
        first, unit, second = unfinished.groups()
        units = ("min", "s") if unit == "h" else ("h", "min")
        raise ValueError(
            f'a unit after the last number: write "{first}{unit} {second}{units[0]}" or '
            f'"{first}{unit} {second}{units[1]}"'
        )
    if given[-1:] == "M" and given[:-1].strip().isdecimal():
        number = given[:-1].strip()
        raise ValueError(f'one meaning: write "{number}min" for minutes, or days for months: "{int(number) * 30}d"')
    total = _sum(given, _SECONDS)
    return None if total is None else ceil(total)


def memory(given: str) -> str | None:
    """Return Slurm's text for memory with a unit, rounded up; None for other text. Raises ValueError."""
    _refuse_comma(given, _MEGABYTES)
    total, units = _sum(given, _MEGABYTES), re.findall("[A-Za-z]+", given)
    if total is None or len(units) != 1:
        return None
    if not total:
        return "0"
    for unit, name in ((1 << 20, "T"), (1024, "G"), (1, "M")):
        if total % unit == 0:
            return f"{total // unit}{name}"
    return f"{ceil(total * 1024)}K" if total < 1 else f"{ceil(total)}M"


def _sum(given: str, units: Mapping[str, int | Fraction]) -> Fraction | None:
    """Return the sum of numbers with units, each unit once and the largest first; None for any other text."""
    total, at, last = Fraction(), 0, None
    while at < len(given):
        found = _AMOUNT.match(given, at)
        size = Fraction(units.get(found[2].lower(), 0)) if found else None
        if found is None or not size or (last is not None and size >= last):
            return None
        total, at, last = total + Fraction(found[1]) * size, found.end(), size
    return None if last is None or given.rstrip().endswith((",", "and")) else total


def _refuse_comma(given: str, units: Mapping[str, int | Fraction]) -> None:
    found = _COMMA.fullmatch(given)
    if found and found[3].lower() in units:
        whole, rest, unit = found.groups()
        raise ValueError(f'a point, or no separator: write "{whole}.{rest}{unit}" or "{whole}{rest}{unit}"')
