"""`slurm fetch`: list the files of jobs, and copy them to this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json, show_table
from slurm.views.displays import memory

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.command()
@key_argument
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    "--to",
    default=".",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory to copy to. The files of a map's calls go to a subdirectory for each call.",
)
@click.option("--now", is_flag=True, help="Copy the files that exist now. Do not wait for the end of the job.")
@click.option("--list", "only_list", is_flag=True, help="List all files, and copy nothing.")
@on_option
@json_option
def fetch(  # noqa: PLR0917 - click's way
    key: str,
    patterns: tuple[str, ...],
    to: Path,
    now: bool,  # noqa: FBT001 - as above
    only_list: bool,  # noqa: FBT001
    cluster: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Wait for the end of the job KEY, then copy the files of its output directory that match any PATTERN.

    Without a PATTERN, copy all files. `*` matches within a name, `**/` any directories, and `out/` all files below a
    directory. Quote patterns, so that your shell does not replace them. Files that are already on this machine are not
    sent again.
    """
    job = job_of(key, cluster)
    if only_list:
        if patterns:
            raise click.UsageError("--list takes no PATTERN: it lists all files.")
        listed = job.files() if job.is_array else [job.files()]
        rows = [
            (f"{index}", file.name, file.size)
            for index, files in zip(job.part.indices, listed, strict=True)
            for file in files
        ]
        if as_json:
            show_json([{"index": int(index), "name": name, "size": size} for index, name, size in rows])
        elif rows:
            show_table([("CALL", "SIZE", "NAME"), *((index, memory(size), name) for index, name, size in rows)])
        else:
            output.show(f"{job.key} has no files", err=True)
        return
    found = job.fetch(*patterns, to=to, wait=not now)
    _show(_flat(found), to, as_json=as_json)


def _flat(found: Iterable[Path | list[Path]]) -> list[Path]:
    return [path for each in found for path in (each if isinstance(each, list) else [each])]


def _show(paths: list[Path], to: Path, *, as_json: bool) -> None:
    if as_json:
        show_json([os.fspath(path) for path in paths])
    else:
        output.show(f"{len(paths)} file{'' if len(paths) == 1 else 's'} in {to}")
