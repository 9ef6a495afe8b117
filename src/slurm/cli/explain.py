"""`slurm explain`: tell why a job is as it is."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.reuse.explanation import explain as explain_reuse
from slurm.views.advice import explained
from slurm.views.overview import overviews


@click.command()
@key_argument
@click.option("--reuse", is_flag=True, help="Tell what has changed since the most similar earlier job.")
@on_option
@json_option
def explain(key: str, reuse: bool, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Tell why the job KEY waits, or why calls of it have failed, and what to do about it.

    With --reuse, tell why it was submitted although its task has reuse=True: what has changed since an earlier job.
    """
    job = job_of(key, cluster)
    place, state, _ = job.part
    if reuse:
        found = explain_reuse(place, state.key)
    else:
        found = explained(overviews([job.part])[0], place.store.records(state.key).submission.options)
    if as_json:
        show_json(found)
    else:
        output.show_prose(found)
