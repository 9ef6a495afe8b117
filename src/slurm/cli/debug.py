"""`slurm debug`: where a running call is, as the stacks of its threads."""

from __future__ import annotations

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.connect import running_call
from slurm.protocol import DUMP_SIGNAL
from slurm.protocol.shell import program

_SECONDS = 120.0
"""The longest time to wait for the stacks."""


@click.command(short_help="Print the stacks of a running call.")
@key_argument
@on_option
def debug(key: str, cluster: str | None) -> None:
    """Print where the running job KEY is: the stacks of the threads of its processes. The job goes on.

    Runs py-spy in the job's allocation, if it is beside the job's Python or on PATH there. Otherwise, or where py-spy
    may not trace processes, it sends a signal to the runner, which prints the stacks to the log of the job. Of a job
    with several nodes, print those on the first.
    """
    job = running_call(job_of(key, cluster), "debug")
    place, state, _ = job.part
    words = ["sh", "-c", program(__name__, "dump.sh"), "sh", state.key, f"{state.element(job.index)}", f"{DUMP_SIGNAL}"]
    inside = place.queue.client.inside_command(str(job.job_id), words, terminal=False)
    done = place.transport.run(inside, timeout=_SECONDS)
    output.show(done.stdout, nl=False)
    if done.status != 0:
        raise click.ClickException(f"{job.key}: {done.stderr.strip() or f'exit status {done.status}'}")
    if done.stderr:
        output.show(done.stderr, err=True, nl=False)
