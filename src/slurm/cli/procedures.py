"""The commands of `slurm script` for procedures."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, on_option
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.parameters import Duration, job_options, json_or_text, options_of, timeout_option
from slurm.procedures.errors import ProcedureError
from slurm.procedures.script import Script
from slurm.procedures.service import ScriptExecutionService
from slurm.procedures.states import ProcedureState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slurm.procedures.states import ProcedureSummary
    from slurm.protocol.procedures import ScriptRecord


def _placed(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the cluster and the directory of procedures."""
    help_text = "The directory of the procedures there. Default: the root of the cluster."
    return on_option(click.option("--dir", "directory", metavar="DIR", help=help_text)(command))


_number = click.argument("number", type=click.IntRange(min=1))


def _service(cluster: str | None, directory: str | None, **keywords: Any) -> ScriptExecutionService:
    return ScriptExecutionService(directory, on=cluster_of(cluster), **keywords)


def _arguments(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a function, from words VALUE or NAME=VALUE."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = json_or_text(text)
        else:
            args.append(json_or_text(word))
    return args, kwargs


@click.command()
@click.argument("file")
@click.argument("arguments", nargs=-1)
@click.option("--git", "repository", metavar="URL", help="The git repository that FILE is in.")
@click.option("--branch", metavar="NAME", help="The branch of the repository; its HEAD is the default.")
@click.option("--tag", metavar="NAME", help="The tag of the repository.")
@click.option("--commit", metavar="SHA", help="The commit of the repository.")
@click.option("--wait", is_flag=True, help="Wait until the procedure is READY.")
@timeout_option
@click.option("--exclusive", metavar="SLOT", help="A slot that only one running function has at a time.")
@click.option("--abort", type=click.Path(exists=True, dir_okay=False), help="A script that runs after a stop.")
@click.option("--grace", type=Duration(), default="2", metavar="TIME", help="The time between SIGTERM and SIGKILL.")
@click.option(
    "--idle",
    type=Duration(),
    default="1h",
    metavar="TIME",
    help="End the procedure after this time in the state READY.",
)
@job_options
@_placed
@json_option
def prepare(  # noqa: PLR0913, PLR0917 - click's way
    file: str,
    arguments: tuple[str, ...],
    repository: str | None,
    branch: str | None,
    tag: str | None,
    commit: str | None,
    wait: bool,  # noqa: FBT001
    timeout: float | None,
    exclusive: str | None,
    abort: str | None,
    grace: float,
    idle: float,
    mem: str | None,
    time: str | None,
    given: tuple[str, ...],
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Prepare the script FILE: load it in a job, and call its init with ARGUMENTS.

    An argument is VALUE or NAME=VALUE. A value is JSON; any other text is taken as a string. Prints the number of the
    procedure. With --git, if the repository has a project, an environment with this project is built.
    """
    service = _service(
        cluster,
        directory,
        exclusive=exclusive,
        abort=Script.file(abort) if abort else None,
        grace=grace,
        idle_timeout=idle,
        options=options_of(mem, time, given),
    )
    if repository is not None:
        script = Script.git(repository, file, branch=branch, tag=tag, commit=commit)
    elif branch or tag or commit:
        raise click.UsageError("--branch, --tag and --commit are those of a repository: name it with --git URL")
    else:
        script = Script.file(file)
    args, kwargs = _arguments(arguments)
    found = service.prepare(script, *args, **kwargs)
    if as_json:
        show_json({"number": found.number, "key": found.key})
    else:
        output.show(f"{found.number}")
    if wait:
        found.wait("READY", timeout)


@click.command()
@_number
@click.argument("function", default="main")
@click.argument("arguments", nargs=-1)
@click.option("--force", is_flag=True, help="If the procedure is not READY yet, call the function as soon as it is.")
@click.option("--wait", is_flag=True, help="Wait until the function has returned, and print its value.")
@_placed
@json_option
def start(  # noqa: PLR0917 - click's way
    number: int,
    function: str,
    arguments: tuple[str, ...],
    force: bool,  # noqa: FBT001
    wait: bool,  # noqa: FBT001
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Call FUNCTION, by default main, of procedure NUMBER, with ARGUMENTS: VALUE or NAME=VALUE.

    The procedure ends when main has returned. After another function it is READY again.
    """
    found = _service(cluster, directory).procedure(number)
    args, kwargs = _arguments(arguments)
    command = found.start(function, *args, force_start=force, **kwargs)
    value = found.value_of(command) if wait else None
    if as_json:
        show_json({"number": number, "command": command, **({"value": value} if wait else {})})
    elif wait:
        output.show(json.dumps(value))


@click.command()
@_number
@click.option("--abort/--no-abort", default=None, help="Whether the abort script runs.")
@_placed
@json_option
def stop(
    number: int,
    abort: bool | None,  # noqa: FBT001
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """End procedure NUMBER: SIGTERM, then SIGKILL, until none of its processes is left. Prints its state."""
    state = _service(cluster, directory).procedure(number).stop(abort=abort)
    if as_json:
        show_json({"number": number, "state": f"{state}"})
    else:
        output.show(f"{state}")
    if not state.ended:
        raise ProcedureError(f"the end of procedure {number} is not confirmed: see slurm script show {number}")


@click.command("list")
@click.option("--state", "-s", metavar="STATE", help="Only procedures in this state.")
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of procedures."
)
@_placed
@json_option
def list_procedures(
    state: str | None,
    limit: int,
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List procedures, newest first."""
    wanted = None if state is None else ProcedureState.of(state)
    service = _service(cluster, directory)
    found = service.summarise(state=wanted, limit=limit)
    if as_json:
        show_json([each.facts() for each in found])
    elif found:
        rows = [
            [f"{s.id}", f"{s.state}", s.pending or "-", _when(s.history.process_states[-1][1]), s.script.path, s.by]
            for s in found
        ]
        names = ["NUMBER", "STATE", "ASKED", "SINCE", "SCRIPT", "BY"]
        if any(s.aborts for s in found):
            numbers = {each.key: each.number for each in service.procedures()}
            names.append("ABORT SCRIPT OF")
            for row, s in zip(rows, found, strict=True):
                row.append(f"{numbers.get(s.aborts, s.aborts)}, {_ran(s)}" if s.aborts else "-")
        show_table([names, *rows])
    else:
        output.show_prose(["there are no procedures" + (f" in state {wanted}" if wanted else "")], err=True)


@click.command()
@_number
@_placed
@json_option
def show(number: int, cluster: str | None, directory: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Show the states of procedure NUMBER with their times, its calls, its job, and the path of its log."""
    service = _service(cluster, directory)
    found = service.procedure(number)
    summary = found.look()
    if as_json:
        show_json({**summary.facts(), "log": found.log_path})
        return
    why = f" ({summary.reason})" if summary.reason else ""
    rows = [("procedure", f"{number}"), ("state", f"{summary.state}{why}")]
    rows += [("requested", summary.pending)] if summary.pending else []
    rows += [("limit", _when(summary.ends_at))] if summary.ends_at else []
    if summary.can_abort and found.abort:
        abort = found.abort.look()
        rows += [("abort", f"procedure {abort.id} has the abort script: {abort.state}, {_ran(abort)}")]
    if summary.aborts:
        of = next((f"{each.number}" for each in service.procedures() if each.key == summary.aborts), summary.aborts)
        rows += [("abort", f"this is the abort script of procedure {of}: {_ran(summary)}")]
    rows += [("script", _origin(summary.script)), ("by", summary.by), ("job", summary.key), ("log", found.log_path)]
    rows += [
        ("call", f"{_when(c.time)}  {c.fn}({_shown(c.fn_args.args, c.fn_args.kwargs)})") for c in summary.script_args
    ]
    rows += [("history", f"{_when(when)}  {state}") for state, when in summary.history.process_states]
    show_table(rows)
    if summary.history.stacktrace:
        output.show(summary.history.stacktrace.rstrip())


@click.command()
@_number
@click.option("--follow", "-f", is_flag=True, help="Also print new output, until the procedure has ended.")
@click.option(
    "--after", type=click.IntRange(min=0), default=0, metavar="OFFSET", help="Print only the events after this offset."
)
@_placed
@json_option
def events(
    number: int,
    follow: bool,  # noqa: FBT001
    after: int,
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the events of procedure NUMBER as lines of JSON: states, calls, messages, reports and errors.

    With --json, print a list of the events.
    """
    _refuse_both(follow=follow, as_json=as_json)
    found = _service(cluster, directory).procedure(number).events(follow=follow, after=after)
    if as_json:
        show_json(list(found))
    else:
        for event in found:
            output.show(json.dumps(event))


@click.command()
@_number
@click.option("--follow", "-f", is_flag=True, help="Also print new output, until the procedure has ended.")
@_placed
@json_option
def logs(
    number: int,
    follow: bool,  # noqa: FBT001
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the output of the script of procedure NUMBER."""
    _refuse_both(follow=follow, as_json=as_json)
    found = _service(cluster, directory).procedure(number)
    if as_json:
        show_json({"number": number, "path": found.log_path, "text": found.job.logs()})
    elif follow:
        for text in found.job.logs(follow=True):
            output.show(text, nl=False)
    else:
        output.show(found.job.logs(), nl=False)


@click.command()
@_number
@click.argument("message")
@_placed
@json_option
def send(number: int, message: str, cluster: str | None, directory: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Send MESSAGE, JSON or text, to the script of procedure NUMBER, which reads it by `procedure.messages()`."""
    value = json_or_text(message)
    _service(cluster, directory).procedure(number).send(value)
    if as_json:
        show_json({"number": number, "message": value})


@click.command()
@click.argument("topic", required=False)
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@_placed
@json_option
def publish(
    topic: str | None,
    values: tuple[str, ...],
    cluster: str | None,
    directory: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Set the values of TOPIC for all scripts, such as: slurm script publish operator.ready enabled=false

    Without TOPIC, print all topics and their values as JSON.
    """
    service = _service(cluster, directory)
    if topic is not None:
        args, kwargs = _arguments(values)
        if args or not kwargs:
            raise click.UsageError(f"write values as NAME=VALUE: slurm script publish {topic} enabled=false")
        service.publish(topic, **kwargs)
    if topic is None or as_json:
        show_json(service.overrides())


@click.command()
@click.argument("slot")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_placed
@json_option
def release(slot: str, yes: bool, cluster: str | None, directory: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Free SLOT, whose holder can no longer say that it has ended, for example because its node was lost.

    The holder may still run on that node. Check this before you free the slot.
    """
    if not yes:
        click.confirm(f"Whoever has {slot} may still run. Free it?", abort=True, err=True)
    holder = _service(cluster, directory).release(slot)
    if as_json:
        show_json({"slot": slot, "holder": holder})
    else:
        output.show(f"{slot} was held by {holder}" if holder else f"nobody has {slot}")


def _refuse_both(*, follow: bool, as_json: bool) -> None:
    if follow and as_json:
        raise click.UsageError("--follow has no --json: a list ends. Without --follow, --json prints what is there.")


def _origin(script: ScriptRecord) -> str:
    """The origin of a script, as text for people."""
    return (
        f"{script.path}, {script.asked} of {script.repository}: {script.digest}" if script.repository else script.path
    )


def _ran(abort: ProcedureSummary) -> str:
    """Whether an abort script has run, as text."""
    if len(abort.script_args) == 1:  # only init
        return "did not run" if abort.state.ended else "has not run"
    return "ran" if abort.state.ended else "runs"


def _when(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else "-"


def _shown(args: Iterable[Any], kwargs: Any) -> str:
    return ", ".join([*map(json.dumps, args), *(f"{name}={json.dumps(value)}" for name, value in kwargs.items())])
