"""The events of a procedure as server-sent events. The id of an event is its offset, so a reconnect loses no event.

One follower reads what is added to the files, with one command for all procedures that have streams. It keeps the last
1 MB of each. A stream holds an offset and no queue: a stream that needs older events reads them from the file.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from slurm.errors import SlurmError, TransportError
from slurm.procedures.event_file import event_path, read_lines
from slurm.procedures.states import parse
from slurm.protocol.procedures import ENDED
from slurm.sanitize.redaction import redacted
from slurm.server.endpoints import Endpoint, Field, encoded, query_of
from slurm.server.events import Streams
from slurm.storage.log_growth import MOST, growth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sse_starlette.sse import EventSourceResponse
    from starlette.requests import Request

    from slurm.procedures.states import Event
    from slurm.server.endpoints import Asked
    from slurm.server.pool import ThreadPool
    from slurm.server.procedures import Procedures

_log = logging.getLogger(__name__)

_SHORTEST, _LONGEST, _FACTOR = 0.05, 0.2, 1.2
"""Seconds between two reads of the files: the shortest and longest pause, and its growth while nothing happens."""
_QUESTIONS = (2.0, 60.0)
"""Seconds between two checks whether jobs have ended: a process that was killed writes no event about its end."""
_ATTENDED = (20.0, 600.0)
"""Seconds between two looks at the procedures that have no job yet: the first pause, and the longest."""


def _stream(_: Asked) -> None:
    """Send the events of a procedure as server-sent events. After its last event, `end` has the final facts about it.

    The id of an event is its offset: a request with the header Last-Event-ID, or with `after`, continues there.
    """


EVENTS_OF_ONE = Endpoint(
    "GET",
    "/procedures/{number:int}/events",
    _stream,
    {"after": Field("integer", "Send the events after this offset.", 0)},
)
"""The route, for its parameters. `ProcedureEvents` answers its requests."""


class _Followed:
    """The end of the events of a procedure that has streams."""

    def __init__(self, path: str, offset: int) -> None:
        self.path, self._begin, self._data = path, offset, b""
        self.streams = 0
        self.ended: dict[str, Any] | None = None
        """The facts about the procedure, when it has ended."""
        self.last: dict[str, Any] | None = None
        """The same facts, when all events of the procedure have been read, too."""
        self.says_end = False
        """Whether the events of the procedure say that it has ended."""

    @property
    def offset(self) -> int:
        """The offset in the file at which the next read begins."""
        return self._begin + len(self._data)

    def add(self, data: bytes) -> None:
        """Add the bytes that were read. Only the last `MOST` bytes are kept."""
        line = self._data.rfind(b"\n") + 1
        self._data += data
        self.says_end |= any(event.get("state") in ENDED for event in parse(self._data[line:]))
        if len(self._data) > MOST:
            self._begin, self._data = self.offset - MOST, self._data[-MOST:]

    def since(self, offset: int) -> bytes | None:
        """The bytes after an offset; None if they are not kept any more."""
        return self._data[offset - self._begin :] if offset >= self._begin else None


class ProcedureEvents(Streams):
    """The streams of the events of procedures, and the follower of all of them."""

    def __init__(self, procedures: Procedures, pool: ThreadPool) -> None:
        super().__init__(pool)
        self._procedures = procedures
        self._place = procedures.service.cluster.place
        self._followed: dict[int, _Followed] = {}
        self._pause = _QUESTIONS[0]

    async def respond(self, request: Request) -> EventSourceResponse:
        """Open a stream. Raises Problem, NoSuchProcedure."""
        number: int = request.path_params["number"]
        after = query_of(request, EVENTS_OF_ONE)["after"]
        if (known := request.headers.get("last-event-id")) is not None:
            after = EVENTS_OF_ONE.fields["after"].of_text("Last-Event-ID", known)
        procedure = await self._pool.run(lambda: self._procedures.service.procedure(number))
        path = event_path(self._place.store.directory(procedure.key))
        return self._response(self._stream(number, path, after), {})

    async def _stream(self, number: int, path: str, offset: int) -> AsyncIterator[dict[str, Any]]:
        followed = self._followed.setdefault(number, _Followed(path, offset))
        followed.streams += 1
        self._pause = _QUESTIONS[0]
        self._start(self._read_on, self._ask)
        try:
            while not self._closing:
                last, data, seen = followed.last, followed.since(offset), followed.offset
                if data is None:
                    data = await self._read_lines(path, offset)
                whole = data[: data.rfind(b"\n") + 1]
                for event in parse(whole, offset):
                    yield {"event": "event", "id": str(event["offset"]), "data": _shown(event).decode()}
                offset += len(whole)
                if last is not None and offset >= followed.offset:
                    yield {"event": "end", "data": encoded(last).decode()}
                    return
                if not whole:
                    async with self._news:
                        await self._news.wait_for(
                            lambda: self._closing or (followed.last, followed.offset) != (last, seen)  # noqa: B023 - now
                        )
        finally:
            followed.streams -= 1
            if not followed.streams and self._followed.get(number) is followed:
                del self._followed[number]
            if not self._followed:
                self._stop()

    async def _read_lines(self, path: str, offset: int) -> bytes:
        return await self._pool.run(lambda: read_lines(self._place.transport, path, offset))

    async def _read_on(self) -> None:
        """Read repeatedly what is added to the files."""
        pause = _SHORTEST
        while True:
            pause = _SHORTEST if await self._read() else min(pause * _FACTOR, _LONGEST)
            await asyncio.sleep(max(pause, self._place.transport.pace))

    async def _read(self) -> bool:
        """Read what was added to all files; returns whether anything was added."""
        known = [(each, each.offset, each.ended) for each in self._followed.values()]
        offsets = {each.path: offset for each, offset, _ in known}
        try:
            found = await self._pool.run(lambda: growth(self._place.transport, offsets))
        except TransportError as error:  # the next read may succeed
            _log.warning("events cannot be read: %s", redacted(str(error)))
            return False
        for each, _, ended in known:
            if data := found.get(each.path):
                each.add(data)
            else:
                each.last = ended
        if found or any(each.last for each, _, _ in known):
            await self._publish()
        return bool(found)

    async def _ask(self) -> None:
        """Ask repeatedly whether the procedures have ended: without a long pause if the events of one say so."""
        loop, asked = asyncio.get_running_loop(), float("-inf")
        while True:
            await asyncio.sleep(_LONGEST)
            left = [number for number, each in self._followed.items() if each.ended is None]
            soon = any(self._followed[number].says_end for number in left)
            if not left or (not soon and loop.time() - asked < self._pause):
                continue
            try:
                found = await self._pool.run(lambda: self._procedures.ended(left))  # noqa: B023 - it is awaited here
            except SlurmError as error:  # the next query may succeed
                _log.warning("no answer about procedures: %s", redacted(str(error)))
                found = {}
            for number in found.keys() & self._followed.keys():
                self._followed[number].ended = found[number]
            asked, self._pause = loop.time(), min(self._pause * 1.5, _QUESTIONS[1])


def _shown(event: Event) -> bytes:
    """An event as JSON. Secrets in its texts are removed."""
    return encoded({name: redacted(value) if isinstance(value, str) else value for name, value in event.items()})


@asynccontextmanager
async def procedures_attended(procedures: Procedures, pool: ThreadPool) -> AsyncIterator[None]:
    """While the server runs, continue procedures that have no job because their preparer, or a server, has died."""
    task = asyncio.create_task(_attend(procedures, pool))
    try:
        yield
    finally:
        task.cancel()


async def _attend(procedures: Procedures, pool: ThreadPool) -> None:
    pause = _ATTENDED[0]
    numbers: list[int] | None = None
    while numbers is None or numbers:
        with suppress(SlurmError):  # the cluster may not answer now
            known = numbers
            numbers = await pool.run(lambda: procedures.waiting(known))  # noqa: B023 - it is awaited here
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, _ATTENDED[1])
