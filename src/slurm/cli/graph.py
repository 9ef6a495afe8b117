"""`slurm graph`: show the jobs that a job waits for, and the jobs that it has submitted."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option
from slurm.views.graph import graph_of

if TYPE_CHECKING:
    from slurm.views.graph import Graph

_FORMATS = ("text", "svg", "mermaid", "dot", "json")
_OF_NAMES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".json": "json"}


@click.command(short_help="Show the jobs that a job waits for, and the jobs that it has submitted.")
@key_argument
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="Default: the format of the name of FILE, else text."
)
@click.option("--output", "-o", "file", type=click.Path(dir_okay=False), metavar="FILE", help="Write to this file.")
@on_option
@json_option
def graph(key: str, form: str | None, file: str | None, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the job KEY with the jobs that it waits for, the children of workflows, and the state of each.

    In the text format, each line begins with the random part of a key. Commands accept this part as a name of the job.
    The children of a workflow are below the workflow.
    """
    job = job_of(key, cluster)
    form = "json" if as_json else form
    chosen = form or _OF_NAMES.get(os.path.splitext(file or "")[1].lower(), "text")
    drawn = _drawn(graph_of(job.part.place, job.parts), chosen)
    if file is None:
        output.show(drawn, nl=False)
        return
    try:
        with open(file, "w", encoding="utf-8") as opened:
            opened.write(drawn)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror or error}") from None


def _drawn(found: Graph, form: str) -> str:
    if form == "json":
        return json.dumps(found.data(), indent=2) + "\n"
    draw = {"text": found.text, "svg": found.svg, "mermaid": found.mermaid, "dot": found.dot}[form]
    return draw()
