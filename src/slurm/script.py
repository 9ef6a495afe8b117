"""script.sh: a stand-alone batch script for all elements of a submission. Pure text in, text out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.setup import take
from slurm.protocol import ATTEMPTS, FAILED, JOBS, OUTCOMES, PROCESS, PROTOCOL, SETUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Prepared

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.runner.main import main; sys.exit(main(sys.argv[2:]))"
"""Starts the runner from its zip. `python runner.zip` does the same through `runpy`, half as slow again to start."""

CARETAKER = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.caretaker import main; main(*sys.argv[2:])"
"""Starts the caretaker from there, too."""


class Care(NamedTuple):
    """For elements that may go on in another job: the scheduler that it is asked of, and what tells a task to stop."""

    scheduler: str
    signal: str | None


def render(  # noqa: PLR0913 - each by its name
    *,
    directives: Sequence[str],
    environment: Prepared,
    root: str,
    runner: str,
    key: str,
    chdir: str | None,
    cpus: str | None = None,
    calls: tuple[int, int] = (1, 0),
    care: Care | None = None,
) -> str:
    """The batch script of one submission.

    `directives` are the scheduler's lines, `runner` the path of the runner's zip there, `chdir` the directory to run in
    (None: the one that it was submitted from), `cpus` what was asked for as cpus_per_task, `calls` how many an element
    makes and by how many workers (0: in turn), `care` what is done where elements may go on in another job. The script
    takes as arguments the number of its block's first element and of the attempts before; without any it is the first
    block, so that a person can sbatch it.
    """
    job = f"{root}/{JOBS}/{key}"
    chunk, workers = calls
    command = [*environment.launch, environment.python, "-c", BOOT, runner, root, key]
    call = f'{shlex.join(command)} "$index" {shlex.quote(environment.tag)} {chunk} {workers} "$attempt"'
    # Slurm runs a job in /tmp whose working directory isn't there, and calls it completed: hence the cd.
    steps = [] if chdir and chdir.startswith("/") else ['"${SLURM_SUBMIT_DIR:-.}"']
    steps += [shlex.quote(chdir)] if chdir else []
    ready = ['[ -z "$step" ] &&'] if environment.setup else []
    ready += [f"cd -- {step} &&" for step in steps]
    return "\n".join([
        "#!/bin/bash",
        *directives,
        "",
        f"# {key}; by hand: sbatch {shlex.quote(job + '/script.sh')} (what has an outcome isn't run again)",
        f"job={shlex.quote(job)}",
        "index=$(( ${1:-0} + ${SLURM_ARRAY_TASK_ID:-0} ))",
        "attempt=$(( ${2:-0} + ${SLURM_RESTART_COUNT:-0} + 1 ))",
        *(_GONE_ON if care else ()),
        "export PYTHONUNBUFFERED=1",
        *(_threads(cpus, workers) if cpus else ()),
        *take(environment.setup),
        "",
        *_called(ready, f"{call} {care.signal or '-'}" if care else call, care, launched=bool(environment.launch)),
        *(_last_word(ATTEMPTS, "$index.$attempt.json") if care else _last_word(OUTCOMES, "$index.json")),
        *((f'{_caretaker(environment, runner, care.scheduler, root, key)} "$index" "$attempt"',) if care else ()),
        "exit $status",
        "",
    ])  # fmt: skip


def render_caretaker(
    *, directives: Sequence[str], environment: Prepared, root: str, runner: str, key: str, scheduler: str
) -> str:
    """The batch script that sees to a submission's failed elements when no client does."""
    command = _caretaker(environment, runner, scheduler, root, key)
    return "\n".join(["#!/bin/bash", *directives, "", *take(environment.setup), command, ""])


def _caretaker(environment: Prepared, runner: str, scheduler: str, root: str, key: str) -> str:
    """Not launched as the task is: in a container there is no scheduler to talk to."""
    return shlex.join([environment.outside or environment.python, "-c", CARETAKER, runner, scheduler, root, key])


_GONE_ON = (
    "for (( n = ${2:-0} + 1; n < attempt; n++ )); do",  # requeued, though it goes on in another job by now
    f'    [ ! -e "$job/{ATTEMPTS}/$index.$n.next.json" ] || exit 1',
    "done",
)


def _called(steps: Sequence[str], call: str, care: Care | None, *, launched: bool) -> Sequence[str]:
    """The steps and the call; in the background where a signal is to stop it, for bash handles one between commands.

    It is passed on more than once: the first may come before there is a handler for it, which `trap ''` keeps harmless.
    """
    if care is None or care.signal is None:
        # A shell that SIGTERM ends before its task would leave one that ignores it to nobody (proctrack/linuxproc).
        return ("trap 'exit 143' TERM", *steps, call, "status=$?")
    signal = care.signal
    early = ":" if launched else "''"  # a shell that launches the runner can't trap what it was started to ignore
    return (
        f"( trap {early} {signal}",
        *steps,
        f"exec {call} ) &",
        "runner=$!",
        f"trap 'for i in 1 2 3 4 5; do kill -s {signal} $runner 2>/dev/null || break; sleep 1; done &' {signal}",
        "trap 'kill -s TERM $runner 2>/dev/null' TERM",
        "while kill -0 $runner 2>/dev/null; do wait $runner; done",  # a trapped signal ends `wait`, not the runner
        "wait $runner",
        "status=$?",
    )


def _threads(cpus: str, workers: int) -> Sequence[str]:
    """Since 22.05 srun doesn't take it from its job; and libraries would start a thread for each CPU that they see."""
    threads = max(1, int(cpus) // max(1, workers))
    return (f"export SRUN_CPUS_PER_TASK={cpus}", f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{threads}}}"')


_RECORD = (
    f'{{"protocol": {PROTOCOL}, "status": "{FAILED}", "phase": "%s", '
    '"attempt": %d, "exit_code": %d, "ended": %d, "host": "%s", "job_id": "%s"}'
)


def _last_word(directory: str, name: str) -> Sequence[str]:
    """What the script writes for a process that a signal or os._exit ended, which could say nothing itself.

    ln, unlike mv, leaves a record that is there; mv is for file systems that have no hard links.
    """
    return (
        f'outcome="$job/{OUTCOMES}/$index.json" record="$job/{directory}/{name}" mine="$job/{directory}/.$index.$$"',
        # SIGTERM may have come from the scheduler, which then ends this script too, and perhaps runs the job again.
        "[ $status -ne 143 ] || sleep 5",
        'if [ ! -e "$outcome" ] && [ ! -e "$record" ] && [ -d "${record%/*}" ]; then',
        f'    phase={PROCESS}; [ -z "$step" ] || phase={SETUP}',
        f"    printf '{_RECORD}\\n' $phase $attempt $status \\",
        '        "$(date +%s)" "$(uname -n)" "${SLURM_ARRAY_JOB_ID:-0}_${SLURM_ARRAY_TASK_ID:-0}" > "$mine" &&',
        '        { ln "$mine" "$record" || [ -e "$record" ] || mv "$mine" "$record"; }; rm -f "$mine"',
        "    [ $status -ne 0 ] || status=1",
        "fi",
    )
