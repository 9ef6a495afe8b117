"""Parameters: types of option values that click does not have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from slurm.protocol.states import JobState
from slurm.sanitize import moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    OfFloat = click.ParamType[float]
    OfState = click.ParamType[JobState]
else:
    OfFloat = OfState = click.ParamType  # click 8.1 does not allow subscripting it

_WORDS = ("true", "false", "null")


class Duration(OfFloat):
    """A time in seconds: a number, or a number with a unit, such as "90", "30m" or "2d"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; fail for a text of another form."""
        if isinstance(value, float):  # click converts a value twice
            return value
        try:
            return moments.seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(OfFloat):
    """A time in the past, in seconds since the epoch: how long ago, such as "2d", or a date, such as "2026-11-21"."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time; fail for a text of another form."""
        if isinstance(value, float):
            return value
        try:
            return moments.past(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class State(OfState):
    """A state of jobs: Slurm's long or short name."""

    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JobState:
        """Return the state; fail for another word."""
        try:
            return value if isinstance(value, JobState) else JobState.named(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


timeout_option = click.option(
    "--timeout", type=Duration(), metavar="TIME", help="Wait for at most this time: seconds, or 30m, 2h, 1d."
)


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a new job to a command: its parameters `mem`, `time` and `given`, for `options_of`."""
    help_of_others = "Another option of the new job. Repeatable."
    decorators = (
        click.option("--mem", metavar="SIZE", help="The memory of the new job, such as 8G."),
        click.option("--time", metavar="LIMIT", help="The time limit of the new job, such as 2:00:00."),
        click.option("--option", "-O", "given", multiple=True, metavar="NAME=VALUE", help=help_of_others),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def json_or_text(text: str) -> Any:
    """Return the JSON value of a text, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def options_of(mem: str | None, time: str | None, given: Iterable[str]) -> dict[str, Any]:
    """The options of a new job. `given` has options as NAME=VALUE. Raises UsageError for another form."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option {text}: write NAME=VALUE, such as partition=long or exclusive=true.")
        read = json_or_text(value) if value in _WORDS or value.startswith(("{", "[")) else value
        found[name.replace("-", "_")] = read
    return found | {name: value for name, value in (("mem", mem), ("time", time)) if value is not None}
