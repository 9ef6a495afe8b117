"""`slurm result`: print the result of a job, or its error."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.cli.parameters import timeout_option
from slurm.cli.wait import each_at_its_end
from slurm.sanitize.redaction import redacted
from slurm.tracking.exceptions import RemoteTraceback
from slurm.tracking.result_reader import ResultReader
from slurm.views.status import call_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.jobs.job import Job, JobArray

_READ = 64
"""The largest number of results that one round trip reads into memory."""


@click.command()
@key_argument
@timeout_option
@on_option
@json_option
def result(key: str, timeout: float | None, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Wait for the end of the job KEY, then print the repr of its result. For a map, print one line for each call.

    If a call failed, print its error to standard error; the exit status is 1. With --json, print the result as JSON;
    for a map, print a list with null for each call that failed.

    The result is unpickled. This runs code of the modules that it names. The modules are also searched for in the
    working directory.
    """
    show_results(job_of(key, cluster), timeout, as_json=as_json)


def show_results(job: Job[Any] | JobArray[Any], timeout: float | None, *, as_json: bool) -> None:
    """Wait for the end of a job, and print its result. Raises SystemExit if a call failed."""
    (job,) = each_at_its_end([job], timeout)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as `python` does, but at the end, to hide no installed module
    several, failed = job.is_array, False
    values: list[Any] = []
    with output.kept_for_json(as_json):
        for index, value, error in _ends(job):
            failed = failed or error is not None
            if error is not None:
                output.show(
                    redacted(f"{call_text(job.part.state, index)} {_short(error)}" if several else _full(error)),
                    err=True,
                )
            if as_json:
                values.append(_checked(value, job.part.state.name(index)))
            elif error is None:
                output.show(f"{call_text(job.part.state, index)} {_repr(value)}" if several else _repr(value))
    if as_json and (several or not failed):
        show_json(values if several else values[0])
    if failed:
        raise SystemExit(1)


def _ends(job: Job[Any] | JobArray[Any]) -> Iterator[tuple[int, Any, BaseException | None]]:
    """Yield the index of each call, with its result and None, or with None and its error."""
    place, state, indices = job.part
    for at in range(0, len(indices), _READ):
        some = indices[at : at + _READ]
        read = ResultReader(place.store, place.tracker, state, some, source=place.outcomes, logs=True)
        for index in some:
            yield index, *read.take(index)


def show_value(value: Any, name: str, *, as_json: bool) -> None:
    """Print the repr of the result of the job `name`, or its JSON. Raises ClickException if it has no JSON form."""
    if as_json:
        show_json(_checked(value, name))
    else:
        output.show(_repr(value))


def _checked(value: Any, name: str) -> Any:
    """Return the value if JSON can represent it. Raises ClickException otherwise."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise click.ClickException(
            f"the result of {name} is not JSON: {error}. Without --json, its repr is printed."
        ) from None
    return value


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the user's own `__repr__`
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def _full(error: BaseException) -> str:
    """The error as text, with its traceback on the node and its notes."""
    if isinstance(error.__cause__, RemoteTraceback):
        return "\n".join([error.__cause__.text.rstrip(), *getattr(error, "__notes__", ())])
    return "".join(traceback.format_exception_only(error)).rstrip()


def _short(error: BaseException) -> str:
    """The first line of the error, such as "ValueError: too small"."""
    text = traceback.format_exception_only(error)[0].removeprefix(f"{type(error).__module__}.")
    return text.partition("\n")[0]
