"""`submit`, `query`, `list`, `cancel`: the local scheduler's sbatch, squeue and scancel."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from slurm.options.values import seconds
from slurm.schedulers.base import ntasks, numbers, ranges
from slurm.schedulers.local_queue import wire
from slurm.schedulers.local_queue.client import ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEPENDENCIES = ("afterok", "afternotok", "afterany", "aftercorr")


def main(argv: Sequence[str]) -> int:
    """Run one command; what it prints is for LocalScheduler's parsers."""
    command, *rest = argv
    try:
        {"submit": _submit, "query": _query, "list": _list, "cancel": _cancel, "stop": _stop}[command](rest)
    except (wire.Refused, PermissionError) as error:  # others' directory, or socket
        print(f"{wire.REFUSED}{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"the local scheduler doesn't answer: {error}", file=sys.stderr)
        return 1
    return 0


def _submit(argv: Sequence[str]) -> None:
    try:
        request = _request(argv)
    except (OSError, ValueError, KeyError) as error:
        raise wire.Refused(str(error)) from error
    print(ask(request)["id"])


def _request(argv: Sequence[str]) -> dict[str, Any]:
    """What the supervisor is asked to queue: a script with the options that stand in it, and those given here."""
    given = [word for word in argv if word.startswith("--")]
    script, *arguments = [word for word in argv if not word.startswith("--")]
    options = {**_options(_directives(script)), **_options(given)}
    array, _, most = options["array"].partition("%")
    cwd = options.get("chdir") or os.getcwd()
    tasks = ntasks(lambda name: options.get(name.replace("_", "-")))
    return {
        "do": "submit",
        "script": os.path.abspath(script),
        "arguments": arguments,
        "tasks": list(numbers(array)),
        "max_concurrent": int(most) if most else None,
        "log": options["output"],
        "cpus": 0 if "waits" in options else int(options.get("cpus-per-task", 1)) * tasks,
        "ntasks": tasks,
        "cpus_per_task": options.get("cpus-per-task"),
        "seconds": seconds(options["time"]) if "time" in options else None,
        "signal": options.get("signal"),
        "comment": options.get("comment", ""),
        "name": options.get("job-name", os.path.basename(script)),
        "dependencies": [[kind, options[kind].split(",")] for kind in _DEPENDENCIES if kind in options],
        "cwd": cwd,
        "submit_dir": os.getcwd(),
        "environ": dict(os.environ),
        "umask": _umask(),
    }


def _query(ids: Sequence[str]) -> None:
    for id_, tasks, state, reason in ask({"do": "query", "ids": list(ids)})["jobs"]:
        print("|".join((id_, ranges(tasks), state, os.uname().nodename if state == "RUNNING" else "", reason)))


def _list(_: Sequence[str]) -> None:
    for id_, comment in ask({"do": "list"})["jobs"]:
        print(f"{id_}|{comment}")


def _cancel(names: Sequence[str]) -> None:
    wanted = [name.partition("_") for name in names]
    ask(
        {
            "do": "cancel",
            "tasks": [[id_, list(numbers(tasks)) if tasks else None] for id_, _, tasks in wanted],
        }
    )


def _stop(_: Sequence[str]) -> None:
    ask({"do": "stop"})


def _directives(script: str) -> list[str]:
    """The arguments in a script's #SBATCH lines, which end, as for sbatch, at the first line that is a command."""
    found: list[str] = []
    with open(script, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#SBATCH "):
                found += shlex.split(line[len("#SBATCH ") :])
            elif line.strip() and not line.startswith("#"):
                break
    return found


def _options(words: Sequence[str]) -> Mapping[str, Any]:
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {name: value for name, _, value in pairs}


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
