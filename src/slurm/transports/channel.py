"""Channels: run a script with a remote `sh`, and separate its output from what rc files print.

Every command has the same command line, which all login shells parse alike: bash, zsh, csh, fish. It starts `sh`, which
reads the script from the second line of its input. So a script needs no second quoting, may have any length, and does
not appear in `ps`. The rest of the input is for the command. A fence, a line unique to each command, separates the
output of rc files from the answer. The last fence contains the exit status, so a broken connection never looks like a
command that ended.

A startup file of the login shell can break this: it may read the input, end the shell, or replace the shell with one
that runs its input. So the script comes after a guard, the line `exit 97`. A `sh` that does not find the guard does not
run what follows, and another shell ends at the guard. `StartupFailed` says which of these happened.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tarfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from slurm.errors import ConnectionLost, TransportError
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_GUARDED = 97
_GUARD = f"exit {_GUARDED}"
"""The line before each script."""
_NO_GUARD = "slurm-tasks: the input was read before"
_NEXT = "IFS= read -r x"
_CHECK = f"""[ "$x" = "{_GUARD}" ] || {{ echo "{_NO_GUARD}" >&2; {_GUARD}; }}"""
_READ = f"""{_NEXT}; {_CHECK}; {_NEXT}; eval "$(printf %b "$x")\""""
LINE = f"exec sh -c '{_READ}'"
"""The command line."""

_LOST = 255
"""The exit status of `ssh` for a failed connection."""
_INTERACTIVE_ONLY = "Let it do so in interactive shells only, as with: case $- in *i*) … ;; esac"


class Channel(Protocol):
    """The streams of a running remote command."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    def end_input(self) -> None:
        """Close the command's input."""

    def exit_status(self) -> int | None:
        """Wait a few seconds for the exit status of a command whose output has ended; None if it does not arrive."""

    def kill(self) -> None:
        """Shut down the streams at once. Threads that are blocked on them return."""

    def close(self) -> None:
        """Release the channel. Call it only when no thread uses the streams."""


class StartupFailed(TransportError):
    """A startup file of the login shell keeps the shell from running the command."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A finished command: the value read from its output, its exit status, its standard error."""

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
    """Run a script with `sh`. `send` writes its input while `read` reads its output.

    Raises TimeoutError after `timeout` seconds, StartupFailed if the login shell does not run the script,
    ConnectionLost if the connection ends before the script, and TransportError if `read` cannot parse the output.
    """
    fence = f"--{os.urandom(12).hex()}"
    send_errors: list[TransportError] = []
    preamble: list[Preamble] = []

    def feed_input() -> None:
        # A command may exit before it has read all its input; its status says whether this is an error.
        with contextlib.suppress(OSError, EOFError):
            channel.stdin.write(whole_input(script, fence, login_shell=login_shell))
            try:
                send(channel.stdin)
            except TransportError as error:
                send_errors.append(error)
            channel.stdin.flush()
        # Even if a local file cannot be read: otherwise the command waits for more input.
        with contextlib.suppress(OSError, EOFError):
            channel.end_input()

    def receive() -> T:
        preamble.append(read_to_fence(fence.encode(), channel))
        return read(channel.stdout)

    value, failure, errors = _run_streams(channel, feed_input, receive, timeout)
    for send_error in send_errors:
        raise send_error
    if isinstance(failure, TransportError):  # the connection is intact
        raise failure
    begun, words, status = _parse_errors(errors, fence.encode())
    if status is None:
        raise ConnectionLost(_text(words).strip()) if begun else not_begun(words, *preamble)
    if failure is not None:
        raise TransportError(f"cannot parse the output: {failure}") from failure
    return Answer(value, status, _text(words))  # type: ignore[arg-type]  # read without an error


def whole_input(script: str, fence: str, *, login_shell: bool) -> bytes:
    """Return the input that makes a login shell run a script."""
    login = [f"set -- {shlex.join([_READ, LINE])}\n{program(__name__, 'login.sh')}"] if login_shell else []
    return _guarded(*login, _fenced(script, fence))


def _run_streams(
    channel: Channel, feed_input: Callable[[], None], receive: Callable[[], T], timeout: float | None
) -> tuple[T | None, Exception | None, bytes]:
    """Run all three streams to their ends. Returns the value read or the error, and standard error."""
    errors: list[bytes] = []
    expired = threading.Event()

    def read_errors() -> None:
        with contextlib.suppress(OSError):
            errors.append(channel.stderr.read())

    def expire() -> None:
        expired.set()
        channel.kill()

    writer, error_reader = (threading.Thread(target=work, daemon=True) for work in (feed_input, read_errors))
    alarm = threading.Timer(timeout or 0, expire)
    for thread in (writer, error_reader, *([alarm] if timeout else [])):
        thread.daemon = True
        thread.start()
    value = failure = None
    try:
        value = receive()
        error_reader.join()
    except (OSError, EOFError, tarfile.TarError, TransportError) as error:
        failure = error
    finally:  # also after an interrupt: a thread in a read would block the close until the command ends
        channel.kill()
        error_reader.join()
        alarm.cancel()
        writer.join()
    if expired.is_set():
        raise TimeoutError
    return value, failure, b"".join(errors)


def _fenced(script: str, fence: str) -> str:
    mark = rf"printf '\n%s\n' {fence}"
    return f"{mark}; {mark} >&2\n(\n{script}\n)\nprintf '\\n%s %s\\n' {fence} $? >&2"


def _guarded(*lines: str) -> bytes:
    return b"".join(f"{_GUARD}\n".encode() + _encoded(line) for line in lines)


def _encoded(script: str) -> bytes:
    r"""Encode a script as one line of ASCII for `printf %b`: special bytes are `\0` and their octal value."""
    plain = os.fsencode(script)
    return re.sub(rb"[^ -\[\]-~]", lambda found: b"\\0%03o" % found[0][0], plain) + b"\n"


class Preamble(NamedTuple):
    """What a command printed before the fence. If there was no fence, also its exit status."""

    output: bytes = b""
    status: int | None = None
    begun: bool = False


def read_to_fence(fence: bytes, channel: Channel) -> Preamble:
    """Read what is printed before the fence. Raises OSError."""
    output = b""
    while line := channel.stdout.readline():
        if line.strip() == fence:
            return Preamble(output, begun=True)
        output = (output + line)[-4000:]
    return Preamble(output, channel.exit_status())


def not_begun(errors: bytes, preamble: Preamble = Preamble()) -> TransportError:  # noqa: B008 - a value
    """Return the error for a script that did not begin: StartupFailed, or ConnectionLost."""
    output, status = _text(errors.strip() or preamble.output).strip(), preamble.status
    files = "a startup file of your login shell there (such as ~/.bashrc)"
    if _NO_GUARD in output:
        message = f"{files} reads standard input, which carries the command. Give that line `< /dev/null`"
    elif status is None or status < 0 or status == _LOST:
        return ConnectionLost(output)
    elif status == _GUARDED:
        message = f"{files} starts another shell, which reads standard input. {_INTERACTIVE_ONLY}"
    else:
        message = (
            f"your login shell there ended with status {status} before it ran the command: {output or 'no output'}. "
            f"Either the account has no shell, or {files} ends or replaces the shell. {_INTERACTIVE_ONLY}"
        )
    return StartupFailed(message)


def _parse_errors(errors: bytes, fence: bytes) -> tuple[bool, bytes, int | None]:
    """Parse standard error: whether the script began, what it printed, and its exit status if it ended."""
    before, begun, rest = errors.partition(b"\n%s\n" % fence)
    if not begun:
        return False, before, None
    words, ended, status = rest.rpartition(b"\n%s " % fence)
    return True, (words if ended else rest), int(status) if status.strip().isdigit() and ended else None


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
