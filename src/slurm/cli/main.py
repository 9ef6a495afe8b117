"""The command `slurm`. Exit status: 0 success, 1 an error or a failed job, 2 wrong usage."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from io import TextIOWrapper

import click

from slurm.cli.lazy_group import LazyGroup
from slurm.errors import SlurmError
from slurm.version import __version__

COMMANDS = {
    "run": ("slurm.cli.run:run", "Call a function on a cluster, and print its result."),
    "sweep": ("slurm.cli.sweep:sweep", "Run parameter sweeps, at several clusters at once."),
    "tool": ("slurm.cli.tool:tool", "Prepare, submit and check runs of external tools."),
    "config": ("slurm.cli.config:config", "Write, check, show and trust Slurmfiles."),
    "doctor": ("slurm.cli.doctor:doctor", "Check whether jobs can run, and advise on each problem."),
    "envs": ("slurm.cli.envs:envs", "List and remove the environments that were built for jobs."),
    "jobs": ("slurm.cli.jobs:jobs", "List jobs, newest first."),
    "ls": ("slurm.cli.jobs:jobs", "Another name for `jobs`."),
    "show": ("slurm.cli.one_job:show", "Show the state of a job, and where its files are."),
    "wait": ("slurm.cli.wait:wait", "Wait for the end of jobs."),
    "watch": ("slurm.cli.watch:watch", "Show jobs while they run."),
    "result": ("slurm.cli.result:result", "Print the result of a job, or its error."),
    "efficiency": ("slurm.cli.efficiency:efficiency", "Compare what a job has requested with what it has used."),
    "explain": ("slurm.cli.explain:explain", "Explain why a job waits or has failed, or what an error means."),
    "cancel": ("slurm.cli.one_job:cancel", "Cancel a job, or all calls of a map."),
    "retry": ("slurm.cli.retry:retry", "Submit a job, or the failed calls of a map, again."),
    "replay": ("slurm.cli.replay:replay", "Make a call again on this machine, to debug it."),
    "logs": ("slurm.cli.logs:logs", "Print the log of a job."),
    "connect": ("slurm.cli.connect:connect", "Open a shell, or run a command, beside a running job."),
    "graph": ("slurm.cli.graph:graph", "Show the jobs that a job waits for, and the jobs that it has submitted."),
    "debug": ("slurm.cli.debug:debug", "Print the stacks of a running call."),
    "script": ("slurm.cli.script:script", "Run scripts as procedures; print the batch script of a job."),
    "fetch": ("slurm.cli.files:fetch", "Copy files of a job to this machine."),
    "send": ("slurm.cli.one_job:send", "Send a message to a running job."),
    "du": ("slurm.cli.space:du", "Show how much space jobs and environments take."),
    "gc": ("slurm.cli.space:gc", "Remove jobs that nothing needs."),
    "serve": ("slurm.cli.serve:serve", "Serve jobs over HTTP, with a page that shows them."),
    "mcp": ("slurm.cli.mcp:mcp", "Serve jobs as tools for agents."),
    "completion": ("slurm.cli.completion:completion", "Print a script that completes commands, keys and clusters."),
}
"""For each command, where it is defined, and its line in the help. A module is imported when its command runs."""


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="slurm-tasks")
def slurm() -> None:
    """Manage clusters, and the jobs that Python programs have submitted to them.

    CLUSTER is a name in the Slurmfile, or a URL such as slurm or slurm+ssh://ann@login. The default is the
    default cluster of the Slurmfile. If there is none, it is auto: slurm if sbatch is on PATH, sge if qsub and
    qconf are, pbs if qsub and qselect are, else local. Commands with a KEY find the cluster in the record of the job.
    """


def main() -> None:
    """Run the command. Shows a SlurmError as a message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a question mark replaces characters that the terminal cannot show
    if logging.lastResort is not None:  # it prints warnings if no other handler is configured
        logging.lastResort.setFormatter(_SafeFormatter())
    if "_SLURM_COMPLETE" in os.environ:  # messages would disturb the line that the user is typing
        logging.disable()
        warnings.simplefilter("ignore")
    try:
        slurm(prog_name="slurm")
    except SlurmError as error:
        from slurm.cli.output import show_error  # noqa: PLC0415 - only for an error

        show_error(error)
        sys.exit(1)


class _SafeFormatter(logging.Formatter):
    """Formats log records for a terminal: commands in place of Python calls, no control characters, no passwords."""

    def format(self, record: logging.LogRecord) -> str:
        from slurm.cli.shell_advice import for_a_shell  # noqa: PLC0415 - few commands log anything
        from slurm.sanitize.redaction import redacted  # noqa: PLC0415 - as above
        from slurm.sanitize.terminal import for_terminal  # noqa: PLC0415 - as above

        return for_terminal(redacted(for_a_shell(super().format(record))))
