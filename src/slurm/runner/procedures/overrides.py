"""OverrideReader: reads what operators have set, for all procedures of a root."""

from __future__ import annotations

import time

from slurm.protocol.files import open_own
from slurm.protocol.freshness import list_names, retry_absent
from slurm.protocol.procedures import BELL, CONTEXT, Override, is_name
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_LOOK_SECONDS = 0.1


def read_bell(directory: str) -> bytes:
    """Return the bytes of a bell. Opened anew each time: only then writes of other machines are seen."""
    try:
        with open(f"{directory}/{BELL}", "rb") as file:
            return file.read(64)
    except OSError:
        return b""


def highest(directory: str) -> int:
    """Return the highest number of the records in a directory; 0 if there is none. Raises OSError."""
    names = (name.partition(".") for name in list_names(directory))
    return max((int(number) for number, _, end in names if number.isdecimal() and end == "json"), default=0)


class OverrideReader:
    """The last change of each topic, each once."""

    def __init__(self, root: str) -> None:
        self._directory, self._known = f"{root}/{CONTEXT}", dict[str, int]()
        self._rung, self._looked = b"", float("-inf")

    def take(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Yield the topics that have changed, each with the number of the change and its values."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        first, self._looked = self._looked < 0, time.monotonic()
        if (rung := read_bell(self._directory)) == self._rung and not first:
            return
        from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

        try:
            for topic in (name for name in list_names(self._directory) if is_name(name) and name != BELL):
                number = highest(f"{self._directory}/{topic}")
                if number > self._known.get(topic, 0):
                    path = f"{self._directory}/{topic}/{number}.json"
                    with retry_absent(open_own, path) as file:
                        values = Override.loads(file.read(), where=path).values
                    self._known[topic] = number
                    yield topic, number, values
        except (OSError, ProtocolError) as error:
            print_to_log(f"an override is left out: {error}\n")
        self._rung = rung
