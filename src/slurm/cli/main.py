"""The command `slurm`. Exit status: 0 success, 1 an error or a failed job, 2 wrong usage."""

from __future__ import annotations

import logging
import sys
from io import TextIOWrapper

import click

from slurm.cli.completion import completion
from slurm.cli.config import config
from slurm.cli.connect import connect
from slurm.cli.debug import debug
from slurm.cli.doctor import doctor
from slurm.cli.efficiency import efficiency
from slurm.cli.envs import envs
from slurm.cli.explain import explain
from slurm.cli.files import fetch
from slurm.cli.graph import graph
from slurm.cli.jobs import cancel, send, show
from slurm.cli.listing import jobs, ls
from slurm.cli.logs import logs
from slurm.cli.output import SafeFormatter, show_error
from slurm.cli.replay import replay
from slurm.cli.result import result
from slurm.cli.retry import retry
from slurm.cli.run import run
from slurm.cli.script import script
from slurm.cli.wait import wait
from slurm.cli.watch import watch
from slurm.errors import SlurmError
from slurm.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slurm-tasks")
def slurm() -> None:
    """Manage clusters, and the jobs that Python programs have submitted to them.

    CLUSTER is a name in the Slurmfile, or a URL such as slurm or slurm+ssh://ann@login. The default is the
    default cluster of the Slurmfile. Without a Slurmfile, it is slurm if sbatch is on PATH, else local.
    """


for command in (
    run,
    config,
    doctor,
    envs,
    jobs,
    ls,
    show,
    wait,
    watch,
    result,
    efficiency,
    explain,
    cancel,
    retry,
    replay,
    logs,
    connect,
    debug,
    script,
    graph,
    fetch,
    send,
    completion,
):
    slurm.add_command(command)


def main() -> None:
    """Run the command. A SlurmError is shown as a message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a question mark replaces characters that the terminal cannot show
    if logging.lastResort is not None:  # prints warnings if no other handler is configured
        logging.lastResort.setFormatter(SafeFormatter())
    try:
        slurm(prog_name="slurm")
    except SlurmError as error:
        show_error(error)
        sys.exit(1)
