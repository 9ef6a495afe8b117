"""`slurm script`: print the batch script of a job."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.errors import NoSuchJob
from slurm.protocol import SCRIPT


@click.command()
@key_argument
@on_option
@json_option
def script(key: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Print the batch script with which the job KEY was submitted. All calls of a map have the same script."""
    place, state, _ = job_of(key, cluster).part
    path = f"{place.store.directory(state.key)}/{SCRIPT}"
    data = place.transport.get([path], private=True).get(path)
    if data is None:
        raise NoSuchJob(f"{path} does not exist: the submission was interrupted, or the file was removed")
    if as_json:
        show_json({"key": state.key, "path": path, "script": data.decode(errors="replace")})
    else:
        output.show_bytes([data])
