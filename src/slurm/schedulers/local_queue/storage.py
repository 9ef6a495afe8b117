"""Storage: the supervisor's state on disk, from which the next supervisor continues if this one is killed.

A submission has two files, independent of its number of elements: `queue/ID.json` holds the submission, and
`queue/ID.ends` has a line for each final state. A third file, `queue/ID.held`, exists once tasks were held. Only the
supervisor writes these files. The kernel keeps what a killed process has written, so nothing is fsynced; after a
restart of the machine the state is discarded. The environment of a submission may hold secrets: the directory is 0700,
the files are 0600, and the environment is removed when the submission has finished.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.ranges import numbers, ranges
from slurm.schedulers.local_queue.messages import Submission, check, decode_as, encode
from slurm.schedulers.local_queue.notes import FinalState
from slurm.schedulers.local_queue.processes import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Stored(NamedTuple):
    """A submission and the final states of its finished elements."""

    id: str
    submission: Submission
    finished: list[tuple[int, FinalState]]
    changed: float
    """When it was last changed, in seconds since 1970."""
    held: list[int]
    """Tasks that must not start until they are released."""


class Storage:
    """The files of one supervisor's directory."""

    def __init__(self, directory: str, boot: str) -> None:
        self._directory = directory
        for name in ("queue", "running"):
            os.makedirs(f"{directory}/{name}", mode=0o700, exist_ok=True)
        if _read(f"{directory}/boot") != boot:  # after a restart of the machine its jobs count as lost
            for name in ("queue", "running"):
                for file in os.listdir(f"{directory}/{name}"):
                    os.unlink(f"{directory}/{name}/{file}")
            self._write("boot", boot.encode())
        self.last_id = int(_read(f"{directory}/last-id") or 0)

    def note(self, id_: str, task: int) -> str:
        """Return the path of a running element's note."""
        return f"{self._directory}/running/{id_}_{task}"

    def notes(self) -> Iterator[tuple[str, int]]:
        """Yield the id and the task of each note."""
        for name in os.listdir(f"{self._directory}/running"):
            id_, _, task = name.partition("_")
            if id_.isdecimal() and task.isdecimal():
                yield id_, int(task)

    def remove_note(self, id_: str, task: int) -> None:
        """Remove a note whose final state is stored."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.note(id_, task))

    def add(self, id_: str, submission: Submission) -> None:
        """Store a new submission. Raises OSError if it is not stored."""
        self._write("last-id", id_.encode())
        self.last_id = int(id_)
        self._write(f"queue/{id_}.json", encode(submission))

    def finish(self, id_: str, tasks: Iterable[int], final: FinalState) -> None:
        """Store that elements have finished."""
        line = f"{ranges(tasks)} {final.state} {' '.join(final.reason.split())}\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with open(os.open(f"{self._directory}/queue/{id_}.ends", flags, 0o600), "ab") as file:
            file.write(line.encode("ascii", "backslashreplace"))

    def hold(self, id_: str, tasks: Iterable[int]) -> None:
        """Store which tasks are held."""
        self._write(f"queue/{id_}.held", ranges(tasks).encode())

    def strip(self, id_: str, submission: Submission) -> None:
        """Replace a finished submission by one without its environment."""
        self._write(f"queue/{id_}.json", encode(submission))

    def forget(self, id_: str) -> None:
        """Remove a submission."""
        for kind in ("json", "ends", "held"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/queue/{id_}.{kind}")

    def load(self) -> Iterator[Stored]:
        """Yield all submissions in order. One whose file cannot be read is reported in the log and left out."""
        ids = [name.removesuffix(".json") for name in os.listdir(f"{self._directory}/queue") if name.endswith(".json")]
        for id_ in sorted(filter(str.isdecimal, ids), key=int):
            path = f"{self._directory}/queue/{id_}"
            try:
                with open(f"{path}.json", "rb") as file:
                    check(submission := decode_as(Submission, file.read()))
                    changed = os.fstat(file.fileno()).st_mtime
            except (OSError, ValueError) as error:
                log(f"{path}.json: {error}")
            else:
                held = list(numbers(text)) if (text := _read(f"{path}.held")) else []
                yield Stored(id_, submission, list(_final_states(_read(f"{path}.ends"))), changed, held)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file atomically."""
        hidden = f"{self._directory}/{name}.new"
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(hidden, f"{self._directory}/{name}")


def _final_states(text: str) -> Iterator[tuple[int, FinalState]]:
    """Parse tasks and final states. A truncated line is ignored."""
    for line in text.split("\n")[:-1]:
        tasks, _, rest = line.partition(" ")
        state, _, reason = rest.partition(" ")
        with contextlib.suppress(ValueError):
            yield from ((task, FinalState(state, reason)) for task in numbers(tasks))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
