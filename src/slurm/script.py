"""script.sh: a stand-alone batch script for all elements of a submission. Pure text in, text out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.setup import take
from slurm.protocol import ATTEMPTS, CALLBACKS, FAILED, JOBS, OUTCOMES, PROCESS, PROTOCOL, SETUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Prepared

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.runner.main import main; sys.exit(main(sys.argv[2:]))"
"""Starts the runner from its zip. `python runner.zip` does the same through `runpy`, half as slow again to start."""

COMPLETED = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.runner.completed import main; main(sys.argv[2:])"
"""Starts from there what calls the last hooks, where the runner couldn't."""

CARETAKER = "import sys; sys.path.insert(0, sys.argv[1]); from slurm.caretaker import main; main(*sys.argv[2:])"
"""Starts the caretaker from there, too."""

SCRUB = """\
if [ -n "${SLURM_JOB_ID:-}" ]; then
    for name in $(env | sed -n 's/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
        case $name in SLURM_CONF*|SLURM_CLUSTERS|SLURM_JWT|SLURM_TIME_FORMAT) ;; *) unset "$name" ;; esac
    done
    [ "${OMP_NUM_THREADS:-}" != "${SRUN_CPUS_PER_TASK:-}" ] || unset OMP_NUM_THREADS
    [ "${PYTHONHASHSEED:-}" != 0 ] || unset PYTHONHASHSEED
    unset SRUN_CPUS_PER_TASK
fi
"""
"""Within a job: its SLURM_ variables would be taken for those of the job that is submitted, and so would be what its
script has exported for itself. The user's own configuration stays."""


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
    workflow: bool = False,
    care: Care | None = None,
    hooked: bool = False,
) -> str:
    """The batch script of one submission.

    `directives` are the scheduler's lines, `runner` the path of the runner's zip there, `chdir` the directory to run in
    (None: the one that it was submitted from), `cpus` what was asked for as cpus_per_task, `calls` how many an element
    makes and by how many workers (0: in turn), `workflow` whether they submit some themselves, `care` what is done
    where elements may go on in another job, `hooked` whether there are hooks. The script takes the number of its
    block's first element and of the attempts before; without, it is the first block: a person can sbatch it.
    """
    job = f"{root}/{JOBS}/{key}"
    chunk, workers = calls
    python, there = shlex.join([*environment.launch, environment.python]), shlex.join([runner, root, key])
    element = f'{there} "$index" {shlex.quote(environment.tag)} {chunk}'
    call = f'{python} -c {shlex.quote(BOOT)} {element} {workers} "$attempt"'
    call += (f" {care.signal or '-'}" if care else "") + (f" {CALLBACKS}" if hooked else "")
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
        *(_STEADY if workflow else ()),
        *(_threads(cpus, workers) if cpus else ()),
        *take(environment.setup),
        "",
        *_called(_ready(environment.setup, chdir), call, care),
        *_ended(
            care and f'{_caretaker(environment, runner, care.scheduler, root, key)} "$index" "$attempt"',
            f'{python} -c {shlex.quote(COMPLETED)} {element} "$attempt"' if hooked else None,
        ),
        "exit $status",
        "",
    ])  # fmt: skip


def _ready(setup: Sequence[str], chdir: str | None) -> Sequence[str]:
    """What must go well before the call: the steps of the setup, and to the directory that the call is made in.

    Slurm runs a job in /tmp whose working directory isn't there, and calls it completed: hence the cd.
    """
    steps = [] if chdir and chdir.startswith("/") else ['"${SLURM_SUBMIT_DIR:-.}"']
    steps += [shlex.quote(chdir)] if chdir else []
    return [*(['[ -z "$step" ] &&'] if setup else []), *(f"cd -- {step} &&" for step in steps)]


def render_caretaker(
    *, directives: Sequence[str], environment: Prepared, root: str, runner: str, key: str, scheduler: str
) -> str:
    """The batch script that sees to a submission's failed elements when no client does."""
    command = _caretaker(environment, runner, scheduler, root, key)
    return "\n".join(["#!/bin/bash", *directives, "", *take(environment.setup), command, ""])


def _caretaker(environment: Prepared, runner: str, scheduler: str, root: str, key: str) -> str:
    """Not launched as the task is: in a container there is no scheduler to talk to."""
    return shlex.join([environment.python, "-c", CARETAKER, runner, scheduler, root, key])


_STEADY = ('export PYTHONHASHSEED="${PYTHONHASHSEED:-0}"',)
"""Sets of texts have the same order in each attempt of a workflow, and so make the same calls, and the same pickles."""


def _ended(caretaker: str | None, tell: str | None) -> Sequence[str]:
    """The last word, what sees to another attempt, and what calls the hooks that the runner could not call itself.

    These are left where it died; and where an attempt's failure isn't the end before the caretaker has said so.
    """
    no_outcome = f'[ ! -e "$job/{OUTCOMES}/$index.json" ]'
    told = f"{'[ $status -ne 0 ]' if caretaker else no_outcome} || told=yes"
    return (
        *((told,) if tell else ()),
        *(_last_word(ATTEMPTS, "$index.$attempt.json") if caretaker else _last_word(OUTCOMES, "$index.json")),
        *((caretaker,) if caretaker else ()),
        *((f'[ -n "$told" ] || {no_outcome} || {tell}',) if tell else ()),
    )


_STEADY = ('export PYTHONHASHSEED="${PYTHONHASHSEED:-0}"',)
"""Sets of texts have the same order in each attempt of a workflow, and so make the same calls, and the same pickles."""
_NO_OUTCOME = f'[ ! -e "$job/{OUTCOMES}/$index.json" ]'


def _told(care: Care | None) -> str:
    """Notes whether the runner has called all hooks: where its failure isn't the end, those of the end are not yet."""
    return f"{'[ $status -ne 0 ]' if care else _NO_OUTCOME} || told=yes"


def _tell(command: str) -> str:
    """Calls those that are left, if this attempt was the last."""
    return f'[ -n "$told" ] || {_NO_OUTCOME} || {command}'


_GONE_ON = (
    "for (( n = ${2:-0} + 1; n < attempt; n++ )); do",  # requeued, though it goes on in another job by now
    f'    [ ! -e "$job/{ATTEMPTS}/$index.$n.next.json" ] || exit 1',
    "done",
)


def _called(steps: Sequence[str], call: str, care: Care | None) -> Sequence[str]:
    """The steps and the call; in the background where a signal is to stop it, for bash handles one between commands.

    It is passed on more than once: the first may come before there is a handler for it, which `trap ''` keeps harmless.
    """
    if care is None or care.signal is None:
        # A shell that SIGTERM ends before its task would leave one that ignores it to nobody (proctrack/linuxproc).
        return ("trap 'exit 143' TERM", *steps, call, "status=$?")
    signal = care.signal
    return (
        f"( trap '' {signal}",
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
