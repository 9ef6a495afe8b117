"""`slurm script`: print the batch script of a job; and a group of commands for procedures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.lazy_group import LazyGroup
from slurm.cli.output import json_option, show_json
from slurm.cli.synonyms import meant
from slurm.errors import NoSuchJob
from slurm.protocol import SCRIPT

if TYPE_CHECKING:
    from slurm.jobs.job import Job, JobArray

_MODULE = "slurm.cli.procedures"
COMMANDS = {
    "prepare": (f"{_MODULE}:prepare", "Prepare a script: load it in a job, and call its init."),
    "start": (f"{_MODULE}:start", "Call a function of a script that is prepared."),
    "stop": (f"{_MODULE}:stop", "End a script, and all that it has started."),
    "list": (f"{_MODULE}:list_procedures", "List procedures, newest first."),
    "show": (f"{_MODULE}:show", "Show the states and calls of a procedure."),
    "events": (f"{_MODULE}:events", "Print the events of a procedure, as lines of JSON."),
    "logs": (f"{_MODULE}:logs", "Print what the script of a procedure prints."),
    "send": (f"{_MODULE}:send", "Send a message to a script that runs."),
    "publish": (f"{_MODULE}:publish", "Set what an operator wants, for all scripts."),
    "release": (f"{_MODULE}:release", "Free a slot whose holder cannot."),
    "batch": ("slurm.cli.script:batch", "Print the batch script of a job."),
}


class _ScriptGroup(LazyGroup):
    """The commands for procedures. Any other first word is the KEY of a job; its batch script is printed."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or the command that takes a KEY."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, "batch")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments. For `slurm script KEY`, the arguments include the first word, KEY."""
        name, *rest = args
        return name, self.get_command(ctx, name), rest if name in self.table else args


@click.group(cls=_ScriptGroup, table=COMMANDS, context_settings={"ignore_unknown_options": True})
def script() -> None:
    """Prepare, start and stop scripts as procedures. Experimental.

    NUMBER is the number of a procedure, as `slurm script list` shows it.

    `slurm script KEY` is short for `slurm script batch KEY`.
    """


def _job_of(key: str, cluster: str | None) -> Job[Any] | JobArray[Any]:
    """Return the job. If there is none, and the key is similar to the name of a command, suggest this command."""
    try:
        return job_of(key, cluster)
    except NoSuchJob as error:
        if key != "last" and "did you mean" in (suggested := meant(key, "script", COMMANDS)):
            raise click.UsageError(f"there is no command {key!r}{suggested} As the name of a job: {error}") from None
        raise


@click.command()
@key_argument
@on_option
@json_option
def batch(key: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Print the batch script with which the job KEY was submitted. All calls of a map have the same script."""
    place, state, _ = _job_of(key, cluster).part
    path = f"{place.store.directory(state.key)}/{SCRIPT}"
    data = place.transport.get([path], private=True).get(path)
    if data is None:
        raise NoSuchJob(f"{path} does not exist: the submission was interrupted, or the file was removed")
    if as_json:
        show_json({"key": state.key, "path": path, "script": data.decode(errors="replace")})
    else:
        output.show_bytes([data])
