"""Ranges of array tasks in Slurm's short form. A separate module, because the local scheduler must import little."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers in Slurm's short form: "0-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs)


def numbers(text: str) -> Sequence[int]:
    """Expand Slurm's short form, for example "0-3,7%2" or "[1-9:2]"; keeps the order."""
    found: list[int] = []
    for part in text.partition("%")[0].strip("[]").split(","):
        low, _, rest = part.partition("-")
        high, _, step = rest.partition(":")
        found.extend(range(int(low), int(high or low) + 1, int(step or 1)))
    return found
