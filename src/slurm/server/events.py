"""Events: what changes in the overview, as server-sent events.

One follower looks for changes for all clients, and only while there are clients. It looks often after a change, and
less and less often while nothing changes. A stream begins with a snapshot and promises no replay. A stream holds the
number of the last change that was sent, but no queue. So a slow client costs no memory: its next event has all changes
since the last one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sse_starlette.sse import EventSourceResponse

from slurm.server.endpoints import Endpoint, Field, encoded, query_of
from slurm.server.guard import MAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from starlette.requests import Request

    from slurm.server.endpoints import Asked
    from slurm.server.overview import JobsOverview
    from slurm.server.pool import ThreadPool

_log = logging.getLogger(__name__)

_LOOKS = (1.0, 30.0)
"""Seconds between two looks at the files: after a change, and the longest pause."""
_QUESTIONS = (2.0, 60.0)
"""Seconds between two queries to the scheduler: after a change, and the longest pause."""
_FACTOR = 1.5
_PATIENCE = 10.0
"""After this many seconds without an answer, clients are notified."""
PING_SECONDS = 15
"""Seconds between two comments that keep a stream open."""
SEND_SECONDS = 60.0
"""Seconds that a client may take to accept an event before its stream is closed."""


def _stream(_: Asked) -> None:
    """Send what changes in the overview, as server-sent events. The first event has the whole overview."""


EVENTS = Endpoint(
    "GET",
    "/events",
    _stream,
    {"limit": Field("integer", "The number of submissions in the snapshot.", 100, 1, 1000)},
)
"""The route, for its parameters. `Events` answers its requests."""


class Streams:
    """Streams of events, and the followers that look for news for all of them."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool, self._closing = pool, False
        self._news = asyncio.Condition()
        self._followers: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """End all streams."""
        self._closing = True
        self._stop()
        await self._publish()

    @staticmethod
    def _response(stream: AsyncIterator[dict[str, Any]], headers: Mapping[str, str]) -> EventSourceResponse:
        headers = {**headers, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return EventSourceResponse(stream, headers=headers, ping=PING_SECONDS, send_timeout=SEND_SECONDS)

    def _start(self, *followers: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the followers, unless they run."""
        self._followers = self._followers or [asyncio.create_task(each()) for each in followers]

    def _stop(self) -> None:
        for follower in self._followers:
            follower.cancel()
        self._followers = []

    async def _publish(self) -> None:
        async with self._news:
            self._news.notify_all()


class Events(Streams):
    """The streams of the overview, and the follower of all of them."""

    def __init__(self, overview: JobsOverview, pool: ThreadPool) -> None:
        super().__init__(pool)
        self._overview, self._streams = overview, 0
        self._soon = (asyncio.Event(), asyncio.Event())
        """Set to end the pause before the next look at the files, or before the next query to the scheduler."""
        self._asked = -_QUESTIONS[0]
        self._late: dict[str, str] = {}

    async def respond(self, request: Request) -> EventSourceResponse:
        """Open a stream. The header X-Access of the answer says what the token may do."""
        limit = query_of(request, EVENTS)["limit"]
        return self._response(self._stream(limit), {"X-Access": request.scope[MAY]})

    def hurry(self) -> None:
        """Look and ask soon, because a request has changed something."""
        for event in self._soon:
            event.set()

    async def _stream(self, limit: int) -> AsyncIterator[dict[str, Any]]:
        self._streams += 1
        try:
            self._start(self._look, self._ask)
            sent, troubles = self._overview.changes, self._troubles()
            page = await self._pool.run(lambda: encoded(self._overview.page(limit)))
            yield {"event": "overview", "data": page.decode()}
            while not self._closing:
                async with self._news:
                    await self._news.wait_for(lambda: self._closing or self._is_new(sent, troubles))  # noqa: B023 - now
                since, sent, troubles = sent, self._overview.changes, self._troubles()
                jobs, gone = self._overview.changed(since)
                data = encoded({"jobs": jobs, "gone": gone, "troubles": troubles})
                yield {"event": "changes", "data": data.decode()}
        finally:
            self._streams -= 1
            if not self._streams:
                self._stop()

    def _is_new(self, sent: int, troubles: dict[str, str]) -> bool:
        return self._overview.changes != sent or self._troubles() != troubles

    def _troubles(self) -> dict[str, str]:
        return self._overview.troubles | self._late

    async def _look(self) -> None:
        """Look at the files again and again."""
        pause, before = _LOOKS[0], -1
        while True:
            more = await self._call(self._overview.look, "the files of the jobs")
            changed, before = self._overview.changes != before, self._overview.changes
            pause = _LOOKS[0] if changed else min(pause * _FACTOR, _LOOKS[1])
            if not more and await self._pause(self._soon[0], pause):
                pause = _LOOKS[0]

    async def _ask(self) -> None:
        """Ask the schedulers again and again."""
        loop, pause = asyncio.get_running_loop(), _QUESTIONS[0]
        while True:
            await asyncio.sleep(self._asked + _QUESTIONS[0] - loop.time())
            before, self._asked = self._overview.changes, loop.time()
            await self._call(self._overview.ask, "the scheduler")
            changed = await self._pause(self._soon[1], pause) or self._overview.changes != before
            pause = _QUESTIONS[0] if changed else min(pause * _FACTOR, _QUESTIONS[1])

    async def _call(self, function: Callable[[], bool], what: str) -> bool:
        """Call a function in a thread, and send what has changed. Notify clients if there is no answer for long."""
        call = asyncio.ensure_future(self._pool.run(function))
        try:
            if not (await asyncio.wait([call], timeout=_PATIENCE))[0]:
                self._late[what] = f"there is no answer from {what} after {_PATIENCE:.0f} s; waiting for it"
                await self._publish()
            return await call
        except Exception:  # noqa: BLE001 - the loop goes on: the next call may succeed
            _log.exception("no answer from %s", what)
            return False
        finally:
            call.cancel()
            self._late.pop(what, None)
            await self._publish()

    @staticmethod
    async def _pause(soon: asyncio.Event, seconds: float) -> bool:
        """Wait for some seconds, or until `soon` is set; returns whether it was set."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(soon.wait(), seconds)
        hurried = soon.is_set()
        soon.clear()
        return hurried
