"""Awaiting: from the end of a job, told by a thread, to the event loop that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")

_WAKE_SECONDS = 0.5


def awaited(
    tell: Callable[[Callable[[], object]], Callable[[], None]], read: Callable[[], T]
) -> Generator[Any, None, T]:
    """Wait in the running event loop, which goes on meanwhile, until `tell` calls back; then what `read` returns.

    `tell` returns what takes the wish to be called back. `read` is called in a thread, for it may read from afar.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not ended.done():
            ended.set_result(None)

    def note_there() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(note)

    def wake() -> None:
        alarms[:] = [loop.call_later(_WAKE_SECONDS, wake)]

    alarms: list[asyncio.TimerHandle] = []
    wake()  # now and again, since a notebook's loop hears of an interrupt only when something wakes it
    forget = tell(note_there)
    try:
        yield from ended
        return (yield from loop.run_in_executor(None, read))
    finally:
        alarms[0].cancel()
        forget()
