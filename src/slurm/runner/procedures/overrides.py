"""OverrideReader: reads the values that operators have set for all procedures of a root."""

from __future__ import annotations

from slurm.protocol.files import open_own
from slurm.protocol.freshness import list_names, retry_absent
from slurm.protocol.procedures import BELL, CONTEXT, Override, is_name, record_numbers
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log
from slurm.runner.procedures.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_LISTING_SECONDS = 30.0


def highest(directory: str) -> int:
    """Return the highest number of the records in a directory; 0 if there is none. Raises OSError."""
    return max(record_numbers(list_names(directory)), default=0)


class OverrideReader:
    """Reads the last change of each topic, each change once."""

    def __init__(self, root: str) -> None:
        self._directory, self._known = f"{root}/{CONTEXT}", dict[str, int]()
        self._bell = Bell(self._directory, _LISTING_SECONDS)

    def take(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Yield the topics that have changed, each with the number of the change and its values."""
        if not self._bell.has_rung():
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
            print_to_log(f"an override cannot be read, trying again: {error}\n")
            self._bell.forget()
