"""`submit`, `query`, `list`, `cancel`, `hold`, `release`: the local scheduler's sbatch, squeue, scancel and scontrol.

Exit status: 0 for success; 1 for a refusal (nothing was queued); 75 (EX_TEMPFAIL) if the supervisor did not answer, so
it is unknown whether the job was queued.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

from slurm.options.values import clock_text, seconds, signal_and_lead
from slurm.schedulers.base import ntasks, ranges
from slurm.schedulers.local_queue import identity
from slurm.schedulers.local_queue.client import NoAnswer, RequestRefused, ask, stop
from slurm.schedulers.local_queue.messages import (
    Accepted,
    Cancel,
    Comments,
    Done,
    Hold,
    Listing,
    Query,
    States,
    Submission,
    parse_tasks,
)
from slurm.schedulers.local_queue.wire import REFUSED, directory
from slurm.schedulers.marks import has_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

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
    """Return the request for a script with sbatch's options, by name. Raises ValueError for an invalid option."""

    def value(name: str, parse: Callable[[str], T], default: str = "") -> T:
        """Parse an option. A ValueError names the option."""
        text = options.get(name) or default
        try:
            return parse(text)
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"--{name}={text}: expected {error}") from None

    tasks, max_concurrent = value("array", _array)
    number_of_tasks = value(
        "ntasks",
        lambda _: _count(str(ntasks(lambda name: options.get(name.replace("_", "-"))))),
        options.get("ntasks-per-node", ""),
    )
    cpus = value("cpus-per-task", _count, "1")
    return Submission(
        token=os.urandom(16).hex(),
        script=os.path.abspath(script),
        arguments=list(arguments),
        tasks=tasks,
        max_concurrent=max_concurrent,
        log=options["output"],
        cpus=0 if "waits" in options else cpus * number_of_tasks,
        ntasks=number_of_tasks,
        cpus_per_task=options.get("cpus-per-task"),
        seconds=value("time", lambda text: seconds(clock_text(text)), "UNLIMITED"),
        warning=value("signal", _warning),
        comment=options.get("comment", ""),
        name=options.get("job-name", os.path.basename(script)),
        dependencies={kind: options[kind].split(",") for kind in _DEPENDENCIES if kind in options},
        cwd=options.get("chdir") or os.getcwd(),
        submit_dir=os.getcwd(),
        environ=dict(os.environ),
        umask=_umask(),
    )


def _array(text: str) -> tuple[str, int | None]:
    """Parse --array: the tasks in a normal form, and how many may run at the same time."""
    tasks, _, most = text.partition("%")
    return ranges(set(parse_tasks(tasks))), _count(most) if most else None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise ValueError("a whole number from 1")
    return int(text)


def _warning(text: str) -> list[int] | None:
    """Parse --signal: a signal's number, and how many seconds before the time limit it is sent."""
    if not text:
        return None
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
    """Cancel each "id_tasks=key": tasks of an id, or all, unless its comment begins with another submission's key."""
    ask(Cancel(_wanted(names)), Done)


def _hold(names: Sequence[str]) -> None:
    """Keep the pending tasks of each "id_tasks=key" from starting."""
    ask(Hold(_wanted(names), release=False), Done)


def _release(names: Sequence[str]) -> None:
    """Let the pending tasks of each "id_tasks=key" start again."""
    ask(Hold(_wanted(names), release=True), Done)


def _wanted(names: Sequence[str]) -> dict[str, str | None]:
    """Return the tasks of each id, None for all, that belong to their submissions."""
    comments = ask(Listing(), Comments).comments
    wanted: dict[str, str | None] = {}
    for name, _, key in (name.partition("=") for name in names):
        id_, _, tasks = name.partition("_")
        if has_tag(key, comment=re.split("[+~]", comments.get(id_, ""), maxsplit=1)[0], script="") is not False:
            before = wanted.get(id_, tasks)
            wanted[id_] = f"{before},{tasks}" if before and tasks else None
    return wanted


_COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "submit": _submit,
    "query": _query,
    "list": _list,
    "cancel": _cancel,
    "hold": _hold,
    "release": _release,
    "stop": lambda _: stop(),
}


def _directives(script: str) -> list[str]:
    """Return the arguments in a script's #SBATCH lines, which end at the first command, as for sbatch."""
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
