"""Acting: run an action at a place, and wait for its end only as long as the scheduler of the place answers."""

from __future__ import annotations

import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from slurm.errors import TransportError
from slurm.sweeps.looking import scheduler_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.places.place import Place

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ASK_AFTER = 5.0
"""Seconds between the start of an action and the first check whether its place answers, and between two checks."""
_PATIENCE = 10.0
"""How many seconds the scheduler of a place may take to answer such a check."""


class Actions:
    """Runs actions at places, each in its own thread, so that a place that stops answering does not delay the others.

    Without this, one such place may delay them for long: the core tries to submit for up to 15 minutes, and to
    reconnect for up to ten minutes.
    """

    def __init__(self) -> None:
        self._late: dict[tuple[Place, str], _Action[Any]] = {}

    def run(self, place: Place, kind: str, do: Callable[[], T]) -> T:
        """Run `do` at a place: return its value, and raise its error.

        Raises TransportError if the place does not answer. The action then continues in its thread, and its value is
        lost here: callers see its effect when they look later. While the action runs, any other action of the same
        `kind` at this place raises TransportError, too.
        """
        late = self._late.get((place, kind))
        if late is None or not late.is_alive():
            action = _Action(f"{kind} at {place.url}", do)
            action.start()
            while True:
                action.join(_ASK_AFTER)
                if not action.is_alive():
                    return action.end()
                if not scheduler_answers(place, _PATIENCE):
                    break
            action.late = True
            self._late[place, kind] = action
        raise TransportError(f"{place.url} does not answer; what was begun there ({kind}) goes on when it answers")


class _Action(threading.Thread, Generic[T]):
    """The thread of one action."""

    def __init__(self, name: str, do: Callable[[], T]) -> None:
        super().__init__(name="slurm-act", daemon=True)
        self._words, self._do, self._context = name, do, contextvars.copy_context()
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.late = False

    def run(self) -> None:
        """Run the action, and keep its value or its error."""
        try:
            self._found.append(self._context.run(self._do))
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._error = error
            if self.late:
                _log.warning("%s: %s", self._words, error)

    def end(self) -> T:
        """Return the value of the action. Raises the error of the action."""
        if self._error is not None:
            raise self._error
        return self._found[0]
