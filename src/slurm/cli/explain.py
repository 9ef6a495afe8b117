"""`slurm explain`: explain the state of a job, or what an error means."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import complete_keys, job_of, on_option
from slurm.cli.error_texts import error_name, explained_error, near_names, sections
from slurm.cli.output import json_option, show_json
from slurm.errors import SlurmError
from slurm.reuse.explanation import explain as explain_reuse
from slurm.views.advice import explained
from slurm.views.overview import overviews


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    names = [name for name in sections() if incomplete and name.startswith(incomplete)]
    return [*names, *complete_keys(ctx, param, incomplete)]


@click.command()
@click.argument("key", shell_complete=_complete, metavar="KEY|ERROR")
@click.option("--reuse", is_flag=True, help="Show what has changed since the most similar earlier job.")
@on_option
@json_option
def explain(key: str, reuse: bool, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Explain why the job KEY waits, or why calls of it have failed, and what to do.

    With --reuse, show what has changed since an earlier job, so that the job did not reuse an earlier result.

    If KEY is the name of an error class, such as JobTimedOut, print what the error means, its common causes, and what
    to do. This needs no cluster. With --on or --reuse, KEY is always a job.
    """
    name = error_name(key) if cluster is None and not reuse else None
    found = explained_error(name) if name else _explained_job(key, cluster, reuse=reuse)
    if as_json:
        show_json(found)
    else:
        output.show_prose(found, indent=4)


def _explained_job(key: str, cluster: str | None, *, reuse: bool) -> list[str]:
    try:
        job = job_of(key, cluster)
    except SlurmError as error:
        if near := near_names(key):
            raise SlurmError(f"{error}. Do you mean the error {' or '.join(near)}?") from None
        if key.isidentifier() and key[0].isupper():
            raise SlurmError(f"{error}. No error of this library has that name, either") from None
        raise
    if reuse:
        place, state, _ = job.part
        return explain_reuse(place, state.key)
    return explained(overviews([job.part])[0])
