"""The error for a command that has failed: what happened, and what its directory shows about it."""

from __future__ import annotations

import os

from slurm.protocol import FAILED
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner import launcher_variables
from slurm.runner.attempt_directory import LOGS_OF_PROGRAM, STDERR, STDOUT
from slurm.runner.program import NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED, OUT_OF_MEMORY
from slurm.runner.template import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.errors import CommandFailed
    from slurm.runner.attempt_directory import AttemptDirectory
    from slurm.runner.job_context import JobContext
    from slurm.runner.program import Ended

_MOST_NAMES = 5


def failure(
    name: str,
    argv: Sequence[str],
    ended: Ended,
    wrong: Sequence[str],
    *,
    directory: AttemptDirectory,
    job: JobContext,
    given: Sequence[str],
) -> CommandFailed:
    """Return the error. `wrong` has the patterns of missing products, and then the result of a failed check.

    `given` are the files that were sent.
    """
    from slurm.errors import CommandFailed, CommandOutOfMemory  # noqa: PLC0415 - imports concurrent.futures

    tail, where = directory.tail(STDERR), "standard error"
    if not tail:
        tail, where = directory.tail(STDOUT), "standard output"
    *missing, rejected = wrong
    if ended.problem:
        problem = f"could not start: {ended.problem}"
    elif ended.out_of_memory:
        problem = "ran out of memory: give it more with .with_options(mem=…)"
    elif ended.signal:
        problem = f"was killed by {name_of(ended.signal, prefix='SIG')}"
    elif ended.status:
        problem = f"ended with status {ended.status}{_hint(ended)}{_not_sent(argv, directory.path)}"
    elif rejected:
        problem = f"ended with status 0, but {rejected}"
    else:
        problem = f"ended with status 0, but did not write {', '.join(missing)} in its directory"
        problem += _written(directory.path, given)
    end = f". Its {where} ends:\n{tail}\n" if tail else ", and it printed nothing. "
    if rejected:
        end = f". The {where} ends:\n{tail}\n" if tail else ". "
    kind = CommandOutOfMemory if ended.out_of_memory and not ended.problem else CommandFailed
    error = kind(
        f"{name}: `{shown(argv)}` {problem}{end if not ended.problem else '. '}It ran in {directory.path}",
        key=job.key,
        index=job.index,
        job_id=job.job_id,
        state=OUT_OF_MEMORY if kind is CommandOutOfMemory else FAILED.upper(),
        node=job.host,
        log=f"{directory.path}/{STDERR}",
        exit_code=ended.status,
        signal=ended.signal,
    )
    error.missing, error.stderr, error.directory = tuple(missing), directory.tail(STDERR), directory.path
    return error


def _hint(ended: Ended) -> str:
    """Return a hint about a full disk, or about an exit status that shells use."""
    if ended.full:
        return " (the file system of its directory is full)"
    if ended.status == NOT_FOUND:
        return " (a command was not found)"
    if ended.status == NOT_STARTED and launcher_variables.LAUNCHER in os.environ:
        return " (its container was not started)"
    return " (a file is not executable)" if ended.status == NOT_EXECUTABLE else ""


def shown(argv: Sequence[str]) -> str:
    """Return words as a line for a shell, shortened."""
    import shlex  # noqa: PLC0415 - only for an error message

    text = shlex.join(argv)
    return text if len(text) <= 300 else f"{text[:300]}…"


def name_of(number: int, *, prefix: str = "") -> str:
    """Return the name of a signal, with a prefix."""
    import signal  # noqa: PLC0415 - it imports `enum`; only for failures and stops

    try:
        return prefix + signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"signal {number}"


def _written(path: str, given: Sequence[str]) -> str:
    """Return the names of the first files that the program has written, in parentheses."""
    found = []
    for home, _, names in os.walk(path):
        found += [os.path.relpath(f"{home}/{name}", path) for name in names]
    written = sorted({*found} - {*given, *LOGS_OF_PROGRAM})
    more = f" and {len(written) - _MOST_NAMES} more" if len(written) > _MOST_NAMES else ""
    return f" (it wrote {', '.join(written[:_MOST_NAMES]) or 'no file'}{more})"


def _not_sent(argv: Sequence[str], path: str) -> str:
    """Return a hint about the first word that is the relative path of a script that does not exist there."""
    for word in argv:
        if word.endswith(SCRIPTS) and not word.startswith(("-", "/")) and not os.path.exists(f"{path}/{word}"):
            return f" ({word} is not in its directory. If the program reads it, name it in files=)"
    return ""
