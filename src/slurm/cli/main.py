"""`slurm`: the commands, and what their exit status says: 0 all is well, 1 something isn't, 2 it was called wrongly."""

from __future__ import annotations

import logging
import sys
from io import TextIOWrapper

import click

from slurm.cli.config import config
from slurm.cli.doctor import doctor
from slurm.cli.envs import envs
from slurm.cli.jobs import cancel, jobs, logs, show
from slurm.cli.output import SafeFormatter, show_error
from slurm.errors import SlurmError
from slurm.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slurm-tasks")
def slurm() -> None:
    """Python functions on a Slurm cluster: clusters, and the jobs that programs have submitted there.

    CLUSTER is a name in the Slurmfile or a URL, such as slurm or slurm+ssh://ann@login. By default it is the
    Slurmfile's default cluster, and this machine where there is no Slurmfile.
    """


for command in (config, doctor, envs, jobs, show, cancel, logs):
    slurm.add_command(command)


def main() -> None:
    """The entry point: an error of the library's own is a message, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal can't show is a question mark
    if logging.lastResort is not None:  # what prints warnings where nothing else is configured
        logging.lastResort.setFormatter(SafeFormatter())
    try:
        slurm(prog_name="slurm")
    except SlurmError as error:
        show_error(error)
        sys.exit(1)
