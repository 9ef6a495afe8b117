"""`slurm debug`: print the stacks of the threads of a running call, or attach a debugger to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.connect import running_call
from slurm.cli.output import json_option, show_json
from slurm.protocol import DEBUG_SIGNAL, DUMP_SIGNAL
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.jobs.job import Job

_SECONDS = 120.0
"""The longest time to wait for the stacks, in seconds."""
_ATTACH_SECONDS = 60
"""The longest time in seconds for debugpy to be imported from a slow file system, and to listen."""
_PROCESS = re.compile(r"^==> process (\d+) on (\S+) <==\n", re.MULTILINE)
_FRAMES = (
    re.compile(r'^ +File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.+)$'),
    re.compile(r"^ +(?P<name>.+) \((?P<file>.*):(?P<line>\d+)\)$"),
)
"""Matches a frame as faulthandler or py-spy prints it."""


@click.command(short_help="Print the stacks of a running call, or attach a debugger.")
@key_argument
@click.option("--attach", is_flag=True, help="Start debugpy in the call, and forward its port to this machine.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The port on this machine, for --attach. Default: a free port."
)
@click.option("--process", type=click.IntRange(min=1), help="The process for --attach, if the call has several.")
@on_option
@json_option
def debug(
    key: str,
    attach: bool,  # noqa: FBT001 - click's way
    port: int | None,
    process: int | None,
    cluster: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Print where the running job KEY is: the stacks of the threads of its processes. The job continues.

    Runs py-spy in the job's allocation, if it is installed beside the job's Python or is on PATH there. Otherwise, or
    if py-spy may not trace processes, the command sends a signal to the runner, which prints the stacks to the log of
    the job. For a job on several nodes, the stacks of the processes on the first node are printed.

    With --attach, debugpy listens in the process of the call, and your editor connects to it through a port of this
    machine, until Ctrl-C. The environment of the job must have debugpy.
    """
    if not attach and (port or process):
        raise click.UsageError("--port and --process belong to --attach.")
    job = running_call(job_of(key, cluster), "debug")
    if attach:
        from slurm.cli.forwarding import forward  # noqa: PLC0415 - only this verb needs sockets and threads

        pid, host, python, address = _run(job, "attach.sh", DEBUG_SIGNAL, str(process or ""), _ATTACH_SECONDS).split(
            "\n"
        )[:4]
        forward(job, pid, host, python=python, remote=int(address.rpartition(":")[2]), port=port, as_json=as_json)
        return
    text = _run(job, "dump.sh", DUMP_SIGNAL)
    if as_json:
        show_json([_process_of(*found) for found in _split(text)])
    else:
        output.show(text, nl=False)


def _run(job: Job[Any], script: str, *more: object) -> str:
    """Run a script in the allocation of a job; return its output. Raises ClickException if it fails."""
    place, state, _ = job.part
    words = ["sh", "-c", program(__name__, script), "sh", state.key, str(state.element(job.index)), *map(str, more)]
    inside = place.queue.client.inside_command(str(job.job_id), words, terminal=False)
    done = place.transport.run(inside, timeout=_SECONDS)
    if done.status != 0:
        output.show(done.stdout, nl=False)
        raise click.ClickException(f"{job.key}: {done.stderr.strip() or f'exit status {done.status}'}")
    if done.stderr:
        output.show(done.stderr, err=True, nl=False)
    return done.stdout


def _split(text: str) -> Iterator[tuple[str, str, str]]:
    """Split the output by processes; yield the id, the host and the stacks of each."""
    parts = _PROCESS.split(text)[1:]
    return zip(parts[::3], parts[1::3], parts[2::3], strict=True)


def _process_of(pid: str, host: str, text: str) -> dict[str, Any]:
    """The stacks of a process as data."""
    threads: list[dict[str, Any]] = []
    for line in text.splitlines():
        found = next(filter(None, (frame.match(line) for frame in _FRAMES)), None)
        if found and threads:
            frame = {"function": found["name"], "file": found["file"], "line": int(found["line"])}
            threads[-1]["frames"].append(frame)
        elif "hread " in line:
            threads.append({"thread": line.rstrip(": "), "frames": []})
    return {"process": int(pid), "host": host, "threads": threads}
