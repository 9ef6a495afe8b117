"""`slurm config`: write, check and show a Slurmfile, and trust a Slurmfile of another user."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm import slurmfile
from slurm.cli import output
from slurm.cli.cluster_argument import cluster_argument, on_option, slurmfile_of
from slurm.cli.doctor import show_finding
from slurm.cli.help_text import Group
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.parameters import options_of
from slurm.clusters.cluster import Cluster
from slurm.clusters.named import DEFAULT
from slurm.doctor import examine
from slurm.doctor.diagnosis import Level
from slurm.errors import ConfigurationError, SlurmfileError
from slurm.slurmfile import DEFAULTS, Setting, trust
from slurm.slurmfile.draft import draft
from slurm.slurmfile.sources import NAME, Source, named, source
from slurm.tasks.settings import Settings
from slurm.url import ClusterURL, why_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.slurmfile import ClusterEntry
    from slurm.slurmfile.reader import Problem


@click.group(cls=Group)
def config() -> None:
    """Write, check, show and trust Slurmfiles."""


@config.command(short_help="Write a Slurmfile that the doctor has checked.")
@click.argument("path", type=click.Path(), default=NAME)
@on_option
@click.option("--root", help="The directory for job directories.")
@click.option("--option", "given", multiple=True, metavar="NAME=VALUE", help="A default for all tasks. Repeatable.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
def init(
    path: str,
    cluster: str | None,
    root: str | None,
    given: tuple[str, ...],
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the Slurmfile PATH with one cluster and comments, after the doctor has checked the cluster.

    Asks three questions: the URL of the cluster, the root, and defaults for tasks. --on, --root and --option answer
    them. With --yes, all other answers are the defaults. An existing file is not changed. If the doctor finds an
    error, nothing is written, unless you confirm it.
    """
    if os.path.lexists(path):
        raise ConfigurationError(f"{path} exists and is not changed. Edit it, then run: slurm config validate {path}")
    url = cluster or (DEFAULT if yes else _ask("Cluster: local, slurm, slurm+ssh://ann@login, …", _found_here()))
    url = str(ClusterURL.parse(url))
    if root is None and not yes:
        root = _ask("Root, the directory for jobs (empty: slurm-jobs in $SCRATCH, $WORK or the home there)", "")
    if not given and not yes:
        given = tuple(shlex.split(_ask("Defaults for tasks, such as account=physics time=1h (empty: none)", "")))
    _ = options_of(None, None, given)  # checks the form
    options = {name.replace("-", "_"): value for name, _, value in (text.partition("=") for text in given)}
    text = draft(url, root=root or None, options=options)
    findings = examine(Cluster.from_entry(slurmfile.read(Source(Path(path), text.encode(), "argument"))))
    for finding in findings:
        show_finding(finding, err=True)
    bad = any(finding.level is Level.ERROR for finding in findings)
    written = not bad or (not yes and click.confirm("The doctor found errors. Write the file?", err=True))
    if written:
        _write(path, text)
    if as_json:
        show_json(
            {"file": path if written else None, "url": url, "findings": [asdict(finding) for finding in findings]}
        )
    elif written:
        output.show(f"{path} is written")
    if not written:
        output.show(f"{path} is not written, because the doctor found errors", err=True)
        raise SystemExit(1)


def _write(path: str, text: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _ask(question: str, default: str) -> str:
    return str(click.prompt(question, default=default, show_default=bool(default), err=True)).strip()


def _found_here() -> str:
    return ClusterURL.parse(DEFAULT).scheduler


@config.command(short_help="Check a whole Slurmfile, and show all errors.")
@click.argument("path", type=click.Path(), required=False)
@json_option
def validate(path: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check the Slurmfile PATH, or the one found by the search: all keys and values of all clusters.

    Prints every error with its file, line and key; the exit status is then 1. Settings that depend on this machine,
    such as variables in a root, are checked for the default cluster only.
    """
    file = source(path)
    problems: Sequence[Problem] = ()
    names: Sequence[str] = ()
    try:
        names = slurmfile.names(file)
        if slurmfile.has_default(file):
            slurmfile.read(file)
    except SlurmfileError as error:
        problems = error.problems
        if not problems:
            raise
    if as_json:
        listed = [{"line": line, "key": key, "message": message} for _, line, key, message in problems]
        show_json({"file": str(file.path), "clusters": list(names), "problems": listed})
    else:
        words = f"{file.path} is valid; its clusters are {', '.join(names)}"
        output.show_prose(map(str, problems) if problems else [words])
    if problems:
        raise SystemExit(1)


@config.command()
@cluster_argument
@click.option("--file", "path", type=click.Path(), help="Read this Slurmfile instead of the one found by the search.")
@click.option("--tool", metavar="NAME", help="Show instead the options of the stages of this tool on the cluster.")
@click.option("--option", "given", multiple=True, metavar="NAME=VALUE", help="With --tool: an option over all others.")
@json_option
def show(
    cluster: str | None,
    path: str | None,
    tool: str | None,
    given: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Show every setting of CLUSTER, and where each comes from.

    If the file has errors, show all of them; the exit status is 1.
    """
    if given and not tool:
        raise click.UsageError("--option goes with --tool")
    file = named(path) if path else slurmfile_of(cluster)
    entry = slurmfile.read(file, cluster) if file else None
    settings = entry.settings if entry else _of_url(cluster)
    if tool:
        settings = _of_tool(tool, entry, file, given)
    if as_json:
        show_json([setting._asdict() for setting in settings])
    else:
        show_table(
            [(key, value, f"{origin}{f', of {other}' if other else ''}") for key, value, origin, other in settings]
        )


@config.command("trust", short_help="Trust the current content of another user's Slurmfile.")
@click.argument("path", type=click.Path(), metavar="PATH")
@click.option("--forget", is_flag=True, help="Stop trusting the file.")
@json_option
def trust_(path: str, forget: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Trust the current content of the Slurmfile PATH, even if another user owns the file or can change it.

    If the file changes, it is rejected until you trust it again.
    Prints the content of the file, or the changes since you last trusted it.
    """
    file = Path(path).parent.resolve() / Path(path).name
    if forget:
        forgotten = trust.forget(file)
        if as_json:
            show_json({"file": str(file), "trusted": False})
        else:
            output.show(f"{file} {'is no longer trusted' if forgotten else 'was not trusted'}")
        return
    data = named(file).data
    before = trust.trusted_text(file)
    text = data.decode(errors="replace") if before is None else trust.difference(before, data)
    if not as_json:
        output.show(text)
    try:
        trust.add(file, data)
    except OSError as error:
        raise ConfigurationError(f"cannot write {trust.configuration()}: {error.strerror}") from error
    output.show(f"{file} is now trusted", err=True)
    if as_json:
        show_json({"file": str(file), "trusted": True, "text": text})


def _of_tool(name: str, entry: ClusterEntry | None, file: Source | None, given: tuple[str, ...]) -> list[Setting]:
    """The options of every stage of a tool at a cluster, each with the layer and the place where it was set."""
    from slurm.cli.tool import tool_of  # noqa: PLC0415 - only for this option
    from slurm.tools.config import cluster_layer, get_tool_config, shown  # noqa: PLC0415

    found = tool_of(name)
    config = get_tool_config(found, file)
    cluster = cluster_layer(Cluster.from_entry(entry, callbacks=False).settings if entry else Settings(), entry)
    given_options = options_of(None, None, given)
    return [
        setting
        for stage in found.stages
        for setting in shown(found, stage, config.layers(found, stage, cluster, given_options))
    ]


def _of_url(given: str | None) -> list[Setting]:
    """The settings of a cluster that is given by its URL, or of the default cluster."""
    url = ClusterURL.parse(given or DEFAULT)
    every = {key: (value, "default") for key, value in DEFAULTS.items()}
    chosen = f", {why_here(url.scheduler)}" if (given or DEFAULT) == DEFAULT else ""
    every["url"] = (str(url), ("argument" if given else "default") + chosen)
    if url.root:
        every["root"] = (url.root, "argument")
    return [Setting(key, *every[key]) for key in sorted(every, key=lambda key: key != "url")]
