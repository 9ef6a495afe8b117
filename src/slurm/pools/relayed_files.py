"""RelayedFiles: the files of pools on another machine. A program there, the relay, does what `PoolFiles` does.

The relay holds no state that would be lost with it: each request to write or read contains the offset in the file. So
after a broken connection, another relay is started, and everything is requested again.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from slurm.errors import ConnectionLost, PoolError, TransportError, UntrustedFile
from slurm.pools import pool_files
from slurm.pools.pool_files import (
    MARSHAL_VERSION,
    NEWS,
    OS_ERROR,
    REQUEST,
    SILENCE_SECONDS,
    UNTRUSTED,
    VALUE,
    PoolFiles,
)
from slurm.protocol.boot import BOOT
from slurm.protocol.frames import HEAD_BYTES, Frame, Head, encode, head_at
from slurm.storage.runner_zip import bundle
from slurm.transports.base import pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurm.errors import SlurmError
    from slurm.places.place import Place
    from slurm.protocol.frames import FrameReader
    from slurm.transports.stream import Stream

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 600.0
_PAUSES = (0.1, 5.0)
_MANY_STARTS, _STARTS_SECONDS, _START_PAUSE = 3, 60.0, 1.0
"""After this many starts within this many seconds, the next start waits for a pause: a site may kill relays."""
_SILENT_SECONDS = 120.0
"""A relay that owes an answer, and has sent nothing for this long, counts as frozen."""
_SIGN_SECONDS = SILENCE_SECONDS / 3
"""The longest time between two messages while files are read: without messages, the relay would end."""


class RelayedReader:
    """Yields the frames of a file that the relay has sent, each once. `wake` is called when there are new frames."""

    def __init__(self, files: RelayedFiles, path: str, wake: Callable[[], object]) -> None:
        self.path, self.offset, self.wake = path, 0, wake
        self._files = files
        self._frames: deque[Frame] = deque()
        self._error: OSError | SlurmError | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that have been added. Raises OSError and SlurmError."""
        self._files.read(self)
        while self._frames:
            yield self._frames.popleft()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def add(self, frames: Sequence[tuple[Any, ...]]) -> None:
        """Keep the frames that follow the last one. The other frames are known: an earlier relay has sent them, too."""
        for head, offset, body in frames:
            if offset == self.offset:
                self._frames.append(Frame(Head(*head), offset, body))
                self.offset = offset + HEAD_BYTES + len(body)

    def fail(self, error: OSError | SlurmError) -> None:
        """Make the next read raise an error."""
        self._error = error


class Written:
    """A request to write something. If `sent` is None, the request must be sent again."""

    __slots__ = ("arguments", "name", "sent")

    def __init__(self, name: str, arguments: tuple[Any, ...], sent: tuple[Stream, Future[Any]] | None) -> None:
        self.name, self.arguments, self.sent = name, arguments, sent


class RelayedFiles:
    """Does what `PoolFiles` does, through a relay. Each operation waits for a connection, for at most ten minutes.

    Raises the OSError or UntrustedFile that the relay reports, and TransportError.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process = os.getpid()
        self._starting, self._writing, self._changing = threading.RLock(), threading.Lock(), threading.RLock()
        self._stream: Stream | None = None
        self._numbers = count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._readers: WeakValueDictionary[str, RelayedReader] = WeakValueDictionary()
        self._read: set[str] = set()
        """The files whose new frames the relay sends."""
        self._starts: deque[float] = deque(maxlen=_MANY_STARTS)
        self._reached = False
        self._sent_at = self._heard_at = 0.0

    # The operations.

    def create_client(self, pool: str, elements: int, token: str) -> int:
        """Make the directory of another client of a pool; return its number."""
        return int(self._request("create_client", pool, elements, token))

    def add_outboxes(self, pool: str, elements: Sequence[int], client: int | None) -> None:
        """Create the outboxes of elements that were added to a pool, for one client or (None) for all clients."""
        self._request("add_outboxes", pool, list(elements), client)

    def remove(self, directory: str) -> None:
        """Remove the directory of a pool that was not submitted."""
        self._request("remove", directory)

    def write_shared(self, directory: str, digest: str, token: str, offset: int, data: bytes | memoryview) -> Written:
        """Send a part of what calls of a function share, as `write` does."""
        return self._write_soon("write_shared", directory, digest, token, offset, data)

    def add_function(self, directory: str, digest: str, token: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a function."""
        self._request("add_function", directory, digest, token, dict(files))

    def write(self, directory: str, block: int, offset: int, frame: bytes) -> Written:
        """Send a frame for an offset of `calls`. Does not wait until it is written, so others can follow at once."""
        return self._write_soon("write", directory, block, offset, frame)

    def write_arguments(self, directory: str, number: int, offset: int, data: bytes | memoryview) -> Written:
        """Send bytes for an offset of the file with the arguments of a call. Does not wait, as `write` does not."""
        return self._write_soon("write_arguments", directory, number, offset, data)

    def _write_soon(self, name: str, *arguments: Any) -> Written:
        try:
            return Written(name, arguments, self._send(name, arguments))
        except ConnectionLost:
            return Written(name, arguments, None)

    def wait(self, written: Written | None) -> None:
        """Wait until something is written. After an error, the next wait sends it again."""
        if written is None:
            return
        sent, written.sent = written.sent, None
        try:
            if sent is not None:
                self._result(*sent)
                return
        except ConnectionLost:
            _log.info("the relay of %s has ended before it has answered", self._place.url)
        self._request(written.name, *written.arguments)

    def claim(self, directory: str, name: str, blocks: Sequence[int]) -> list[bool]:
        """Claim blocks with a name; return for each block whether the claim has this name."""
        return list(self._request("claim", directory, name, list(blocks))) if blocks else []

    def claimants(self, directory: str, blocks: Sequence[int]) -> list[str | None]:
        """Return who has claimed each block."""
        return list(self._request("claimants", directory, list(blocks))) if blocks else []

    def exist(self, paths: Sequence[str]) -> list[bool]:
        """Say whether each file exists."""
        return list(self._request("exist", list(paths)))

    def heads(self, path: str, offset: int) -> list[tuple[Any, ...]]:
        """Return, for each head from an offset on, its fields and its offset."""
        return list(self._request("heads", path, offset))

    def frame(self, path: str, offset: int) -> tuple[Any, ...] | None:
        """Return the fields of the head at an offset, and the body."""
        found: tuple[Any, ...] | None = self._request("frame", path, offset)
        return found

    def log(self, path: str, begin: int, end: int | None) -> bytes:
        """Return the bytes of a log from `begin` to `end`."""
        return bytes(self._request("log", path, begin, end))

    def reader(self, path: str, wake: Callable[[], object]) -> RelayedReader:
        """Return a reader of the frames of a file. `wake` is called when the relay brings new frames."""
        with self._changing:
            self._read.discard(path)  # an earlier reader may have requested it from another offset
            found = self._readers[path] = RelayedReader(self, path, wake)
        return found

    def read(self, reader: RelayedReader) -> None:
        """Make the relay send the new frames of a file, and of all other files that have a reader."""
        if reader.path in self._read and self._living:
            if time.monotonic() - self._sent_at > _SIGN_SECONDS:
                self._request("exist", [])
            return
        with self._changing:
            self._request("read")

    def rest(self, readers: Sequence[RelayedReader | FrameReader]) -> None:
        """Stop the relay from sending new frames of these files, until one of them is read again."""
        with self._changing:
            paths = [reader.path for reader in readers if reader.path in self._read]
            if paths and self._living:
                self._read.difference_update(paths)
                with contextlib.suppress(OSError, TransportError):  # a relay that has ended sends nothing
                    self._request_once("rest", paths)

    # The connection.

    @property
    def _living(self) -> bool:
        return self._stream is not None and self._process == os.getpid()

    def _request(self, name: str, *arguments: Any) -> Any:
        end = time.monotonic() + _RETRY_SECONDS
        for pause in pauses(*_PAUSES):
            try:
                return self._request_once(name, arguments)
            except ConnectionLost as error:
                if not self._reached or time.monotonic() > end:
                    raise
                _log.info("the relay of %s has ended, starting another one: %s", self._place.url, error)
            time.sleep(pause)
        raise AssertionError

    def _request_once(self, name: str, arguments: Sequence[Any]) -> Any:
        self._connected()
        if name == "read":
            readers = [reader for path, reader in list(self._readers.items()) if path not in self._read]
            arguments = [(reader.path, reader.offset) for reader in readers]
        stream, answer = self._send(name, arguments)
        found = self._result(stream, answer)
        if name == "read":
            with self._starting:
                if self._stream is stream:
                    self._read.update(path for path, _ in arguments)
        return found

    def _result(self, stream: Stream, answer: Future[Any]) -> Any:
        """Wait for an answer; raise it if it is an error. End a relay that sends nothing for `_SILENT_SECONDS`."""
        begin = time.monotonic()
        while not wait([answer], _SILENT_SECONDS / 4).done:
            if time.monotonic() - max(begin, self._heard_at) > _SILENT_SECONDS:
                stream.end()
                raise ConnectionLost("the relay does not answer")
        return answer.result()

    def _send(self, name: str, arguments: Sequence[Any]) -> tuple[Stream, Future[Any]]:
        """Send a request; return the stream that was used, and the future answer. Raises ConnectionLost."""
        stream = self._connected()
        number, answer = next(self._numbers), Future[Any]()
        self._answers[number] = answer
        self._write(stream, encode(Head(REQUEST, number), marshal.dumps((name, tuple(arguments)), MARSHAL_VERSION)))
        if self._stream is not stream:  # the stream has ended, and may have failed only earlier requests
            self._answers.pop(number, None)
            raise ConnectionLost("the relay has ended")
        return stream, answer

    def _write(self, stream: Stream, data: bytes) -> None:
        with self._writing:
            whole = False
            try:
                stream.write(data)
                whole = True
            finally:
                if not whole:  # also after an interrupt: nothing can follow a part of a message
                    stream.end()
            self._sent_at = time.monotonic()

    def _connected(self) -> Stream:
        with self._starting:
            if self._process != os.getpid():  # the stream belongs to the parent of the fork
                self._process, self._stream = os.getpid(), None
                self._writing, self._answers = threading.Lock(), {}
            if self._stream is None:
                self._read.clear()
                if len(self._starts) == _MANY_STARTS and time.monotonic() - self._starts[0] < _STARTS_SECONDS:
                    time.sleep(_START_PAUSE)
                self._starts.append(time.monotonic())
                self._place.deliver()
                python, runner = self._place.current.python, self._place.store.blob_path(bundle())
                stream = self._place.transport.stream([python, "-c", BOOT, runner, pool_files.__name__])
                self._reached, self._stream = True, stream
                threading.Thread(target=self._receive, args=(stream,), name="slurm-relay", daemon=True).start()
            return self._stream

    def _receive(self, stream: Stream) -> None:
        """Pass on what the relay sends, until the relay ends."""
        trouble = ConnectionLost("the relay has ended")
        try:
            while True:
                head = head_at(stream.read(HEAD_BYTES))
                if head is None:
                    raise ConnectionLost("the relay has sent something else than a message")
                body = stream.read(head.length)
                if not head.fits(body):
                    raise ConnectionLost("the relay has sent a damaged message")
                self._heard_at = time.monotonic()
                self._take(head.kind, head.number, marshal.loads(body))  # noqa: S302 - plain values, of the user's own
        except ConnectionLost as error:
            trouble = error
        finally:
            if self._stream is stream:
                self._stream = None
            stream.close()
            for number in list(self._answers):
                if answer := self._answers.pop(number, None):
                    answer.set_exception(trouble)
            for reader in list(self._readers.values()):
                reader.wake()

    def _take(self, kind: int, number: int, value: Any) -> None:
        if kind != NEWS:
            answer = self._answers.pop(number, None)
            if answer is not None and kind == VALUE:
                answer.set_result(value)
            elif answer is not None:
                answer.set_exception(_error(kind, value))
            return
        path, kind, content = value
        reader = self._readers.get(path)
        if reader is not None:
            if kind == VALUE:
                reader.add(content)
            else:
                reader.fail(_error(kind, content))
            reader.wake()


def _error(kind: int, value: Sequence[Any]) -> OSError | SlurmError:
    if kind == OS_ERROR:
        number, text, name = value
        return OSError(number, text, name) if number else OSError(text)
    if kind == UNTRUSTED:
        error = UntrustedFile(value[1], uid=0, mode=0, me=0)
        error.args = (value[0],)
        return error
    return TransportError(f"the relay has sent a message of the unknown kind {kind}")


_relayed: WeakKeyDictionary[Place, RelayedFiles] = WeakKeyDictionary()
_relayed_lock = threading.Lock()


def files_of(place: Place) -> PoolFiles | RelayedFiles:
    """Return the files of the pools of a place. Raises PoolError if they cannot be reached."""
    if place.transport.shares_files:
        return PoolFiles()
    if not place.transport.streams:
        raise PoolError(
            f"a pool on {place.url} is not possible: a call there ends before this program goes on. Make the pool on "
            "Cluster('local') or on a cluster of Slurm"
        )
    with _relayed_lock:
        if place not in _relayed:
            _relayed[place] = RelayedFiles(place)
        return _relayed[place]
