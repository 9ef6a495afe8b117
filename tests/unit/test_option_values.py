"""Values of options: every accepted form, and the errors for others."""

from __future__ import annotations

import re
import time
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.errors import OptionError
from slurm.options import SBATCH, Options
from slurm.options.values import duration, seconds
from unit.strategies import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("account", "p 1", "p 1"),
        ("qos", 3, "3"),
        ("srun", {"cpu_bind": "cores", "label": True, "exact": False}, "--cpu-bind=cores --label"),
        ("srun", {"--slurmd-debug": 0}, "--slurmd-debug=0"),
        ("srun", {"chdir": "/a b"}, "'--chdir=/a b'"),
        ("srun", "'--chdir=/a b' --label", "'--chdir=/a b' --label"),
        ("srun", {}, None),
        ("setup", "a\n\n b\tc ", "a\nb    c"),
        ("setup", ["a", "b\nc"], "a\nb\nc"),
        ("cpus_per_task", 4, "4"),
        ("cpus_per_task", "04", "4"),
        ("core_spec", 0, "0"),
        ("thread_spec", "-1", "-1"),
        ("nodes", 2, "2"),
        ("nodes", "2-4", "2-4"),
        ("nodes", "4-64:4", "4-64:4"),
        ("mem", 512, "512"),
        ("mem", "4G", "4G"),
        ("mem", " 512M ", "512M"),
        ("mem", "0", "0"),
        ("mem", "4GB", "4G"),
        ("mem", "4 GiB", "4G"),
        ("mem", "4gb", "4G"),
        ("mem", "1.5 GB", "1536M"),
        ("mem", "0.1G", "103M"),
        ("mem", "0.5K", "1K"),
        ("mem", "2048 M", "2G"),
        ("mem", "1P", "1024T"),
        ("mem", "0 GB", "0"),
        ("tmp", "10 GB", "10G"),
        ("time", "2h", "02:00:00"),
        ("time", "90 min", "01:30:00"),
        ("time", "1d 2h", "1-02:00:00"),
        ("time", "1h30m", "01:30:00"),
        ("time", "2 hours and 30 minutes", "02:30:00"),
        ("time", "2 Hours, 30 Minutes", "02:30:00"),
        ("time", "1.5h", "01:30:00"),
        ("time", "0.1s", "00:00:01"),
        ("time", "2w", "14-00:00:00"),
        ("signal_lead", "5 min", "300"),
        ("signal_lead", "5", "5"),
        ("time", "2:30", "2:30"),
        ("time", 30, "30"),
        ("time", "30:00", "30:00"),
        ("time", "12:00:00", "12:00:00"),
        ("time", "1-12", "1-12"),
        ("time", "1-12:00:00", "1-12:00:00"),
        ("time", "unlimited", "UNLIMITED"),
        ("time", timedelta(minutes=90), "01:30:00"),
        ("time", timedelta(days=2, seconds=1), "2-00:00:01"),
        ("time", timedelta(milliseconds=1), "00:00:01"),
        ("begin", "now+1hour", "now+1hour"),
        ("begin", "16:00", "16:00"),
        ("begin", datetime(2030, 1, 20, 12, 34), "2030-01-20T12:34:00"),  # noqa: DTZ001 - the cluster's local time
        ("begin", date(2030, 1, 20), "2030-01-20T00:00:00"),
        ("contiguous", True, True),
        ("contiguous", False, None),
        ("exclusive", True, True),
        ("exclusive", "user", "user"),
        ("exclusive", False, None),
        ("nice", -5, "-5"),
        ("nodelist", "n[1-3]", "n[1-3]"),
        ("nodelist", ["n1", "n2"], "n1,n2"),
        ("gres", ("gpu:1", "tmp:2"), "gpu:1,tmp:2"),
        ("signal", "USR1@60", "USR1@60"),
        ("signal", "B:TERM@120", "B:TERM@120"),
        ("signal", "10@30", "10@30"),
        ("signal", 10, "10"),
        ("signal", "sigusr1@0", "sigusr1@0"),
        ("signal", "XCPU@65535", "XCPU@65535"),
        ("signal", "BR:USR1@3", "BR:USR1@3"),
        ("time", "35791394", "35791394"),
        ("max_concurrent", 2, "2"),
    ],
)
def test_each_form_has_its_text(name: str, value: Any, text: str | bool | None) -> None:
    assert Options.parse({name: value}).get(name) == text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("account", "", "one line of text"),
        ("account", "a\nb", "one line of text"),
        ("account", True, "text"),
        ("account", ["a"], "text"),
        ("cpus_per_task", 0, "a whole number from 1"),
        ("cpus_per_task", 2.0, "a whole number from 1"),
        ("cpus_per_task", True, "a whole number from 1"),
        ("core_spec", "x", "a whole number"),
        ("nodes", "2-", 'a range such as "2-4"'),
        ("nodes", True, 'a range such as "2-4"'),
        ("mem", "4X", 'such as "4G" or "512M"'),
        ("mem", 1.5, "a whole number, which is megabytes for sbatch"),
        ("mem", "1.5", "a whole number, which is megabytes for sbatch"),
        ("mem", "1G 2M", 'such as "4G" or "512M"'),
        ("mem", "1,5G", 'write "1.5G" or "15G"'),
        ("mem", "1,000 MB", 'write "1.000MB" or "1000MB"'),
        ("mem", "", 'such as "4G" or "512M"'),
        ("mem", -1, 'such as "4G" or "512M"'),
        ("time", "30m 2h", 'such as "2h"'),
        ("time", "2h 1h", 'such as "2h"'),
        ("time", "1d-2h", 'such as "2h"'),
        ("time", "2h,", 'such as "2h"'),
        ("time", "1 month", 'such as "2h"'),
        ("time", "\u0663h", 'such as "2h"'),
        ("time", "1.5", "a whole number, which is minutes for sbatch"),
        ("time", "2:30h", '"2:30" is minutes and seconds. Write "2h 30min" or "2min 30s"'),
        ("time", "1h30", 'write "1h 30min" or "1h 30s"'),
        ("time", "1d 2", 'write "1d 2h" or "1d 2min"'),
        ("time", "5M", 'write "5min" for minutes, or days for months: "150d"'),
        ("time", "1,5h", 'write "1.5h" or "15h"'),
        ("time", "0h", "a time longer than 0 seconds"),
        ("time", "30000d", "at most 68 years"),
        ("signal_lead", "19h", "seconds up to 65535"),
        ("time", "1:2:3:4", "a whole number, which is minutes for sbatch"),
        ("time", "-5", "a whole number, which is minutes for sbatch"),
        ("time", 1.5, "a whole number, which is minutes for sbatch"),
        ("time", timedelta(0), "a time longer than 0 seconds"),
        ("contiguous", "yes", "True or False"),
        ("contiguous", 1, "True or False"),
        ("nodes", 0, 'a range such as "2-4"'),
        ("nodelist", [], "text"),
        ("nodelist", ["n1", "a\rb"], "one line of text"),
        ("signal", "USR1@soon", 'such as "USR1@60"'),
        ("signal", "B:R:USR1", 'such as "USR1@60"'),
        ("signal", "@60", 'such as "USR1@60"'),
        ("signal", "FOO@30", "one of ABRT, ALRM"),
        ("signal", "PIPE", "one of ABRT, ALRM"),
        ("signal", 0, 'such as "USR1@60"'),
        ("signal", 65, 'such as "USR1@60"'),
        ("signal", "9" * 5000, 'such as "USR1@60"'),
        ("signal", "USR1@65536", "seconds up to 65535"),
        ("signal", "X:USR1", 'such as "USR1@60"'),
        ("time", "35791395", "at most 68 years"),
        ("time", "9" * 5000, "at most 68 years"),
        ("time", "99999-00:00:00", "at most 68 years"),
        ("time", timedelta(days=36500), "at most 68 years"),
    ],
)
def test_an_error_names_the_given_and_the_expected_value(name: str, value: Any, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options.parse({name: value})
    assert str(caught.value).startswith(f"option {name}={value!r}: expected ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("signal", "USR1@", id="a lead without seconds"),
        pytest.param("chdir", "/data/\udcff", id="a surrogate: no script can hold it"),
        pytest.param("account", "a\x85b", id="NEL, a control character"),
    ],
)
def test_values_that_sbatch_rejects_are_rejected(name: str, value: Any) -> None:
    with pytest.raises(OptionError):
        Options.parse({name: value})


@pytest.mark.parametrize("value", [iter(["n1", "n2"]), {"n1": 1, "n2": 2}.keys()], ids=["iterator", "keys"])
def test_a_list_option_accepts_any_iterable(value: Any) -> None:
    assert Options.parse({"nodelist": value}).get("nodelist") == "n1,n2"


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=4000)))
def test_a_timedelta_is_rounded_up_to_a_second(value: timedelta) -> None:
    asked = seconds(duration(value))
    assert asked is not None
    assert 0 <= asked - value / timedelta(seconds=1) < 1


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_with_units_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, rest: int) -> None:
    asked = timedelta(days=days, hours=hours, minutes=minutes, seconds=rest + (not days + hours + minutes + rest))
    parts = zip((days, hours, minutes, asked.seconds % 60), ("d", "h", " min", " seconds"), strict=True)
    assert duration(" ".join(f"{number}{unit}" for number, unit in parts if number)) == duration(asked)


@given(st.sampled_from(["time", "mem"]), st.text("0123456789.,:- \tdhmsinGMKBand", max_size=12))
def test_what_text_becomes_is_slurms_form(name: str, text: str) -> None:
    try:
        parsed = Options.parse({name: text}).get(name)
    except OptionError:
        return
    assert Options.parse({name: parsed}).get(name) == parsed
    assert isinstance(parsed, str)
    assert re.fullmatch(r"[0-9:-]+" if name == "time" else r"[0-9]+[KMGTkmgt]?", parsed)


@pytest.fixture
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in a time zone two hours east of Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-2")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("two_hours_east")
def test_a_datetime_with_a_zone_is_converted_to_local_time() -> None:
    value = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
    assert Options.parse({"deadline": value}).get("deadline") == "2030-01-01T14:00:00"


@given(st.sampled_from(sorted(SBATCH)), st.integers() | TEXT | st.floats() | st.lists(st.integers()))
def test_any_value_is_accepted_or_raises_an_option_error(name: str, value: Any) -> None:
    try:
        Options.parse({name: value})
    except OptionError as error:
        assert f"option {name}=" in str(error)  # noqa: PT017 - either is right
