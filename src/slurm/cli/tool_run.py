"""`slurm tool` on a run directory: submit its stages, and show their states."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.tool import tool_of
from slurm.cli.tool_status import FAILED, exits
from slurm.protocol.files import is_private
from slurm.tools.declaration import importing
from slurm.tools.manifest import load_manifest
from slurm.tools.registry import open_run
from slurm.tools.run_directory import MANIFEST, validate_run_dir
from slurm.tools.verify import brief
from slurm.views.status import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurm.tools.cleanup import Verb
    from slurm.tools.run import Run
    from slurm.tools.tool import Tool

ALL = "all"


def _of_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument DIR and the option --tool, which open a run."""
    named = click.option("--tool", "name", metavar="NAME", help="The tool, if it is not the tool of `prepare`.")
    return click.argument("directory", metavar="DIR")(named(exits(command)))


def _opened(directory: str, name: str | None) -> Run:
    return open_run(directory, tool_of(name) if name else _declared(directory))


def _declared(directory: str) -> type[Tool] | None:
    """The class with which a run was prepared, if it is in a file or module; None for an installed tool.

    Raises UsageError if another user could have written the manifest or the file, because the file is imported.
    """
    run_dir = validate_run_dir(directory)
    name = load_manifest(run_dir).declared_in
    if name is None:
        return None
    file = name.rpartition(":")[0]
    for path in (str(run_dir), f"{run_dir}/{MANIFEST}", *([file] if file.endswith(".py") else [])):
        if os.path.exists(path) and not is_private(os.stat(path)):
            raise click.UsageError(f"{path} is writable by others, so {name} is not imported: write --tool {name}")
    with importing(name):
        try:
            return tool_of(name)
        except click.ClickException as error:
            raise click.UsageError(
                f"{run_dir} is a run of {name}, which cannot be imported: {error.message}\nIf it is elsewhere now, "
                "write --tool FILE.py:CLASS"
            ) from None


def stages_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments STAGE and the option --stage, which have the same meaning."""

    @functools.wraps(command)
    def run(*args: Any, named: Sequence[str], stages: Sequence[str], **kwargs: Any) -> None:
        command(*args, stages=[*named, *stages] or [ALL], **kwargs)

    option = click.option("--stage", "-s", "stages", multiple=True, metavar="STAGE|all", help="A stage; repeatable.")
    return click.argument("named", nargs=-1, metavar="[STAGE]...")(option(run))


def _chosen(stages: Sequence[str]) -> Sequence[str]:
    return () if ALL in stages else stages


_submits = (
    click.option("--on", metavar="CLUSTER", help="The cluster that the run was prepared for."),
    click.option(
        "--depend-afterok", multiple=True, metavar="ID", help="Wait for a job of another program; repeatable."
    ),
    click.option("--dry-run", is_flag=True, help="Show what would be submitted. Writes nothing."),
    click.option("--script", is_flag=True, help="With --dry-run: also show the scripts."),
    json_option,
)


def _that_submits(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of commands that submit stages."""
    for option in reversed((stages_option, *_submits)):
        command = option(command)
    return _of_a_run(command)


@click.command()
@_that_submits
@click.option("--again", is_flag=True, help="Submit stages again that were submitted before.")
def submit(  # noqa: PLR0913, PLR0917 - click's way
    directory: str,
    name: str | None,
    stages: Sequence[str],
    on: str | None,
    depend_afterok: Sequence[str],
    again: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    script: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Submit stages of the run DIR, by default all, and print the key of each job. Does not wait."""
    how = {"on": on, "depend_afterok": depend_afterok, "again": again}
    _submit(_opened(directory, name), stages, dry_run, as_json, script=script, **how)


@click.command()
@_that_submits
def resume(  # noqa: PLR0917 - click's way
    directory: str,
    name: str | None,
    stages: Sequence[str],
    on: str | None,
    depend_afterok: Sequence[str],
    dry_run: bool,  # noqa: FBT001
    script: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Submit again the resumable stages of the run DIR that ended without success, with the files that they left.

    By default, all resumable stages that have failed. The stages that could not run after them are submitted again.
    """
    how = {"on": on, "depend_afterok": depend_afterok, "resume": True}
    _submit(_opened(directory, name), stages, dry_run, as_json, script=script, **how)


def _submit(
    run: Run,
    stages: Sequence[str],
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    *,
    script: bool,
    **how: Any,
) -> None:
    if script and not dry_run:
        raise click.UsageError("--script goes with --dry-run.")
    if dry_run:
        plans = run.plan(*_chosen(stages), **how)
        if as_json:
            show_json([
                {"stage": stage, "program": plan.program, "commands": list(plan.commands), "script": plan.script}
                for stage, plan in plans.items()
            ])  # fmt: skip
            return
        for stage, plan in plans.items():
            before = run.tool.stages[stage].upstreams(run.tool.stages)
            after = f", after {', '.join(before)}" if before else ""
            output.show(f"=== stage {stage}{after}\n{plan if script else plan.summary}\n")
        if not script:
            output.show("nothing was submitted; --script also shows the scripts", err=True)
        return
    jobs = run.submit(*_chosen(stages), **how)
    if as_json:
        show_json([{"stage": stage, "key": job.key, "job_id": job.job_id} for stage, job in jobs.items()])
    else:
        show_table([(stage, job.key, f"id {job.job_id}") for stage, job in jobs.items()])


@click.command()
@_of_a_run
@json_option
def status(directory: str, name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the state of each stage of the run DIR. The exit status is 1 if one has failed."""
    run = _opened(directory, name)
    jobs = run.jobs
    found = run.status()
    rows: list[dict[str, Any]] = [
        {
            "stage": stage,
            "state": each.state.value if each else None,
            "key": jobs[stage].key if each else None,
            "job_id": jobs[stage].job_id if each else None,
            "error": (brief(each) or None) if each else None,
        }
        for stage, each in found.items()
    ]
    if as_json:
        show_json(rows)
    else:
        show_table([
            (row["stage"], row["state"] or "not submitted", row["key"] or "", row["error"] or "") for row in rows
        ])  # fmt: skip
    if any(each and failed(each) for each in found.values()):
        raise SystemExit(FAILED)


@click.command()
@_of_a_run
@stages_option
@click.option("--follow", "-f", is_flag=True, help="Also print new output, until the job has ended.")
@json_option
def logs(
    directory: str,
    name: str | None,
    stages: Sequence[str],
    follow: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the output of the program of each stage of the run DIR that was submitted."""
    run = _opened(directory, name)
    chosen = list(_chosen(stages)) or [stage for stage, each in run.status().items() if each]
    if follow and (as_json or len(chosen) != 1):
        raise click.UsageError("--follow prints the output of one stage: add --stage, and leave out --json")
    if follow:
        for text in run.job(chosen[0]).logs(follow=True):
            output.show(text, nl=False)
    elif as_json:
        show_json([{"stage": stage, "text": run.logs(stage)} for stage in chosen])
    else:
        for stage in chosen:
            output.show(f"==> {stage} <==" if len(chosen) > 1 else "", nl=len(chosen) > 1)
            output.show(run.logs(stage), nl=False)


@click.command()
@_of_a_run
@stages_option
@click.option("--checksums", is_flag=True, help="Also compare the SHA-256 of products.")
@json_option
def verify(
    directory: str,
    name: str | None,
    stages: Sequence[str],
    checksums: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Check the prepared files of the run DIR, and the products of its stages. Exit status 0 means no problem."""
    found = _opened(directory, name).verify(*_chosen(stages), checksums=checksums)
    if as_json:
        show_json([{"stage": each.stage, "health": each.word, "problem": each.problem or None} for each in found])
    else:
        show_table([(each.stage or "prepared", each.word, each.problem) for each in found])
    if not all(each.ok for each in found):
        raise SystemExit(FAILED)


@click.command()
@_of_a_run
@stages_option
@json_option
def fetch(directory: str, name: str | None, stages: Sequence[str], as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Copy the files of the last job of each stage to attempts/ in the run DIR."""
    run = _opened(directory, name)
    chosen = list(_chosen(stages)) or [stage for stage, each in run.status().items() if each]
    paths = [str(path) for stage in chosen for path in run.fetch(stage)]
    show_json(paths) if as_json else output.show("\n".join(paths))


@click.command()
@_of_a_run
@stages_option
@click.option("--restore", is_flag=True, help="Move the files in the trash back.")
@click.option("--empty", is_flag=True, help="Remove the files in the trash.")
@click.option("--dry-run", is_flag=True, help="Only list the files that would be moved.")
@json_option
def cleanup(  # noqa: PLR0917 - click's way
    directory: str,
    name: str | None,
    stages: Sequence[str],
    restore: bool,  # noqa: FBT001
    empty: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Move the files of attempts that are not the output of a stage of the run DIR to a trash beside them."""
    if restore and empty:
        raise click.UsageError("--restore and --empty exclude each other.")
    run = _opened(directory, name)
    verb: Verb = "restore" if restore else "empty" if empty else "trash"
    found = run.cleanup(*_chosen(stages), verb=verb, dry_run=dry_run)
    if as_json:
        show_json([each._asdict() for each in found])
        return
    show_table([(f"{each.stage}.{each.attempt}", f"{each.bytes} bytes", each.directory) for each in found])
    would = "would be " if dry_run else ""
    back = "" if dry_run else "; --restore brings them back"
    what = would + {"restore": "restored", "empty": "removed", "trash": f"moved to the trash{back}"}[verb]
    output.show(f"{len(found)} attempts {what}" if found else "there is nothing to do", err=True)
