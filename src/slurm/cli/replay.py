"""`slurm replay`: make a call again in this process, to see its error or to debug it."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option
from slurm.cli.result import show_value
from slurm.errors import SlurmError
from slurm.jobs.job import JobArray
from slurm.sanitize.redaction import redacted
from slurm.serialization.installed import in_installed_directory
from slurm.views.overview import overviews

if TYPE_CHECKING:
    from types import TracebackType

    from slurm.jobs.job import Job
    from slurm.jobs.replay import Replay

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@click.command(short_help="Make a call again on this machine, to debug it.")
@key_argument
@click.argument("index", required=False, type=click.IntRange(min=0))
@click.option("--pdb", is_flag=True, help="If the call raises an exception, open the debugger there.")
@on_option
@json_option
def replay(key: str, index: int | None, pdb: bool, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Make the call KEY again in this process, with the same arguments, and print its result or its traceback.

    For a map, make the call INDEX, by default the first call that failed. The variables of the option `env` are set,
    and the modules of the working directory are found. The task has a new directory for its files. Nothing of the
    job changes.

    The arguments are unpickled, and the function is run, on this machine.
    """
    from slurm.jobs.replay import NotReplayable, replay_of  # noqa: PLC0415 - it imports the runner

    job = _chosen(job_of(key, cluster), index)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        with output.kept_for_json(as_json):
            call = replay_of(job.part)
    except NotReplayable as error:
        raise click.ClickException(f"{job.key}: {error}") from None
    except (SlurmError, click.ClickException):
        raise
    except Exception as error:  # noqa: BLE001 - the user's own modules
        name = f"{type(error).__name__}: {error}"
        raise click.ClickException(redacted(f"{job.key} cannot be loaded here: {name}")) from None
    differs = "; ".join(call.differences) or "no known difference to the job"
    output.show_prose([f"replay of {job.key} by Python {platform.python_version()}: {differs}"], err=True)
    with output.kept_for_json(as_json):
        value = _made(call, pdb=pdb)
    show_value(value, job.key, as_json=as_json)


def _chosen(job: Job[Any] | JobArray[Any], index: int | None) -> Job[Any]:
    """The call to replay. Raises UsageError if there is no such call."""
    if not isinstance(job, JobArray):
        if index:
            raise click.UsageError(f"{job.key} is a single call: leave out the INDEX {index}.")
        return job
    if index is None:
        index = next(iter(overviews([job.part])[0].failures()), None)
        if index is None:
            raise click.UsageError(f"no call of {job.key} has failed: name one, such as slurm replay {job.key} 0")
    if index >= len(job):
        raise click.UsageError(f"{job.key} has {len(job)} calls, from 0: there is no {index}.")
    return job[index]


def _made(call: Replay, *, pdb: bool) -> Any:
    """The result of the call. If it fails, shows the traceback, opens the debugger if `pdb`, and raises SystemExit."""
    try:
        return call.make()
    except KeyboardInterrupt:
        raise SystemExit(output.INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001 - the user's own function
        trace = _of_the_call(error.__traceback__)
        output.show(redacted("".join(traceback.format_exception(type(error), error, trace)).rstrip()), err=True)
        if pdb and trace:
            _debug(trace)
    raise SystemExit(1)


def _of_the_call(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this package before the user's function."""
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    return trace


def _debug(trace: TracebackType) -> None:
    """Open the debugger in the innermost frame of the user's own code."""
    from pdb import Pdb  # noqa: PLC0415 - only this needs it

    files = []
    each: TracebackType | None = trace
    while each:
        files.append(each.tb_frame.f_code.co_filename)
        each = each.tb_next
    own = [at for at, file in enumerate(files) if not in_installed_directory(os.path.dirname(file))]
    debugger = Pdb()
    up = len(files) - 1 - own[-1] if own else 0
    debugger.cmdqueue += [f"up {up}"] if up else []
    debugger.reset()
    debugger.interaction(None, trace)
