"""Values of sbatch options: each function checks one kind of value and returns Slurm's text for it.

The forms are those of sbatch(1). A value that sbatch would reject raises ValueError here, where the user wrote it; the
message completes "expected …", and `checked` makes it an OptionError.
"""

from __future__ import annotations

import unicodedata

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from typing import Any, NoReturn, TypeVar

    Kind = Callable[[Any], str | bool | None]
    V = TypeVar("V")

_NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, surrogates, and separators of lines and paragraphs."""

_UNLIMITED = ("UNLIMITED", "INFINITE")
_MOST_SECONDS = (1 << 31) - 1
"""Slurm 22.05 accepts longer times, but sets a different limit or none."""
_TOO_LONG = 'at most 68 years, or "UNLIMITED"'
_TIMES = (
    'text such as "2h", "1d 12h", "12:00:00" or "1-12:00:00", a timedelta, or a whole number, which is minutes for '
    "sbatch"
)

SIGNALS = frozenset(
    "HUP INT QUIT ABRT KILL ALRM TERM USR1 USR2 URG CONT STOP TSTP TTIN TTOU XCPU".split()  # noqa: SIM905
)
"""The names that sbatch accepts for --signal, as measured on 22.05; it also accepts any number from 1."""
_OF_SRUN = ("error", "export", "input", "jobid", "kill-on-bad-exit", "multi-prog", "ntasks", "output", "wait")
ONE_COMPONENT = "a job has one component here: write a task for each kind of node, and pass one the job of the other"
_MOST_SIGNAL, _MOST_LEAD = 64, 65535


def fail(message: str) -> NoReturn:
    """Raise OptionError."""
    from slurm.errors import OptionError  # noqa: PLC0415 - imports concurrent.futures

    raise OptionError(message)


def checked(name: str, value: Any, kind: Callable[[Any], V]) -> V | None:
    """Return the text of a value, None for None. Raises OptionError, which names the option and the expected value."""
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError as error:
        expected = str(error)
    fail(f"{name}={value!r}: expected {expected}")


def text(value: Any) -> str:
    """Return one line of text; a number is converted."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("text")
    return line(str(value))


def line(value: str) -> str:
    """Return text without line breaks or other control characters, so that no value adds a line to the script."""
    if not value or any(unicodedata.category(character) in _NOT_TEXT for character in value):
        raise ValueError("one line of text, without control characters")
    return value


def _digits(given: str) -> bool:
    return given.isascii() and given.isdecimal()


def count(value: Any) -> str:
    """Check a whole number from 1."""
    if isinstance(value, bool) or not _digits(str(value)) or int(value) < 1:
        raise ValueError("a whole number from 1")
    return str(int(value))


def count_or_auto(value: Any) -> str:
    """Check a whole number from 1, or "auto"."""
    try:
        return "auto" if value == "auto" else count(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "auto"') from None


def whole(value: Any) -> str:
    """Check a whole number, which may be 0 or negative."""
    if isinstance(value, bool) or not _digits(str(value).removeprefix("-")):
        raise ValueError("a whole number")
    return str(int(value))


def count_range(value: Any) -> str:
    """Check a whole number from 1, or Slurm's text for a range: "2-4", "4-64:4"."""
    numbers = str(value).replace(":", "-").replace(",", "-").split("-")
    if isinstance(value, bool) or not all(_digits(each.rstrip("kKmM")) and each.strip("0kKmM") for each in numbers):
        raise ValueError('a whole number from 1, or a range such as "2-4"')
    return str(value)


def memory(value: Any) -> str:
    """Check megabytes as a number, or text: "4G", "512M", "4 GiB", "1.5 GB", "0" for the node's whole memory."""
    given = str(value).strip()
    number = given[:-1] if given[-1:].upper() in ("K", "M", "G", "T") else given
    if not isinstance(value, bool) and _digits(number):
        return given
    if isinstance(value, str):
        from slurm.options.units import memory  # noqa: PLC0415 - most values are Slurm's forms

        converted = memory(given)
        if converted is not None:
            return converted
    raise ValueError('text with a unit, such as "4G" or "512M", or a whole number, which is megabytes for sbatch')


def duration(value: Any) -> str:
    """Check minutes as a number, a timedelta, Slurm's text ("30", "30:00", "1-12:00:00"), or text with units ("2h")."""
    if hasattr(value, "total_seconds"):
        return _from_timedelta(value)
    if isinstance(value, (bool, float)):
        raise ValueError(_TIMES)
    given = str(value).strip()
    return _with_units(given) if any(map(str.isalpha, given)) and given.upper() not in _UNLIMITED else clock_text(given)


def clock_text(text: str) -> str:
    """Check Slurm's text for a time, as sbatch does."""
    given = text.strip()
    if given.upper() in _UNLIMITED:
        return given.upper()
    days, dash, clock = given.partition("-")
    parts = (clock if dash else given).split(":")
    if len(parts) > 3 or not all(_digits(p) for p in (*parts, days if dash else "0")):
        raise ValueError(_TIMES)
    if sum(map(len, (*parts, days))) > 30 or (seconds(given) or 0) > _MOST_SECONDS:
        raise ValueError(_TOO_LONG)
    return given


def _with_units(given: str) -> str:
    from slurm.options.units import time  # noqa: PLC0415 - most values are Slurm's forms

    found = time(given)
    if found is None:
        raise ValueError(_TIMES)
    return _checked_clock(found)


def _from_timedelta(value: timedelta) -> str:
    return _checked_clock(-int(-value.total_seconds() // 1))  # rounded up: never shorter than requested


def _checked_clock(seconds: int) -> str:
    if seconds <= 0:
        raise ValueError("a time longer than 0 seconds")
    if seconds > _MOST_SECONDS:
        raise ValueError(_TOO_LONG)
    return clock(seconds)


def clock(seconds: int) -> str:
    """Format seconds as Slurm's text: "1-12:00:00"."""
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def seconds(text: str) -> int | None:
    """Parse Slurm's text for a time into seconds; None means no limit.

    sbatch(1): minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes,
    days-hours:minutes:seconds; zero means no limit.
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
    """Parse Slurm's text for memory into megabytes."""
    units = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1 << 20}
    unit = text[-1:].upper()
    return float(text[:-1]) * units[unit] if unit in units else float(text)


def moment(value: Any) -> str:
    """Check a datetime, or Slurm's text for one, such as "now+1hour", "16:00", "2030-01-20T12:34:00"."""
    if hasattr(value, "timetuple"):
        local = value.astimezone() if getattr(value, "tzinfo", None) else value
        return str(local.strftime("%Y-%m-%dT%H:%M:%S"))
    return text(value)


def flag(value: Any) -> bool | None:
    """Return True for the bare option, None for no option."""
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value or None


def reuse(value: Any) -> str | bool | None:
    """Check whether calls reuse earlier results: True, False, or "refresh"."""
    if isinstance(value, str) and value == "refresh":
        return value
    if not isinstance(value, bool):
        raise ValueError('True, False or "refresh"')
    return value or None


def flag_or_text(value: Any) -> str | bool | None:
    """Return True for the bare option, None for no option, or the option's text."""
    return flag(value) if isinstance(value, bool) else text(value)


def listing(value: Any) -> str:
    """Check a text, or join several texts with commas."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return text(value)
    return line(",".join(text(item) for item in value))


def shell_lines(value: Any) -> str:
    """Check lines of bash: a text, of one line or several, or several texts."""
    given = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    found = [each for some in given for each in str(some).splitlines() if each.strip()]
    if not found or not all(isinstance(some, str) for some in given):
        raise ValueError("lines of bash, such as ['module load gcc']")
    return "\n".join(line(each.replace("\t", "    ").strip()) for each in found)


def signal(value: Any) -> str:
    """Check a signal and the seconds before the time limit: "USR1@60", "B:TERM@120", "10@30"."""
    given = text(value)
    signal_and_lead(given)
    return given


def signal_and_lead(given: str) -> tuple[str, int]:
    """Parse a --signal: the signal's name without SIG, or its number, and the seconds before the time limit.

    sbatch(1): [{R|B}:]<sig_num>[@sig_time], 60 seconds by default. Raises ValueError for text that sbatch rejects.
    """
    flags, _, rest = given.rpartition(":")
    name, at, lead = rest.partition("@")
    name = name.upper().removeprefix("SIG")
    number = _digits(name) and len(name) < 4 and 1 <= int(name) <= _MOST_SIGNAL
    if (
        set(flags.upper()) - {"B", "R"}
        or (":" in given and not flags)
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
    """Return a signal's name without SIG, from a name such as "USR1" or "SIGTERM"."""
    name = text(value).upper().removeprefix("SIG")
    if name not in ("USR1", "USR2", "TERM", "INT", "HUP", "URG", "CONT"):
        raise ValueError("the name of a signal that a process can handle, such as USR1, USR2, TERM, INT")
    return name


def keep(value: Any) -> str:
    """Return which directories of other attempts of a command are kept when one attempt has succeeded."""
    if value != "all":
        raise ValueError('"all" (the directories of failed attempts are kept)')
    return "all"


def launch(value: Any) -> str:
    """Return how a call runs in an allocation of several tasks: in each rank, once, or as an MPI program."""
    if value not in ("ranks", "once", "mpi"):
        raise ValueError('"ranks" (the function runs in each task of the allocation), "once", or "mpi" (for commands)')
    return str(value)


def mpi(value: Any) -> str:
    """Return a value for srun's --mpi."""
    kind = text(value)
    if kind == "list" or not kind.replace("_", "").isalnum():
        raise ValueError('a kind that `srun --mpi=list` prints, such as "pmi2" or "pmix"')
    return kind


def srun(value: Any) -> str | None:
    """Return words for srun, from a mapping of its long options: {"cpu_bind": "cores"} is --cpu-bind=cores."""
    expected = "a mapping of srun's long options, such as {'cpu_bind': 'cores'}"
    import shlex  # noqa: PLC0415 - few tasks have it

    if isinstance(value, str):  # as in a record
        words = shlex.split(line(value))
    elif hasattr(value, "items"):
        given = {f"--{str(name).lstrip('-').replace('_', '-')}": text for name, text in value.items()}
        sent = {name: text for name, text in given.items() if text is not None and text is not False}
        words = [name if text is True else f"{name}={text}" for name, text in sent.items()]
    else:
        raise ValueError(expected)
    for word in words:
        name = word.partition("=")[0].removeprefix("--")
        if not word.startswith("--") or not name.replace("-", "").isalnum():
            raise ValueError(f"{expected}, not {word!r}")
        if name in ("het-group", "pack-group"):
            raise ValueError(f"no --{name}: {ONE_COMPONENT}")
        if name in _OF_SRUN:
            raise ValueError(f"options for the ranks only: --{name} is set by the library")
    return line(shlex.join(words)) if words else None


def lead(value: Any) -> str:
    """Convert a number of seconds, a timedelta, or Slurm's text for a time to seconds."""
    given = _from_timedelta(value) if hasattr(value, "total_seconds") else str(value)
    try:
        parsed = int(given) if _digits(given) else seconds(duration(given))
    except ValueError:
        parsed = None
    if isinstance(value, bool) or not parsed or parsed > _MOST_LEAD:  # sbatch(1), --signal
        raise ValueError('seconds up to 65535, a timedelta, or text such as "5:00" or "5min"')
    return str(parsed)
