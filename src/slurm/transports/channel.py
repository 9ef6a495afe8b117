"""Talking to a shell that is elsewhere: what is sent to it, and how its answer is told from noise.

The command line is the same for every command, and every login shell parses it alike: bash, zsh, csh, fish. It starts
`sh`, which reads the script from the first line of its input, so that a script has no quoting but its own, may be of
any length, and isn't seen in `ps`; what follows on its input is the command's. What rc files print is told from the
answer by a fence, a line unique to each command; the last fence carries the exit status, so that a connection that
broke is never taken for a command that ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tarfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Generic, Protocol, TypeVar

from slurm.errors import ConnectionLost, TransportError
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_READ = """IFS= read -r x; eval "$(printf %b "$x")\""""
LINE = f"exec sh -c '{_READ}'"
"""The command line."""


class Channel(Protocol):
    """A command under way there: its streams, and an end to it."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    def end_input(self) -> None:
        """Tell the command that there is no more; what was written is flushed."""

    def kill(self) -> None:
        """Have its streams end now, for whoever is at them in any thread."""

    def close(self) -> None:
        """Let go of it; no thread is at its streams any more."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A command that has ended: what its output was read as, its exit status, what it said of errors."""

    value: T
    status: int
    words: str


def converse(
    channel: Channel,
    script: str,
    *,
    login_shell: bool,
    send: Callable[[IO[bytes]], object],
    read: Callable[[IO[bytes]], T],
    timeout: float | None,
) -> Answer[T]:
    """Have a script run by `sh` there: `send` writes its input, `read` takes its output, while both flow.

    Raises TimeoutError after `timeout` seconds; ConnectionLost if the connection ends before the script does;
    TransportError if `read` can't make sense of what came.
    """
    fence = f"--{os.urandom(12).hex()}"
    login = [f"set -- {shlex.join([_READ, LINE])}\n{program(__name__, 'login.sh')}"] if login_shell else []
    lines = [*login, _fenced(script, fence)]

    faults: list[TransportError] = []

    def feed() -> None:
        # A command may end without having read all: its status says whether that is right.
        with contextlib.suppress(OSError, EOFError):
            channel.stdin.write(b"".join(_encoded(line) for line in lines))
            try:
                send(channel.stdin)
            except TransportError as error:
                faults.append(error)
            channel.stdin.flush()
        with contextlib.suppress(OSError, EOFError):  # also after a fault of a file of ours, lest it waits for the rest
            channel.end_input()

    noise: list[bytes] = []

    def digest() -> T:
        noise.append(_until(fence.encode(), channel.stdout))
        return read(channel.stdout)

    came, trouble, errors = _flow(channel, feed, digest, timeout)
    for fault in faults:
        raise fault
    if isinstance(trouble, TransportError):  # it isn't the connection's
        raise trouble
    begun, words, status = _told(errors, fence.encode())
    if status is None:
        raise ConnectionLost(_text(words if begun else words.strip() or b"".join(noise)).strip())
    if trouble is not None:
        message = f"what came can't be read: {trouble}"
        raise TransportError(message) from trouble
    return Answer(came, status, _text(words))  # type: ignore[arg-type]  # without trouble it is what was read


def _flow(
    channel: Channel, feed: Callable[[], None], digest: Callable[[], T], timeout: float | None
) -> tuple[T | None, Exception | None, bytes]:
    """Have all three streams flow to their ends: what the output was read as, or why it couldn't be; the errors."""
    errors: list[bytes] = []
    expired = threading.Event()

    def listen() -> None:
        with contextlib.suppress(OSError):
            errors.append(channel.stderr.read())

    def expire() -> None:
        expired.set()
        channel.kill()

    feeding, listening = (threading.Thread(target=work, daemon=True) for work in (feed, listen))
    alarm = threading.Timer(timeout or 0, expire)
    for thread in (feeding, listening, *([alarm] if timeout else [])):
        thread.daemon = True
        thread.start()
    came = trouble = None
    try:
        came = digest()
        listening.join()
    except (OSError, EOFError, tarfile.TarError, TransportError) as error:
        trouble = error
    finally:  # also of an interrupt: a thread still at a stream would hold up its close until the command ends there
        channel.kill()
        listening.join()
        alarm.cancel()
        feeding.join()
    if expired.is_set():
        raise TimeoutError
    return came, trouble, b"".join(errors)


def _fenced(script: str, fence: str) -> str:
    mark = rf"printf '\n%s\n' {fence}"
    return f"{mark}; {mark} >&2\n(\n{script}\n)\nprintf '\\n%s %s\\n' {fence} $? >&2"


def _encoded(script: str) -> bytes:
    r"""One line of ASCII that `printf %b` makes the script from: whatever could be mistaken is `\0` and its octal."""
    plain = os.fsencode(script)
    return re.sub(rb"[^ -\[\]-~]", lambda found: b"\\0%03o" % found[0][0], plain) + b"\n"


def _until(fence: bytes, stream: IO[bytes]) -> bytes:
    """What was printed before the fence, or before the end: stderr has a fence, too, and says whether it began."""
    noise = b""
    while line := stream.readline():
        if line.strip() == fence:
            break
        noise = (noise + line)[-4000:]
    return noise


def _told(errors: bytes, fence: bytes) -> tuple[bool, bytes, int | None]:
    """Of all that came on stderr: whether the script began, its words, and its exit status if it ended."""
    before, begun, rest = errors.partition(b"\n%s\n" % fence)
    if not begun:
        return False, before, None
    words, ended, status = rest.rpartition(b"\n%s " % fence)
    return True, (words if ended else rest), int(status) if status.strip().isdigit() and ended else None


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
