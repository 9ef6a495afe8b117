"""The commands of the inline queue: this process answers them, also to shells that it has started.

A shell asks with files in a private directory. It writes the words of its command, each followed by NUL, to a file that
is named by the shell's process id. Then it writes this id as a line to the FIFO `requests`. The answer comes through a
separate FIFO: first a line with the exit status, then the output.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import threading
from functools import partial
from typing import TYPE_CHECKING

from slurm.schedulers.base import numbers
from slurm.testing.inline.faults import Answer
from slurm.testing.inline.queue import queue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.testing.inline.jobs import Element, InlineJob

REFUSED, LATER, FULL, DOWN = (f"slurm-inline: {word}: " for word in ("refused", "later", "full", "down"))
"""The first words of error messages."""
NO_ACCOUNTING = "slurm-inline: there is no accounting"
END = "end"
"""The last line of a complete status."""

_directory: list[tuple[int, str]] = []
_lock = threading.Lock()


def directory() -> str:
    """Return the directory where this process listens to shells. The first call makes it, and starts a thread."""
    with _lock:
        if not _directory or _directory[0][0] != os.getpid():  # after a fork, the thread is missing
            made = tempfile.mkdtemp(prefix="slurm-inline-")
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            os.mkfifo(f"{made}/requests", 0o600)
            requests = os.open(f"{made}/requests", os.O_RDWR | os.O_CLOEXEC)  # read and write: a writer never waits
            threading.Thread(target=_serve, args=(made, requests), name="slurm-inline-server", daemon=True).start()
            _directory[:] = [(os.getpid(), made)]
        return _directory[0][1]


def _serve(made: str, requests: int) -> None:
    with open(requests, encoding="ascii") as lines:
        for line in lines:
            path = f"{made}/{line.strip()}"
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                words = file.read().split("\0")[:-1]
            try:
                status, text = run(words)
            except (LookupError, ValueError, OSError) as error:  # a malformed request must not keep its shell waiting
                status, text = 1, f"{REFUSED}{type(error).__name__}: {error}\n"
            with open(f"{path}.answer", "w", encoding="utf-8", errors="surrogateescape") as answer:
                answer.write(f"{status}\n{text}")


def run(words: Sequence[str]) -> tuple[int, str]:
    """Run a command; returns its exit status, and its output, or its error message if it fails."""
    verb, *rest = words
    if verb == "submit":
        return _submit(rest)
    if verb == "limits":
        return 0, json.dumps({"max_array_size": queue.max_array_size, "most_queued": queue.most_queued})
    if queue.silent and verb in {"status", "accounting"}:
        return 1, f"{DOWN}no answer\n"
    if verb == "status":
        return 0, "".join(f"{_line(*found)}\n" for found in queue.elements(rest)) + f"{END}\n"
    if verb == "accounting" and queue.accounting_lag is None:
        return 1, f"{NO_ACCOUNTING}\n"
    if verb == "accounting":
        return 0, "".join(f"{_line(*found)}\n" for found in queue.elements(rest, accounting=True))
    if verb == "queued":
        return 0, "".join(f"{id_}\n" for id_ in queue.live())
    if verb == "requeue":
        return (0, "") if queue.requeue(rest[0]) else (1, f"{REFUSED}{rest[0]} is not running\n")
    for word in rest:
        name, _, key = word.partition("=")
        id_, _, tasks = name.partition("_")
        _CHANGES[verb](id_, numbers(tasks) if tasks else None, key)
    return 0, ""


_CHANGES: Mapping[str, Callable[[str, Sequence[int] | None, str], None]] = {
    "cancel": queue.cancel,
    "hold": queue.hold,
    "release": partial(queue.hold, release=True),
}


def _submit(words: Sequence[str]) -> tuple[int, str]:
    asked = json.loads(words[0])
    if not os.path.exists(asked["script"]):
        return 1, f"{REFUSED}there is no script {asked['script']}\n"
    room = queue.room()
    if room is not None and len(asked["tasks"]) > room:
        return 1, f"{FULL}{queue.most_queued} elements may be queued\n"
    answer, id_ = queue.submit(words)
    if answer is Answer.REFUSED:
        return 1, f"{REFUSED}on request\n"
    if answer is Answer.LATER:
        return 1, f"{LATER}on request\n"
    return (1, "") if answer else (0, f"{id_}\n")


def _line(job: InlineJob, element: Element) -> str:
    return json.dumps({
        "id": job.id,
        "tasks": [element.task] if job.array else None,
        "word": element.state.value,
        "node": os.uname().nodename if element.began else "",
        "reason": element.reason,
        "exit_code": element.exit_code,
        "dependency_failed": element.dependency_failed,
        "comment": job.comment,
        "script": job.script,
    })  # fmt: skip
