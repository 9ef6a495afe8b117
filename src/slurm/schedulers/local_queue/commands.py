"""`submit`, `query`, `list`, `cancel`: the local scheduler's sbatch, squeue and scancel.

Exit status: 0 done; 1 refused, nothing was queued; 75 (EX_TEMPFAIL) no answer, so it is unknown whether it was queued.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING

from slurm.options.values import duration, seconds, signal_and_lead
from slurm.schedulers.base import ntasks, ranges
from slurm.schedulers.local_queue import identity
from slurm.schedulers.local_queue.checks import parse_tasks
from slurm.schedulers.local_queue.client import NoAnswer, RequestRefused, ask, stop
from slurm.schedulers.local_queue.messages import Accepted, Cancel, Comments, Done, Listing, Query, States, Submission
from slurm.schedulers.local_queue.wire import REFUSED, directory
from slurm.schedulers.marks import whose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DEPENDENCIES = ("afterok", "afternotok", "afterany", "aftercorr")
_TEMPORARY_FAILURE = 75  # sysexits.h


def main(argv: Sequence[str]) -> int:
    """Run one command. LocalScheduler parses the output."""
    command, *rest = argv
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _COMMANDS[command](rest)
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return _TEMPORARY_FAILURE
    except (OSError, ValueError, RequestRefused) as error:
        print(f"{REFUSED}{error}", file=sys.stderr)
        return 1
    return 0


def _submit(argv: Sequence[str]) -> None:
    given = [word for word in argv if word.startswith("--")]
    script, *arguments = [word for word in argv if not word.startswith("--")]
    options = {**_options(_directives(script)), **_options(given)}
    print(ask(submission(script, arguments, options), Accepted).id)


def submission(script: str, arguments: Sequence[str], options: Mapping[str, str]) -> Submission:
    """The request for a script with sbatch's options, by name. Raises ValueError for an invalid option."""
    array, _, most = options["array"].partition("%")
    limit, ahead = options.get("time"), options.get("signal")
    with _naming("--array", options["array"]):
        tasks = _tasks(array)
        max_concurrent = _count(most) if most else None
    with _naming("--cpus-per-task", cpus_per_task := options.get("cpus-per-task")):
        cpus = _count(cpus_per_task) if cpus_per_task else 1
    with _naming("--ntasks", options.get("ntasks") or options.get("ntasks-per-node")):
        number_of_tasks = _count(str(ntasks(lambda name: options.get(name.replace("_", "-")))))
    with _naming("--time", limit):
        time_limit = _time_limit(limit) if limit else None
    with _naming("--signal", ahead):
        warning = _warning(ahead) if ahead else None
    return Submission(
        token=os.urandom(16).hex(),
        script=os.path.abspath(script),
        arguments=list(arguments),
        tasks=tasks,
        max_concurrent=max_concurrent,
        log=options["output"],
        cpus=0 if "waits" in options else cpus * number_of_tasks,
        ntasks=number_of_tasks,
        cpus_per_task=cpus_per_task,
        seconds=time_limit,
        warning=warning,
        comment=options.get("comment", ""),
        name=options.get("job-name", os.path.basename(script)),
        dependencies={kind: options[kind].split(",") for kind in _DEPENDENCIES if kind in options},
        cwd=options.get("chdir") or os.getcwd(),
        submit_dir=os.getcwd(),
        environ=dict(os.environ),
        umask=_umask(),
    )


@contextlib.contextmanager
def _naming(option: str, value: str | None) -> Iterator[None]:
    """Parse an option's value; an error names the option."""
    try:
        yield
    except (ValueError, KeyError, OverflowError) as error:
        message = f"{option}={value}: expected {error}"
        raise ValueError(message) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise ValueError("a whole number from 1")
    return int(text)


def _tasks(text: str) -> str:
    """Array tasks in a normal form."""
    return ranges(set(parse_tasks(text)))


def _time_limit(text: str) -> int | None:
    """Seconds; None for no limit."""
    return seconds(duration(text))


def _warning(text: str) -> list[int]:
    """A signal's number, and its lead in seconds."""
    name, lead = signal_and_lead(text)
    number = int(name) if name.isdecimal() else getattr(signal, f"SIG{name}")
    if number not in signal.valid_signals():
        raise ValueError("a signal that this machine has")
    return [int(number), lead]


def _query(ids: Sequence[str]) -> None:
    """Print the supervisor's identity, then the states of ids with their comments."""
    rows = ask(Query(list(ids)), States).rows
    comments = ask(Listing(), Comments).comments
    host = os.uname().nodename
    print(identity.line(directory()))
    for id_, tasks, state, reason in rows:
        comment = " ".join(comments.get(id_, "").splitlines())
        print("\x1f".join((id_, tasks, state, host if state == "RUNNING" else "", reason, comment)))


def _list(_: Sequence[str]) -> None:
    for id_, comment in ask(Listing(), Comments).comments.items():
        print(f"{id_}|{' '.join(comment.splitlines())}")


def _cancel(names: Sequence[str]) -> None:
    """Cancel "id_tasks=key": tasks of an id, or all, unless its comment names another submission than the key."""
    comments = ask(Listing(), Comments).comments
    wanted: dict[str, str | None] = {}
    for name, _, key in (name.partition("=") for name in names):
        id_, _, tasks = name.partition("_")
        if whose(key, comment=re.split("[+~]", comments.get(id_, ""), maxsplit=1)[0], script="") is not False:
            before = wanted.get(id_, tasks)
            wanted[id_] = f"{before},{tasks}" if before and tasks else None
    ask(Cancel(wanted), Done)


def _stop(_: Sequence[str]) -> None:
    stop()


_COMMANDS = {"submit": _submit, "query": _query, "list": _list, "cancel": _cancel, "stop": _stop}


def _directives(script: str) -> list[str]:
    """The arguments in a script's #SBATCH lines, which end at the first command, as for sbatch."""
    found: list[str] = []
    with open(script, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("#SBATCH "):
                found += shlex.split(line[len("#SBATCH ") :])
            elif line.strip() and not line.startswith("#"):
                break
    return found


def _options(words: Sequence[str]) -> Mapping[str, str]:
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {name: value for name, _, value in pairs}


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
