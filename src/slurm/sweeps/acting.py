"""Acting: do something at a place, and wait for it only as long as the scheduler of the place answers."""

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
"""Seconds that an action may take before its place is asked whether it answers, and between two such questions."""
_PATIENCE = 10.0
"""How many seconds the scheduler of a place may take to answer that question."""


class Actions:
    """Does things at places, each in a thread, so that a place that dies meanwhile keeps nothing from the others.

    The core tries for up to 15 minutes to submit, and for ten to connect again.
    """

    def __init__(self) -> None:
        self._late: dict[tuple[Place, str], _Action[Any]] = {}

    def run(self, place: Place, kind: str, do: Callable[[], T]) -> T:
        """Do something at a place: returns what it returns, and raises what it raises.

        Raises TransportError if the place does not answer. What was begun then goes on in its thread, and what it finds
        is lost here: callers find it by a later look. Until it has ended, nothing else of this kind is done there.
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
    """One action."""

    def __init__(self, name: str, do: Callable[[], T]) -> None:
        super().__init__(name="slurm-act", daemon=True)
        self._words, self._do, self._context = name, do, contextvars.copy_context()
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.late = False

    def run(self) -> None:
        """Do it."""
        try:
            self._found.append(self._context.run(self._do))
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._error = error
            if self.late:
                _log.warning("%s: %s", self._words, error)

    def end(self) -> T:
        """Return what was found. Raises what was raised."""
        if self._error is not None:
            raise self._error
        return self._found[0]
