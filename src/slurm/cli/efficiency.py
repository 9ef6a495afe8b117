"""`slurm efficiency`: compare what a job has asked for with what it has used."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json, show_table
from slurm.views.efficiency import fitting, uses_of


@click.command()
@key_argument
@on_option
@json_option
def efficiency(key: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Compare the memory, time and CPUs that the job KEY has requested with what it has used.

    For a map, show the minimum, the median and the maximum of its elements. Only elements that have ended count. Prints
    the options that would fit: the maximum that was used, and a quarter more.
    """
    job = job_of(key, cluster)
    used = uses_of(job.part)
    fits = fitting(used)
    if as_json:
        show_json({"uses": [{**use._asdict(), "share": use.share} for use in used], "options": fits})
    elif not used:
        output.show(f"{job.key}: no call has ended yet, or its outcome says nothing about its use", err=True)
    else:
        head = ("", "ASKED", "LEAST", "MEDIAN", "MOST", "OF ASKED")
        rows = [
            (use.resource, *map(use.text, (use.asked, use.least, use.median, use.most)), _percent(use.share))
            for use in used
        ]
        show_table([head, *rows])
        words = ", ".join(f"{name}={value!r}" for name, value in fits.items())
        output.show_prose([f"fits: @task({words})"], indent=2)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
