"""The kinds of values that options of the command line take."""

from __future__ import annotations

import time
from datetime import datetime

import click
import pytest

from slurm.cli.parameters import Duration, Moment


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5", 1.5), ("30m", 1800.0), ("2h", 7200.0), ("1d", 86400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    found = Duration().convert(text, None, None)
    assert (found, Duration().convert(found, None, None)) == (seconds, seconds)  # click converts a value twice


def test_moments() -> None:
    day = Moment().convert("2026-11-21", None, None)
    assert datetime.fromtimestamp(day).astimezone() == datetime(2026, 11, 21).astimezone()
    assert Moment().convert(day, None, None) == day
    before = time.time()
    ago = Moment().convert("2h", None, None)
    assert before - 7200 <= ago <= time.time() - 7200


@pytest.mark.parametrize(("kind", "text"), [(Duration(), "soon"), (Duration(), "-1"), (Moment(), "yesterday")])
def test_other_words_are_errors(kind: Duration | Moment, text: str) -> None:
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)
