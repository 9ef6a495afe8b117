"""procedure: the interface of a script to the procedure that runs it. Also works if a person runs the script."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ProcedureStopped(BaseException):
    """The procedure is being stopped. Raised once, in the main thread, wherever the script is.

    A script may catch it to bring its work to rest, and has the grace of the procedure for that.
    """


class ScriptContext(Mapping[str, Mapping[str, Any]]):
    """The operator's overrides: the current values of each topic that was published."""

    def __init__(self) -> None:
        self._topics: dict[str, tuple[int, dict[str, Any]]] = {}

    def __getitem__(self, topic: str) -> Mapping[str, Any]:
        return self._topics[topic][1]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._topics))

    def __len__(self) -> int:
        return len(self._topics)

    def update(self, topic: str, number: int, values: dict[str, Any]) -> None:
        """Apply the change `number` of a topic, unless a later change is known."""
        if number > self._topics.get(topic, (0, {}))[0]:
            self._topics[topic] = number, values


class ScriptProcedure:
    """The procedure that runs this script: `from slurm.procedures import procedure`."""

    def __init__(self) -> None:
        self.context = ScriptContext()
        """The operator's overrides."""
        self._changed = threading.Condition()
        self._messages: list[Any] = []
        self._count = 0
        self._send: Callable[[dict[str, Any]], None] | None = None

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether the operator has enabled a topic: the value `enabled` of its last change, or the default."""
        return bool(self.context.get(name, {}).get("enabled", default))

    def sleep(self, seconds: float) -> bool:
        """Sleep until the time is over, or until a message or an override arrives; returns whether one arrived.

        A stop of the procedure ends the sleep, too.
        """
        end = time.monotonic() + seconds
        with self._changed:
            before = self._count
            while self._count == before and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._count != before

    def messages(self) -> list[Any]:
        """Return the messages that `send` has sent since the last time, in order."""
        with self._changed:
            found, self._messages = self._messages, []
        return found

    def report(self, text: str = "", **values: Any) -> None:
        """Add an event: a text for people, and values. Values that JSON cannot represent are reported as text."""
        if self._send is None:
            print(text, *(f"{name}={value!r}" for name, value in values.items()))
        else:
            self._send({"say": "report", "text": str(text), "values": values})

    # The methods that the process of the script calls.

    def connect(self, send: Callable[[dict[str, Any]], None]) -> None:
        """Send reports with the function `send`."""
        self._send = send

    def receive(self, message: Mapping[str, Any]) -> None:
        """Take a message or an override, and wake `sleep`."""
        with self._changed:
            if message["do"] == "override":
                self.context.update(message["topic"], message["number"], message["values"])
            else:
                self._messages.append(message["message"])
            self._count += 1
            self._changed.notify_all()


procedure = ScriptProcedure()
