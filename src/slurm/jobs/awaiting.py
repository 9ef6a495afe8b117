"""Awaiting: wake the event loop that waits for jobs when a thread reports that they have ended."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.jobs import completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator

    from slurm.jobs.completion import Openable

    W = TypeVar("W", bound=Openable)

T = TypeVar("T")

_WAKE_SECONDS = 0.5


def awaited(
    tell: Callable[[Callable[[], object]], Callable[[], None]], read: Callable[[], T], come_back: Callable[[], str]
) -> Generator[Any, None, T]:
    """Wait in the running event loop until the callback given to `tell` is called; then return what `read` returns.

    `tell` returns a function that removes the callback. `read` runs in a thread, because it may read from another host.
    If the wait is cancelled, the error contains the text of `come_back`: how to open the jobs again.
    """
    loop = _running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not ended.done():
            ended.set_result(None)

    with _awake(loop):
        forget = tell(partial(_call_soon, loop, note))
        try:
            yield from ended
            return (yield from loop.run_in_executor(None, read))
        except asyncio.CancelledError:
            raise asyncio.CancelledError(come_back()) from None
        finally:
            forget()


async def each_as_it_ends(jobs: Collection[W]) -> AsyncIterator[W]:
    """Yield jobs, each as it ends."""
    loop = _running_loop()
    ended: asyncio.Queue[W] = asyncio.Queue()
    with _awake(loop):
        undo = [job.when_finished(partial(_call_soon, loop, partial(ended.put_nowait, job))) for job in jobs]
        try:
            for _ in range(len(undo)):
                yield await ended.get()
        except asyncio.CancelledError:
            raise asyncio.CancelledError(completion.come_back(jobs)) from None
        finally:
            for forget in undo:
                forget()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "jobs can be awaited in asyncio's event loop only. In another, such as trio's, wait in a thread: "
            "`await anyio.to_thread.run_sync(job.result)`"
        ) from None


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(callback)


@contextlib.contextmanager
def _awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake the loop from time to time: a notebook's loop notices an interrupt only when something wakes it."""

    def wake() -> None:
        alarms[:] = [loop.call_later(_WAKE_SECONDS, wake)]

    alarms: list[asyncio.TimerHandle] = []
    wake()
    try:
        yield
    finally:
        alarms[0].cancel()
