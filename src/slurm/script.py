"""script.sh: a stand-alone batch script for all elements of a submission. Pure text in, text out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from slurm.protocol import FAILED, JOBS, OUTCOMES, PROCESS, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Prepared

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.runner.main import main; sys.exit(main(sys.argv[2:]))"
"""Starts the runner from its zip. `python runner.zip` does the same through `runpy`, half as slow again to start."""


def render(
    *,
    directives: Sequence[str],
    environment: Prepared,
    root: str,
    runner: str,
    key: str,
    chdir: str | None,
    cpus: str | None = None,
    chunk: int = 1,
) -> str:
    """The batch script of one submission.

    `directives` are the scheduler's lines, `runner` the path of the runner's zip there, `chdir` the directory to run in
    (None: the one that it was submitted from), `cpus` what was asked for as cpus_per_task, `chunk` how many calls an
    element makes. The script takes the number of its block's first element as argument; without one it is the first
    block, so that a person can sbatch it.
    """
    job = f"{root}/{JOBS}/{key}"
    command = [*environment.launch, environment.python, "-c", BOOT, runner, root, key]
    # Slurm runs a job in /tmp whose working directory isn't there, and calls it completed: hence the cd.
    steps = [] if chdir and chdir.startswith("/") else ['"${SLURM_SUBMIT_DIR:-.}"']
    steps += [shlex.quote(chdir)] if chdir else []
    return "\n".join([
        "#!/bin/bash",
        *directives,
        "",
        f"# {key}; by hand: sbatch {shlex.quote(job + '/script.sh')} (what has an outcome isn't run again)",
        f"job={shlex.quote(job)}",
        "index=$(( ${1:-0} + ${SLURM_ARRAY_TASK_ID:-0} ))",
        "export PYTHONUNBUFFERED=1",
        *(_threads(cpus) if cpus else ()),
        *environment.setup,
        "",
        # A shell that SIGTERM ends before its task would leave one that ignores it to nobody (proctrack/linuxproc).
        "trap 'exit 143' TERM",
        *(f"cd -- {step} &&" for step in steps),
        f'{shlex.join(command)} "$index" {shlex.quote(environment.tag)} {chunk}',
        "status=$?",
        *_LAST_WORD,
        "exit $status",
        "",
    ])  # fmt: skip


def _threads(cpus: str) -> Sequence[str]:
    """Since 22.05 srun doesn't take it from its job; and libraries would start a thread for each CPU that they see."""
    return (f"export SRUN_CPUS_PER_TASK={cpus}", f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{cpus}}}"')


_RECORD = (
    f'{{"protocol": {PROTOCOL}, "status": "{FAILED}", "phase": "{PROCESS}", '
    '"attempt": %d, "exit_code": %d, "ended": %d, "host": "%s"}'
)

# A process that a signal or os._exit ended could say nothing itself. ln, unlike mv, leaves
# an outcome that is there; mv is for file systems that have no hard links.
_LAST_WORD = (
    f'outcome="$job/{OUTCOMES}/$index.json" mine="$job/{OUTCOMES}/.$index.$$"',
    # SIGTERM may have come from the scheduler, which then ends this script too, and perhaps runs the job again.
    "[ $status -ne 143 ] || sleep 5",
    'if [ ! -e "$outcome" ] && [ -d "${outcome%/*}" ]; then',
    f"    printf '{_RECORD}\\n' \\",
    '        $(( ${SLURM_RESTART_COUNT:-0} + 1 )) $status "$(date +%s)" "$(uname -n)" > "$mine" &&',
    '        { ln "$mine" "$outcome" || [ -e "$outcome" ] || mv "$mine" "$outcome"; }; rm -f "$mine"',
    "    [ $status -ne 0 ] || status=1",
    "fi",
)
