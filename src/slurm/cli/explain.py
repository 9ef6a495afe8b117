"""`slurm explain`: tell why a job is as it is."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.reuse.explanation import explain as explain_reuse


@click.command(short_help="Tell why a job did not reuse an earlier result.")
@key_argument
@click.option("--reuse", is_flag=True, required=True, help="Tell what has changed since the most similar earlier job.")
@on_option
@json_option
def explain(key: str, reuse: bool, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Tell why the job KEY was submitted although its task has reuse=True: what has changed since an earlier job."""
    del reuse  # the only explanation so far
    found = explain_reuse(cluster_of(cluster).place, key.partition("[")[0])
    if as_json:
        show_json(found)
    else:
        output.show("\n".join(found))
