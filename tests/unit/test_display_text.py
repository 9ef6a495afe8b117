"""Text of displays: durations and amounts of memory."""

from __future__ import annotations

import pytest

from slurm.views.displays import age, duration, memory


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1000 << 20, "1000 MiB"),
        (1023 << 30, "1023 GiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_memory_has_a_binary_unit_and_no_exponent(amount: int, text: str) -> None:
    assert memory(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 ms"), (0.04, "40 ms"), (1.34, "1.3 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration_has_one_or_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_age_is_in_whole_seconds_up_to_a_minute() -> None:
    assert (age(11.6), age(61)) == ("12 s ago", "1 min 1 s ago")
