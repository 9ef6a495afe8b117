"""JSONLinesCallback: write the events of jobs to a file, as lines of JSON."""

from __future__ import annotations

from slurm.callbacks.base import Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from typing import IO

    from slurm.callbacks.events import ClientEvent


class JSONLinesCallback(Callback):
    """Append a line to a file for each event on the client: its fields, and `event`, the hook's name without `on_`.

    The first event opens the file. A relative path is resolved when the callback is created.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from pathlib import Path  # noqa: PLC0415 - not needed on a node

        self.path = Path(path).expanduser().absolute()
        self._file: IO[str] | None = None

    def _write(self, event: ClientEvent) -> None:
        import json  # noqa: PLC0415 - as above

        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(event.payload(), default=str) + "\n")
        self._file.flush()

    on_submit = on_state = on_complete = on_progress = _write
    on_packaging_begin = on_packaging_end = _write

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
