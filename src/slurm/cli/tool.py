"""`slurm tool`: list tools, and prepare their runs. The commands on a run are in `tool_run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.lazy_group import LazyGroup
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.target import load
from slurm.cli.tool_status import exits
from slurm.tools.listing import list_runs, list_states
from slurm.tools.prepare import draft
from slurm.tools.registry import find_tool, tools
from slurm.tools.templates import list_templates
from slurm.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.tools.prepare import Draft

_RUN = "slurm.cli.tool_run"
COMMANDS = {
    "list": ("slurm.cli.tool:list_tools", "List the tools that are installed."),
    "show": ("slurm.cli.tool:show", "Show what a tool needs, and its stages."),
    "templates": ("slurm.cli.tool:templates", "List the templates of a tool."),
    "runs": ("slurm.cli.tool:runs", "List the runs below a directory."),
    "prepare": ("slurm.cli.tool:prepare", "Write the directory of a run. Submits nothing."),
    "submit": (f"{_RUN}:submit", "Submit the stages of a run."),
    "status": (f"{_RUN}:status", "Show the states of the stages of a run."),
    "logs": (f"{_RUN}:logs", "Print the output of the programs of a run."),
    "verify": (f"{_RUN}:verify", "Check what was prepared, and the products."),
    "resume": (f"{_RUN}:resume", "Submit failed stages again, with the files they have left."),
    "fetch": (f"{_RUN}:fetch", "Copy the files of stages to the run directory."),
    "cleanup": (f"{_RUN}:cleanup", "Move what is no output to a trash."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def tool() -> None:
    """Prepare, submit and check runs of external tools.

    NAME is an installed tool, or a class of your own, as FILE.py:CLASS. DIR is a run directory.

    Exit status: 0 success, 1 a stage has failed or another problem occurred, 2 wrong usage or already submitted, 3 not
    prepared or not found, 4 the scheduler rejected a job, 130 interrupted.
    """


def tool_of(name: str) -> type[Tool]:
    """The tool with a name, or the class MODULE:CLASS. Raises ToolError, UsageError."""
    if ":" not in name:
        return find_tool(name)
    found = load(name)
    if not (isinstance(found, type) and issubclass(found, Tool)):
        raise click.UsageError(f"{name} is no tool: expected a subclass of slurm.tools.Tool")
    return found


@click.command("list")
@json_option
@exits
def list_tools(as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the tools that are installed, with the stages of each."""
    found = {name: (_about(each), list(each.order)) for name, each in tools().items()}
    if as_json:
        show_json([{"name": name, "about": about, "stages": stages} for name, (about, stages) in found.items()])
    elif found:
        show_table([(name, ", ".join(stages), about) for name, (about, stages) in found.items()])
    else:
        output.show("there are no tools")


@click.command()
@click.argument("name")
@json_option
@exits
def show(name: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show what the tool NAME needs: its taxonomy, its templates, and the commands of its stages."""
    found = tool_of(name)
    stages = [
        {
            "stage": each,
            "command": found.stages[each].command,
            "after": list(found.stages[each].upstreams(found.stages)),
            "products": found.stages[each].pattern_list,
            "options": {option: str(value) for option, value in found.stages[each].options.items()},
        }
        for each in found.order
    ]
    facts = {
        "name": found.name,
        "about": _about(found),
        "taxonomy": list(found.taxonomy),
        "config": found.config,
        "templates": list_templates(found.templates_directory()),
        "stages": stages,
    }
    if as_json:
        show_json(facts)
        return
    rows = [(key, _text(value)) for key, value in facts.items() if key != "stages"]
    rows += [(f"stage {stage['stage']}", _stage_text(stage)) for stage in stages]
    show_table([(key, text) for key, text in rows if text])


def _stage_text(stage: Mapping[str, Any]) -> str:
    lines = [f"{key}: {_text(stage[key])}" for key in ("command", "after", "products") if stage[key]]
    options = ", ".join(f"{key}={value}" for key, value in stage["options"].items())
    return "\n".join([*lines, *([options] if options else [])])


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")


@click.command()
@click.argument("name")
@json_option
@exits
def templates(name: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the templates of the tool NAME, with the directory of each."""
    directory = tool_of(name).templates_directory()
    found = [(each, str(directory / each)) for each in list_templates(directory)]
    if as_json:
        show_json([{"name": each, "path": path} for each, path in found])
    elif found:
        show_table(found)
    else:
        output.show(f"{name} has no templates in {directory}")


@click.command()
@click.argument("root", default=".", metavar="[DIR]")
@click.option("--no-states", is_flag=True, help="Do not query clusters for the states of stages.")
@json_option
@exits
def runs(root: str, no_states: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the runs below DIR, by default the working directory, with the states of their stages."""
    found = list(list_runs(root))
    states = {} if no_states else list_states(found)
    rows: list[dict[str, Any]] = [
        {
            "directory": str(each.directory),
            "tool": each.manifest.tool if each.manifest else None,
            "run_id": each.manifest.run_id if each.manifest else None,
            "created_utc": each.manifest.created_utc if each.manifest else None,
            "submissions": each.submissions,
            "stages": states.get(each.directory, {}),
            "problem": each.problem or None,
        }
        for each in found
    ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table([(f"{row['directory']}", f"{row['tool'] or ''}", row["problem"] or _states(row)) for row in rows])
    else:
        output.show(f"there are no runs below {root}")


def _states(row: Mapping[str, Any]) -> str:
    """The states of the stages of a run in one line."""
    states = ", ".join(f"{stage} {state}" for stage, state in row["stages"].items())
    return states or (f"{row['submissions']} submissions" if row["submissions"] else "not submitted")


@click.command()
@click.argument("name")
@click.argument("run_id")
@click.argument("taxonomy", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--template", metavar="NAME|DIR/", help="One of the tool's templates, or a directory with a / in it.")
@click.option("--override", "-o", multiple=True, metavar="KEY=VALUE", help="A value of the configuration.")
@click.option("--root", default=".", metavar="DIR", help="The directory that holds the runs.")
@click.option("--on", metavar="CLUSTER", help="The cluster: a name in the Slurmfile, or a URL.")
@click.option("--unique", is_flag=True, help="Use a new directory below, named by the time.")
@click.option("--dry-run", is_flag=True, help="Show what would be written. Writes nothing.")
@json_option
@exits
def prepare(  # noqa: PLR0913, PLR0917 - click's way
    name: str,
    run_id: str,
    taxonomy: Sequence[str],
    template: str | None,
    override: Sequence[str],
    root: str,
    on: str | None,
    unique: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the directory of a run of the tool NAME, and print its path. Submits nothing.

    The run belongs to the cluster of --on, or else to the default cluster, which is printed to standard error.

    KEY=VALUE names the folders of the tool's taxonomy: `slurm tool prepare pyuvsim ref1 telescope=HERA
    observation_id=17 --template small -o freq.Nfreqs=4`. The VALUE of --override is YAML: 1e-3, [1, 2], null, or text.
    """
    found = draft(
        tool_of(name),
        run_id,
        dict(_pair(each, "KEY=VALUE") for each in taxonomy),
        template=template,
        override={key: _value(key, text) for key, text in (_pair(each, "--override") for each in override)},
        root=root,
        on=on,
        unique=unique,
    )
    if dry_run:
        _show_draft(found, as_json=as_json)
    else:
        run = found.write()
        facts = {"directory": str(run.directory), "cluster": found.manifest.url}
        show_json(facts) if as_json else output.show(str(run.directory))
    if not as_json:
        which = on or f"{found.manifest.url}, the default; --on CLUSTER names another one"
        output.show(f"cluster: {which}", err=True)


def _show_draft(found: Draft, *, as_json: bool) -> None:
    if as_json:
        sizes = {file: len(content) for file, content in found.files.items()}
        show_json({"directory": str(found.run_dir), "cluster": found.manifest.url, "files": sizes})
        return
    output.show(f"would write {found.run_dir}:")
    show_table([(f"  {file}", f"{len(content)} bytes") for file, content in found.files.items()])
    for file, content in found.files.items():
        if file.startswith("stages/"):
            output.show(f"\n--- {file}\n{content.decode()}", nl=False)


def _pair(text: str, what: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{what}: {text!r} is not KEY=VALUE")
    return key, value


def _value(key: str, text: str) -> Any:
    """The value of an override, parsed as YAML 1.2. Raises UsageError."""
    from slurm.sweeps.yaml_values import read  # noqa: PLC0415 - it imports yaml

    found = read(text)
    if found.problems:
        raise click.UsageError(f"--override {key}: {found.problems[0].message}")
    return found.value


def _about(found: type[Tool]) -> str:
    return (found.__doc__ or "").strip().partition("\n")[0]
