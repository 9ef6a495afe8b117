"""A real Jupyter kernel, and the cells that are run in it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any

from jupyter_client.manager import KernelManager
from typing_extensions import Self

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SECONDS = 60.0


@dataclass
class Cell:
    """What came of a cell: what it printed, what it showed by type, and the name, message and text of its error."""

    printed: str = ""
    shown: list[Mapping[str, str]] = field(default_factory=list)
    error: tuple[str, str, str] | None = None

    @property
    def text(self) -> str:
        """The plain text of what it showed last."""
        assert self.error is None, self.error[2]
        return self.shown[-1]["text/plain"]

    @property
    def html(self) -> str:
        """The same as HTML."""
        assert self.error is None, self.error[2]
        return self.shown[-1]["text/html"]


class Kernel:
    """A kernel in a directory, with an environment; it talks over sockets in `place`, so no ports are needed."""

    def __init__(self, place: Path, directory: Path, environment: Mapping[str, str]) -> None:
        own = {name: str(place) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
        self._manager = KernelManager(transport="ipc", ip=str(place / "kernel"), connection_file=str(place / "k.json"))
        self._start = {"env": {**environment, **own}, "cwd": str(directory)}
        self.live: dict[str, list[Mapping[str, str]]] = {}
        """What each live output has shown, one after the other, by its display id."""

    def __enter__(self) -> Self:
        self._manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"], **self._start)
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def restart(self) -> None:
        """Kill it and start another, as the notebook's button does."""
        self._client.stop_channels()
        self._manager.restart_kernel(now=True)
        self._connect()

    def run(
        self,
        code: str,
        *,
        interrupt_after: str | None = None,
        meanwhile: Callable[[Mapping[str, str]], object] = lambda shown: None,
    ) -> Cell:
        """Run a cell to its end; interrupt it, as the notebook's button does, once it has printed that.

        `meanwhile` is given whatever a live output shows, of this cell or of an earlier one.
        """
        cell = Cell()
        mine = self._client.execute(code)
        end = time.monotonic() + _SECONDS
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=end - time.monotonic())
            except Empty:
                raise AssertionError(f"the cell doesn't end: {code}\n{cell}") from None
            live = self._take_live(message["msg_type"], message["content"])
            if live:
                meanwhile(live)
            if message["parent_header"].get("msg_id") != mine:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return cell
            _take(cell, message["msg_type"], message["content"])
            if interrupt_after and interrupt_after in cell.printed:
                interrupt_after = None
                self._manager.interrupt_kernel()

    def _take_live(self, kind: str, content: Mapping[str, Any]) -> Mapping[str, str] | None:
        """What a live output shows now, if that is what a message is about: its first, or another in its place."""
        name = content.get("transient", {}).get("display_id")
        if name is None or kind not in ("display_data", "update_display_data"):
            return None
        assert (name in self.live) == (kind == "update_display_data")
        self.live.setdefault(name, []).append(content["data"])
        return self.live[name][-1]

    def _connect(self) -> None:
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_SECONDS)


def _take(cell: Cell, kind: str, content: Mapping[str, Any]) -> None:
    if kind == "stream":
        cell.printed += content["text"]
    elif kind in ("execute_result", "display_data"):
        cell.shown.append(content["data"])
    elif kind == "error":
        cell.error = (content["ename"], content["evalue"], _ANSI.sub("", "\n".join(content["traceback"])))
