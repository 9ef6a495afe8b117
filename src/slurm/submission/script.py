"""script.sh: a stand-alone batch script for all elements of a submission. This module does no I/O."""

from __future__ import annotations

import shlex
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from slurm.environments.runtimes.base import STEP
from slurm.environments.setup import render_steps
from slurm.protocol import (
    ATTEMPTS,
    BLOBS,
    CALLBACKS,
    ENVS,
    JOBS,
    LOGS,
    METRICS,
    OUTCOMES,
    ports,
)
from slurm.protocol.boot import BOOT
from slurm.protocol.shell import program
from slurm.runner.launcher_variables import LAUNCHER, NAMED, SEPARATE, VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.options import Options
    from slurm.protocol import ResolvedEnvironment


class Resubmission(NamedTuple):
    """For elements that may be resubmitted: the scheduler's name, and the signal that asks a task to stop."""

    scheduler: str
    signal: str | None


class Lines(NamedTuple):
    """Lines of bash of the task itself: before its call, and after it."""

    setup: Sequence[str] = ()
    teardown: Sequence[str] = ()

    @classmethod
    def of(cls, options: Options) -> Lines:
        """Return the lines of the options `setup` and `teardown`."""
        return cls(*(str(options.get(name) or "").splitlines() for name in cls._fields))


NO_LINES = Lines()


class Ranks(NamedTuple):
    """The scheduler's command that starts all ranks of a task, and whether to keep the results of all ranks."""

    launcher: Sequence[str]
    gather: bool


def render(  # noqa: PLR0913 - each by its name
    *,
    directives: Sequence[str],
    environment: ResolvedEnvironment,
    root: str,
    runner: str,
    key: str,
    chdir: str | None,
    cpus: str | None = None,
    calls: tuple[int, int] = (1, 0),
    workflow: bool = False,
    retry: Resubmission | None = None,
    hooked: bool = False,
    ranks: Ranks | None = None,
    measured: bool = False,
    separate_stderr: bool = False,
    lines: Lines = NO_LINES,
    env: Mapping[str, str | None] = MappingProxyType({}),
) -> str:
    """Return the batch script of a submission.

    `runner` is the path of the runner's zip, `chdir` the working directory (None: that of the submission), `cpus` the
    option cpus_per_task, `calls` the number of calls and of workers of an element (0: no workers). `retry` is set if
    elements may be resubmitted, `hooked` if there are hooks, `measured` if there are metrics, `ranks` if there are
    several ranks, `separate_stderr` if standard error has a log of its own. `lines` are the lines of the task. The
    script's arguments, its first element and the number of earlier attempts, default to 0: a person can sbatch it.
    """
    environment = environment.replace(setup=(*environment.setup, *lines.setup))
    job, environment = f"{root}/{JOBS}/{key}", _checked(environment, root)
    which = f'{shlex.join([root, key])} "$index" {shlex.quote(environment.tag)} {calls[0]}'
    more = [f'{calls[1]} "$attempt"', *([retry.signal or "-"] if retry else []), *[METRICS] * measured]
    more += [CALLBACKS] * hooked
    start = f'{shlex.join([*environment.launch, environment.python])} -c "$slurmtasks_boot" {shlex.quote(runner)}'
    call = f"{start} slurm.runner.main" if ranks is None else _ranks(ranks, environment, start)
    resubmit = f'{_retry_job(environment, runner, retry.scheduler, root, key)} "$index" "$attempt"' if retry else ""
    call_hooks = f'{start} slurm.runner.completed {which} "$attempt"' if hooked else ""
    succeeded = f'{start} slurm.runner.succeeded {shlex.join([root, key])} "$index"'
    return "\n".join([
        *_head(directives, key, job),
        f'note_log "$job/{LOGS}" "${{1:-0}}"',
        *_logs(ranks=ranks is not None, stderr=separate_stderr),
        *(['moved_on "${2:-0}"'] if retry else ()),
        *_teardown(lines),
        *_variables(cpus, calls[1], steady=workflow, launcher=environment.program),
        *render_steps(environment.setup), *([] if ranks or calls[1] else [_one_rank(key)]), *_BOOT,
        *_called(" ".join([call, which, *more]), retry, environment, chdir=chdir, env=env),
        *(_gathered(ranks, start, " ".join([which, *more])) if ranks else ()),
        *_after_call(resubmit, call_hooks, succeeded, environment, lines),
        "exit $status\n",
    ])  # fmt: skip


def _head(directives: Sequence[str], key: str, job: str) -> Sequence[str]:
    """The first lines: sbatch's options, the element and its attempt, and functions."""
    return (
        "#!/bin/bash",
        *directives,
        "",
        f"# {key}; by hand: sbatch {shlex.quote(job + '/script.sh')} (elements that have outcomes do not run again)",
        f"job={shlex.quote(job)}",
        "index=$(( ${1:-0} + ${SLURM_ARRAY_TASK_ID:-0} ))",
        "attempt=$(( ${2:-0} + ${SLURM_RESTART_COUNT:-0} + 1 ))",
        program(__name__, "job.sh"),
    )


def render_retry_job(
    *, directives: Sequence[str], environment: ResolvedEnvironment, root: str, runner: str, key: str, scheduler: str
) -> str:
    """Return the batch script of the job that resubmits failed elements when no client does."""
    environment = _checked(environment, root)
    command = _retry_job(environment, runner, scheduler, root, key)
    return "\n".join(["#!/bin/bash", *directives, "", *render_steps(environment.setup), command, ""])


def _retry_job(environment: ResolvedEnvironment, runner: str, scheduler: str, root: str, key: str) -> str:
    """The command that resubmits failed elements. It runs outside of a container, which has no scheduler commands."""
    python = environment.outside or environment.python
    return shlex.join([python, "-c", BOOT, runner, "slurm.places.retry_job", scheduler, root, key])


def _checked(environment: ResolvedEnvironment, root: str) -> ResolvedEnvironment:
    """Add a first step that fails if another user owns a program of the environment under the root.

    `[ -O … ]` starts no process. The client checks the modes, and `BOOT` checks those of the runner.
    """
    paths: list[str] = []
    own = f"{root}/{ENVS}/{environment.key}" if environment.program else ""
    for word in (environment.python, *environment.launch, environment.image or "", environment.program or "", own):
        for place in (f"{root}/{ENVS}", f"{root}/{BLOBS}"):
            _, found, rest = word.partition(f"{place}/")
            paths += [place, f"{place}/{rest.partition('/')[0]}"] if found else []
    if not paths:
        return environment
    step = (
        f"for slurmtasks_path in {shlex.join(dict.fromkeys(paths))}; do "
        '[ -O "$slurmtasks_path" ] || { echo "$slurmtasks_path is not yours, so it is not run" >&2; break; }; done; '
        '[ -O "$slurmtasks_path" ]'
    )
    return environment.replace(setup=(step, *environment.setup))


def _after_call(
    resubmit: str, call_hooks: str, succeeded: str, environment: ResolvedEnvironment, lines: Lines
) -> Sequence[str]:
    """The lines after the call: record a failure, tear down, resubmit the element, call the remaining hooks.

    A process may crash as it exits, after its result was saved. Such an attempt counts as a success, so that dependents
    run. Hooks remain if the runner could not call them: its failure was not final, and this attempt is the last.
    """
    hooks_remain = "[ $status -ne 0 ]" if resubmit else "! has_outcome"
    record = f"{ATTEMPTS}/$index.$attempt.json" if resubmit else f"{OUTCOMES}/$index.json"
    return (
        f"[ $status -eq 0 ] || ! has_outcome || ! {succeeded} || status=0",
        "case $status in 125|126|127) step=launch ;; esac"
        if environment.launch
        else "",  # podman-run(1): nothing was started
        *((f"{hooks_remain} || hooks_called=yes",) if call_hooks else ()),
        f'write_failure "$job/{record}"',
        "tear_down" if lines.teardown else "",
        resubmit,
        f'[ -n "$hooks_called" ] || ! has_outcome || {call_hooks}' if call_hooks else "",
    )


_BOOT = (f"slurmtasks_boot={shlex.quote(BOOT)}", "")
"""Defined once in a script, after the user's own steps, which may set variables."""


def _logs(*, ranks: bool, stderr: bool) -> Iterable[str]:
    """Lines that name the element's log without its suffix: the logs of errors and of ranks above 0 are beside it."""
    if ranks or stderr:
        yield from ("log=${1:-0}+${SLURM_ARRAY_TASK_ID:-0}", f'log="$job/{LOGS}/${{log#0+}}"')
    if stderr:
        yield from (f"export {SEPARATE}=yes", 'exec 2>> "$log.err.log"')


def _one_rank(key: str) -> str:
    """Set the variables of torch.distributed for one process, unless it may start others in its allocation."""
    port = f"$(( {ports.FIRST} + ({ports.of_key(key)} + index) % {ports.COUNT} ))"
    return (
        'case "${SLURM_NTASKS:-1} ${SLURM_JOB_NUM_NODES:-1}" in "1 1") '
        "export RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 NODE_RANK=0 "
        f'MASTER_ADDR="${{MASTER_ADDR:-127.0.0.1}}" MASTER_PORT="${{MASTER_PORT:-{port}}}" ;; esac'
    )


def _ready(environment: ResolvedEnvironment, chdir: str | None, env: Mapping[str, str | None]) -> Sequence[str]:
    """The steps before the call: change the directory, and set variables.

    If the working directory is missing, Slurm runs the job in /tmp: a failing cd prevents that.
    """
    steps = [] if chdir and chdir.startswith("/") else ['"${SLURM_SUBMIT_DIR:-.}"']
    steps += [shlex.quote(chdir if chdir.startswith("/") else f"./{chdir}")] if chdir else []  # `./`: no CDPATH
    steps = [*(['[ -z "$step" ] &&'] if environment.setup else []), *(f"cd -- {step} &&" for step in steps)]
    return [*steps, *_exported(env, VALUE if environment.program else "")]


def _exported(env: Mapping[str, str | None], prefix: str) -> Iterable[str]:
    """Lines that set the variables of the option `env`, or remove them; with a prefix, for a program in a container."""
    removed = [prefix + name for name, text in env.items() if text is None]
    if removed:
        yield f"unset {' '.join(removed)} &&"
    for name, text in env.items():
        if text is not None:
            yield f"export {prefix}{name}={_quoted(text)} &&"
    if env:
        yield f"export {NAMED}={shlex.quote(' '.join(env))} &&"


def _quoted(text: str) -> str:
    """Quote text for bash on one line: sbatch refuses scripts with carriage returns."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\{byte:03o}" for byte in character.encode())


def _called(
    call: str,
    resubmission: Resubmission | None,
    environment: ResolvedEnvironment,
    *,
    chdir: str | None,
    env: Mapping[str, str | None],
) -> Sequence[str]:
    """The steps and the call. If a signal can stop the call, the call runs in the background: bash handles signals
    only between commands. Variables are set in a subshell, so that the lines that follow keep their PATH.

    The signal is passed on several times, because the first may arrive before the task has a handler; until then,
    `trap ''` ignores it.
    """
    steps = _ready(environment, chdir, env)
    if resubmission is None or resubmission.signal is None:
        # If SIGTERM ended the shell first, nothing would wait for a task that ignores SIGTERM (proctrack/linuxproc).
        lines = ("(", *steps, f"exec {call}", ")") if env else (*steps, call)
        # Another SIGTERM would end the teardown, which runs on exit.
        return ("trap \"trap '' TERM; exit 143\" TERM", *lines, "status=$?")
    signal = resubmission.signal
    early = (
        ":" if environment.launch else "''"
    )  # a shell that launches the runner cannot trap a signal that it inherits ignored
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


def _ranks(ranks: Ranks, environment: ResolvedEnvironment, start: str) -> str:
    """The command that starts the ranks. Without a launcher, the runner starts as many as the scheduler reports."""
    here = "0" if ranks.launcher else '"${SLURM_NTASKS:-1}"'
    launcher = ["env", f"{STEP}={shlex.join(ranks.launcher)}"] if environment.is_step else ranks.launcher
    words = "".join(f"{shlex.quote(word)} " for word in launcher)
    return f'{words}{start} slurm.runner.ranks {_gather(ranks)} {here} "$log"'


def _gathered(ranks: Ranks, start: str, which: str) -> Sequence[str]:
    """The line that writes one outcome for all ranks, when all have ended."""
    return (f'[ -n "$step" ] || {{ {start} slurm.runner.gathering {_gather(ranks)} "$status" {which}; status=$?; }}',)


def _gather(ranks: Ranks) -> str:
    """The argument of ranks and of gathering that says whether all results are kept."""
    return "gather" if ranks.gather else "''"


def _teardown(lines: Lines) -> Iterable[str]:
    """Lines that make the teardown run when the script ends after this point, for any reason."""
    if lines.teardown:
        yield f"teardown=({shlex.join(lines.teardown)})"
        yield program(__name__, "tear_down.sh")
        yield "trap tear_down EXIT"


def _variables(cpus: str | None, workers: int, *, steady: bool, launcher: str | None) -> Iterable[str]:
    """Lines that export variables to the call and its child processes."""
    if launcher:
        yield f"export {LAUNCHER}={shlex.quote(launcher)}"
    yield "export PYTHONUNBUFFERED=1"
    if steady:  # sets of texts have the same order in all attempts of a workflow, so its calls have the same pickles
        yield 'export PYTHONHASHSEED="${PYTHONHASHSEED:-0}"'
    if cpus:  # since 22.05, srun does not inherit it from the job; libraries start a thread for each CPU they see
        yield f"export SRUN_CPUS_PER_TASK={cpus}"
        yield f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{max(1, int(cpus) // max(1, workers))}}}"'
