"""ThreadPool: runs functions that wait for files and commands, so that the event loop never waits for them."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ThreadPool:
    """A few daemon threads. Unlike in concurrent.futures, a thread that hangs does not keep the process alive."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in a thread, and return its result. If the caller is cancelled, a call that runs goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():  # the caller has been cancelled
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # the result of the function

        def call() -> None:
            result, error = None, None
            if future.cancelled():
                return
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - it is raised where the result is awaited
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._calls.put(call)
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return await future

    def _work(self) -> None:
        while True:
            self._calls.get()()
