"""Ranges of consecutive numbers, as Slurm writes them and as records hold them."""

from __future__ import annotations

from slurm.protocol import MOST_CALLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def runs(numbers: Iterable[int]) -> list[list[int]]:
    """Return the first and the last number of each run of consecutive numbers, in ascending order."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers in Slurm's short form: "0-3,7"."""
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs(numbers))


def numbers(text: str) -> Sequence[int]:
    """Expand Slurm's short form, for example "0-3,7%2" or "[1-9:2]"; keeps the order."""
    found: list[int] = []
    for part in text.partition("%")[0].strip("[]").split(","):
        low, _, rest = part.partition("-")
        high, _, step = rest.partition(":")
        found.extend(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def bounds(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return the first and the last number of each run, in ascending order: the form of records."""
    return tuple(bound for run in runs(numbers) for bound in run)


def in_order(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return the first and the last number of each run of consecutive numbers, in the given order."""
    found: list[int] = []
    for number in numbers:
        if found and found[-1] == number - 1:
            found[-1] = number
        else:
            found += [number, number]
    return tuple(found)


def are_bounds(found: Sequence[int]) -> bool:
    """Whether numbers of a record are bounds of runs in ascending order, and possible indices of calls."""
    return len(found) % 2 == 0 and all(low <= high for low, high in zip((0, *found), (*found, MOST_CALLS), strict=True))


def within(bounds: Sequence[int]) -> Iterator[int]:
    """Yield the numbers within bounds."""
    for low, high in zip(bounds[::2], bounds[1::2], strict=True):
        yield from range(low, high + 1)
