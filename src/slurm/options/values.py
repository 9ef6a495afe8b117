"""Values of sbatch options: what each kind takes, and Slurm's text for it.

The forms are those of sbatch(1). A value that sbatch would refuse is refused here, where the user wrote it.
"""

from __future__ import annotations

import unicodedata

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from typing import Any

    Kind = Callable[[Any], str | bool | None]

_NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of surrogate pairs, and separators of lines and paragraphs."""

_UNLIMITED = ("UNLIMITED", "INFINITE")
_MOST_SECONDS = (1 << 31) - 1
"""Slurm 22.05 takes longer times, and makes another limit, or none, of them."""
_TOO_LONG = 'at most 68 years, or "UNLIMITED"'

SIGNALS = frozenset(
    "HUP INT QUIT ABRT KILL ALRM TERM USR1 USR2 URG CONT STOP TSTP TTIN TTOU XCPU".split()  # noqa: SIM905
)
"""The names that sbatch takes for --signal, as measured on 22.05; beside them it takes any number from 1."""
_MOST_SIGNAL, _MOST_LEAD = 64, 65535


def text(value: Any) -> str:
    """Any one line of text, or a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("text")
    return line(str(value))


def line(value: str) -> str:
    """Text without line breaks or other control characters: nothing may add a line to the script."""
    if not value or any(unicodedata.category(character) in _NOT_TEXT for character in value):
        raise ValueError("one line of text, without control characters")
    return value


def _digits(words: str) -> bool:
    return words.isascii() and words.isdecimal()


def count(value: Any) -> str:
    """A whole number from 1."""
    if isinstance(value, bool) or not _digits(str(value)) or int(value) < 1:
        raise ValueError("a whole number from 1")
    return str(int(value))


def whole(value: Any) -> str:
    """A whole number, also 0 or below."""
    if isinstance(value, bool) or not _digits(str(value).removeprefix("-")):
        raise ValueError("a whole number")
    return str(int(value))


def count_range(value: Any) -> str:
    """A whole number from 1, or Slurm's text for several: "2-4", "4-64:4"."""
    words = str(value).replace(":", "-").replace(",", "-").split("-")
    if isinstance(value, bool) or not all(_digits(word.rstrip("kKmM")) and word.strip("0kKmM") for word in words):
        raise ValueError('a whole number from 1, or a range such as "2-4"')
    return str(value)


def memory(value: Any) -> str:
    """Megabytes as a number, or Slurm's text: "4G", "512M", "0" for all of the node's."""
    words = str(value).strip()
    number = words[:-1] if words[-1:].upper() in ("K", "M", "G", "T") else words
    if isinstance(value, bool) or not _digits(number):
        raise ValueError('megabytes as a number, or text with a unit such as "4G" or "512M"')
    return words


def duration(value: Any) -> str:
    """Minutes as a number, a timedelta, or Slurm's text: "30", "30:00", "12:00:00", "1-12", "1-12:00:00"."""
    if hasattr(value, "total_seconds"):
        return _from_timedelta(value)
    words = str(value).strip()
    if words.upper() in _UNLIMITED:
        return words.upper()
    days, dash, clock = words.partition("-")
    parts = (clock if dash else words).split(":")
    if (
        isinstance(value, (bool, float))
        or len(parts) > 3
        or not all(_digits(p) for p in (*parts, days if dash else "0"))
    ):
        raise ValueError('minutes as a number, a timedelta, or text such as "30", "12:00:00" or "1-12:00:00"')
    if sum(map(len, (*parts, days))) > 30 or (seconds(words) or 0) > _MOST_SECONDS:
        raise ValueError(_TOO_LONG)
    return words


def _from_timedelta(value: timedelta) -> str:
    seconds = -int(-value.total_seconds() // 1)  # rounded up: never less than was asked for
    if seconds <= 0:
        raise ValueError("a time longer than nothing")
    if seconds > _MOST_SECONDS:
        raise ValueError(_TOO_LONG)
    return clock(seconds)


def clock(seconds: int) -> str:
    """Seconds in Slurm's text: "1-12:00:00"."""
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def seconds(text: str) -> int | None:
    """The seconds that Slurm's text stands for; None for no limit.

    sbatch(1): minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes,
    days-hours:minutes:seconds; zero is no limit.
    """
    if not text[0].isdecimal():
        return None
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, over = [*parts, 0, 0][:3]
    else:
        hours, minutes, over = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + over or None


def megabytes(text: str) -> float:
    """The megabytes that Slurm's text for memory stands for."""
    units = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1 << 20}
    unit = text[-1:].upper()
    return float(text[:-1]) * units[unit] if unit in units else float(text)


def moment(value: Any) -> str:
    """A date and time: a datetime, or Slurm's text such as "now+1hour", "16:00", "2030-01-20T12:34:00"."""
    if hasattr(value, "timetuple"):
        local = value.astimezone() if getattr(value, "tzinfo", None) else value
        return str(local.strftime("%Y-%m-%dT%H:%M:%S"))
    return text(value)


def flag(value: Any) -> bool | None:
    """True for the bare option, False or None for none."""
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value or None


def flag_or_text(value: Any) -> str | bool | None:
    """True for the bare option, False for none, or its text."""
    return flag(value) if isinstance(value, bool) else text(value)


def listing(value: Any) -> str:
    """Text, or several texts, which are joined with commas."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return text(value)
    return line(",".join(text(item) for item in value))


def signal(value: Any) -> str:
    """A signal and its lead: "USR1@60", "B:TERM@120", "10@30"."""
    words = text(value)
    signal_and_lead(words)
    return words


def signal_and_lead(words: str) -> tuple[str, int]:
    """The signal's name without SIG, or its number, and how many seconds ahead of the time limit it is sent.

    sbatch(1): [{R|B}:]<sig_num>[@sig_time], 60 seconds unless said. Raises ValueError for what sbatch refuses.
    """
    flags, _, rest = words.rpartition(":")
    name, at, lead = rest.partition("@")
    name = name.upper().removeprefix("SIG")
    number = _digits(name) and len(name) < 4 and 1 <= int(name) <= _MOST_SIGNAL
    if (
        set(flags.upper()) - {"B", "R"}
        or (":" in words and not flags)
        or not (name in SIGNALS or number)
        or (at and not (_digits(lead) and len(lead) < 7 and int(lead) <= _MOST_LEAD))
    ):
        known = ", ".join(sorted(SIGNALS))
        raise ValueError(
            f'a signal and its lead in seconds up to {_MOST_LEAD}, such as "USR1@60" or "B:TERM@120"; '
            f"the signal is a number, or one of {known}"
        )
    return name, int(lead) if at else 60


def signal_name(value: Any) -> str:
    """A signal's name: "USR1", "SIGTERM"."""
    name = text(value).upper().removeprefix("SIG")
    if name not in ("USR1", "USR2", "TERM", "INT", "HUP", "URG", "CONT"):
        raise ValueError("the name of a signal that a process can handle, such as USR1, USR2, TERM, INT")
    return name


def lead(value: Any) -> str:
    """Seconds as a number, a timedelta, or Slurm's text for a time; as seconds."""
    words = _from_timedelta(value) if hasattr(value, "total_seconds") else str(value)
    found = int(words) if _digits(words) else seconds(duration(words)) if ":" in words else None
    if isinstance(value, bool) or not found or found > _MOST_LEAD:  # sbatch(1), --signal
        raise ValueError('seconds up to 65535, a timedelta, or text such as "5:00"')
    return str(found)
