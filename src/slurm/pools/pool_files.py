"""PoolFiles: the files of pools, on a machine that sees them; and `serve`, with which another machine uses them.

The runner's zip contains this module, so it may import only modules that the zip contains.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import shutil
import sys
import time
from typing import NamedTuple

from slurm.errors import UntrustedFile
from slurm.protocol import CALLS, CLIENTS, RESULTS, freshness
from slurm.protocol.claims import TAKEN, Claims, claimant, prepare
from slurm.protocol.directories import make_private
from slurm.protocol.frames import HEAD_BYTES, FrameReader, Head, complete, encode, read_frame, write_at
from slurm.protocol.pools import ARGUMENTS, BLOCKS, FUNCTIONS, OUT, outbox_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any


REQUEST, VALUE, OS_ERROR, UNTRUSTED, NEWS = 1, 2, 3, 4, 5
"""The kinds of messages, which are frames: a request, the answers to it, and new frames of the files that are read."""
MARSHAL_VERSION = 2
"""The version of the format of `marshal`. For plain values, it is the same in all versions of Python."""
SILENCE_SECONDS = 30.0
"""`serve` ends after this time without a message."""
_SHORTEST_PAUSE, _LONGEST_PAUSE, _EAGERNESS = 0.002, 0.5, 0.05
_MESSAGE_BYTES = 1 << 20


class PoolFiles:
    """What clients do with the files of pools. Each operation may be repeated. Raises OSError and UntrustedFile."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], Claims] = {}

    def create_client(self, pool: str, elements: int, token: str) -> int:
        """Make the directory of another client of a pool; return its number. Elements see it complete or not at all.

        The token distinguishes a repeated request from the request of another client.
        """
        make_private(f"{pool}/{CLIENTS}")
        for name in os.listdir(f"{pool}/{CLIENTS}"):
            if name.isdecimal() and os.path.exists(f"{pool}/{CLIENTS}/{name}/.{token}"):
                return int(name)
        hidden = f"{pool}/{CLIENTS}/.{os.urandom(6).hex()}"
        for name in (ARGUMENTS, FUNCTIONS, OUT, RESULTS, TAKEN):
            make_private(f"{hidden}/{name}")
        for name in (f".{token}", BLOCKS, *(f"{OUT}/{outbox_name(element)}" for element in range(elements))):
            write_at(f"{hidden}/{name}", 0, b"")  # the file systems of elements may cache that a file is absent
        number = sum(name.isdecimal() for name in os.listdir(f"{pool}/{CLIENTS}"))
        while True:
            try:
                os.rename(hidden, f"{pool}/{CLIENTS}/{number}")
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                number += 1  # another client has taken it
            else:
                return number

    def add_outboxes(self, pool: str, elements: Sequence[int], client: int | None) -> None:
        """Create the outboxes of elements that were added to a pool, for one client or (None) for all clients."""
        for name in os.listdir(f"{pool}/{CLIENTS}") if client is None else [f"{client}"]:
            for element in elements if name.isdecimal() else ():
                write_at(f"{pool}/{CLIENTS}/{name}/{OUT}/{outbox_name(element)}", 0, b"")

    def remove(self, directory: str) -> None:
        """Remove the directory of a pool that was not submitted."""
        shutil.rmtree(directory, ignore_errors=True)

    def write_shared(self, directory: str, digest: str, token: str, offset: int, data: bytes | memoryview) -> None:
        """Write a part of what the calls of a function share. `add_function` with the same token writes the rest."""
        hidden = f"{directory}/{FUNCTIONS}/.{digest}.{token}"
        make_private(hidden)
        write_at(f"{hidden}/{CALLS}", offset, data)

    def add_function(self, directory: str, digest: str, token: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a function. Elements see them all or none."""
        hidden = f"{directory}/{FUNCTIONS}/.{digest}.{token}"
        make_private(hidden)
        for name, data in files.items():
            write_at(f"{hidden}/{name}", 0, data)
        try:
            os.rename(hidden, f"{directory}/{FUNCTIONS}/{digest}")
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(hidden)  # another request has written the same files

    def write(self, directory: str, block: int, offset: int, frame: bytes) -> None:
        """Write a frame at an offset of `calls`, and make the directory for the claim of `block`."""
        prepare(directory, block)
        write_at(f"{directory}/{BLOCKS}", offset, frame)

    def write_arguments(self, directory: str, number: int, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset of the file with the arguments of a call. A block refers only to a complete file."""
        write_at(f"{directory}/{ARGUMENTS}/{number}", offset, data)

    def wait(self, written: object) -> None:
        """Wait until something is written. Does nothing here, because each method returns only after its write."""

    def claim(self, directory: str, name: str, blocks: Sequence[int]) -> list[bool]:
        """Claim blocks with a name; return for each block whether a process with this name has claimed it."""
        claims = self._claims.setdefault((directory, name), Claims(directory, name))
        return [claims.claim(block) or claimant(directory, block) == name for block in blocks]

    def claimants(self, directory: str, blocks: Sequence[int]) -> list[str | None]:
        """Return who has claimed each block; None if nobody has."""
        return [claimant(directory, block) for block in blocks]

    def exist(self, paths: Sequence[str]) -> list[bool]:
        """Say whether each file exists."""
        return [freshness.exists(path) for path in paths]

    def heads(self, path: str, offset: int) -> list[tuple[Any, ...]]:
        """Return, for each head from an offset on, its fields and its offset."""
        reader = FrameReader(path)
        reader.offset = offset
        return [(tuple(head), at) for head, at in reader.heads()]

    def frame(self, path: str, offset: int) -> tuple[Any, ...] | None:
        """Return the fields of the head at an offset, and the body; None if they are not complete there."""
        frame = read_frame(path, offset)
        return frame and (tuple(frame.head), frame.body)

    def log(self, path: str, begin: int, end: int | None) -> bytes:
        """Return the bytes of a log from `begin` to `end`; empty if there is none."""
        freshness.freshen_size(path)
        try:
            with freshness.retry_absent(lambda path: open(path, "rb"), path) as log:
                log.seek(begin)
                return log.read() if end is None else log.read(max(0, end - begin))
        except FileNotFoundError:
            return b""

    def reader(self, path: str, wake: Callable[[], object]) -> FrameReader:
        """Return a reader of the frames of a file. `wake` is for frames from a relay; it is not called here."""
        del wake
        return FrameReader(path)

    def rest(self, readers: Sequence[object]) -> None:
        """Note that nobody will read these files for a while. Does nothing here."""


OPERATIONS = (
    "create_client",
    "add_outboxes",
    "remove",
    "write_shared",
    "add_function",
    "write",
    "write_arguments",
    "claim",
    "claimants",
    "exist",
    "heads",
    "frame",
    "log",
)
"""The operations that a client may request. Also, `read` starts and `rest` stops the sending of new frames."""


class _Read(NamedTuple):
    reader: FrameReader
    trouble: list[str]
    """The last error, which is sent once."""


class _Server:
    def __init__(self, files: PoolFiles, send: Callable[[bytes], object]) -> None:
        self._files, self._send = files, send
        self._read: dict[str, _Read] = {}

    def answer(self, number: int, name: str, arguments: Sequence[Any]) -> None:
        """Do what is requested, and send the answer."""
        value: Any = None
        try:
            if name == "read":
                for path, offset in arguments:
                    self._read[path] = _Read(FrameReader(path), [])
                    self._read[path].reader.offset = offset
                self.look([path for path, _ in arguments])
            elif name == "rest":
                for path in arguments:
                    self._read.pop(path, None)
            elif name in OPERATIONS:
                value = getattr(self._files, name)(*arguments)
        except OSError as error:
            self._message(OS_ERROR, number, _os_error(error))
        except UntrustedFile as error:
            self._message(UNTRUSTED, number, (str(error), error.path))
        else:
            self._message(VALUE, number, value)

    def look(self, paths: Iterable[str] | None = None) -> bool:
        """Send the new frames of files; return whether there are any."""
        found = False
        for path in list(self._read if paths is None else paths):
            try:
                found = self._look(path) or found
            except OSError as error:
                self._tell(path, OS_ERROR, _os_error(error))
            except UntrustedFile as error:
                self._tell(path, UNTRUSTED, (str(error), error.path))
        return found

    def _look(self, path: str) -> bool:
        reader, trouble = self._read[path]
        some: list[tuple[Any, ...]] = []
        size, found = 0, False
        for frame in reader.frames():
            some.append((tuple(frame.head), frame.offset, frame.body))
            size += len(frame.body)
            found = True
            if size > _MESSAGE_BYTES:
                self._message(NEWS, 0, (path, VALUE, some))
                some, size = [], 0
        if some:
            self._message(NEWS, 0, (path, VALUE, some))
        trouble.clear()
        return found

    def _tell(self, path: str, kind: int, error: tuple[Any, ...]) -> None:
        trouble = self._read[path].trouble
        if trouble != [repr(error)]:
            trouble[:] = [repr(error)]
            self._message(NEWS, 0, (path, kind, error))

    def _message(self, kind: int, number: int, value: Any) -> None:
        self._send(encode(Head(kind, number), marshal.dumps(value, MARSHAL_VERSION)))

    def __len__(self) -> int:
        return len(self._read)


def _os_error(error: OSError) -> tuple[Any, ...]:
    return error.errno, error.strerror or str(error), error.filename if isinstance(error.filename, str) else None


def serve(source: int = 0, target: int = 1) -> None:
    """Do what the messages from the descriptor `source` request, and send answers and new frames to `target`.

    Ends when `source` ends, or after `SILENCE_SECONDS` without a message: then no client waits.
    """
    _signal = __import__("_signal")
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]

    server, buffer = _Server(PoolFiles(), send), bytearray()
    heard = found_at = time.monotonic()
    pause = _SHORTEST_PAUSE
    while time.monotonic() - heard < SILENCE_SECONDS:
        if select.select([source], [], [], pause if len(server) else SILENCE_SECONDS)[0]:
            data = os.read(source, _MESSAGE_BYTES)
            if not data:
                return
            buffer += data
            for head, message in complete(buffer):
                name, arguments = marshal.loads(message[HEAD_BYTES:])  # noqa: S302 - plain values, from our own program
                server.answer(head.number, name, arguments)
                found_at = time.monotonic()
            heard = time.monotonic()
        begin = time.monotonic()
        found = server.look()
        now = time.monotonic()
        found_at = now if found else found_at
        took = 0.0 if found else min(now - begin, 0.005)
        pause = max(_SHORTEST_PAUSE, 20 * took, min(_EAGERNESS * (now - found_at), _LONGEST_PAUSE))


def main(_: Sequence[str]) -> None:
    """Serve the program that has started this one."""
    sys.stdout = sys.stderr  # the messages use the descriptor of stdout
    serve()
