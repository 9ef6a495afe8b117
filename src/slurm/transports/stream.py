"""Stream: a command that keeps running, and exchanges bytes with this process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections import deque
from typing import IO, TYPE_CHECKING, cast

from slurm.errors import ConnectionLost
from slurm.transports.channel import Preamble, not_begun, read_to_fence, whole_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.transports.channel import Channel

_BEGIN_SECONDS = 60.0
"""Seconds for a command to begin."""

_WORDS = 4000


class Stream:
    """The input and output of a running command. One thread may read while another writes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._words: deque[bytes] = deque(maxlen=50)
        self._errors = threading.Thread(target=self._read_errors, name="slurm-stream", daemon=True)
        self._errors.start()

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self._channel.stderr.readline(_WORDS):
                self._words.append(line)

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionLost; then a part of the bytes may have arrived."""
        try:
            self._channel.stdin.write(data)
            self._channel.stdin.flush()
        except (OSError, EOFError, ValueError) as error:
            raise ConnectionLost(f"the command has ended: {error}") from error

    def read(self, size: int) -> bytes:
        """Wait for `size` bytes, and return them. Raises ConnectionLost if the command ends before they arrive."""
        try:
            data = self._channel.stdout.read(size)
        except (OSError, EOFError, ValueError) as error:
            raise ConnectionLost(f"the command has ended: {error}") from error
        if len(data) < size:
            self._errors.join(1.0)
            words = self.words.decode(errors="replace").strip()
            raise ConnectionLost(f"the command has ended: {words[-_WORDS:] or 'no message'}")
        return data

    @property
    def words(self) -> bytes:
        """The last lines that the command has printed to standard error."""
        return b"".join(self._words)

    def end(self) -> None:
        """Make all reads and writes end at once."""
        self._channel.kill()

    def close(self) -> None:
        """Release the stream. Call it only when no other thread reads or writes."""
        self.end()
        self._errors.join()
        self._channel.close()


def begin(channel: Channel, script: str, *, login_shell: bool) -> Stream:
    """Run a script with `sh` that exchanges bytes with this process. Closes the channel if it does not begin.

    Raises StartupFailed if the login shell does not run the script, and ConnectionLost.
    """
    fence = f"--{os.urandom(12).hex()}"
    alarm = threading.Timer(_BEGIN_SECONDS, channel.kill)
    alarm.daemon = True
    alarm.start()
    stream, preamble = Stream(channel), Preamble()
    try:
        stream.write(whole_input(script, fence, login_shell=login_shell))
        preamble = read_to_fence(fence.encode(), channel)
    except OSError as error:
        raise ConnectionLost(str(error)) from error
    finally:
        alarm.cancel()
        if not preamble.begun:
            stream.close()
    if not preamble.begun:
        raise not_begun(stream.words, preamble)
    return stream


def local_stream(argv: Sequence[str]) -> Stream:
    """Start a command of this machine. Raises OSError."""
    return Stream(_Process(argv))


class _Process:
    """A running command of this machine, as a `Channel`."""

    def __init__(self, argv: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        self.stdin, self.stdout, self.stderr = (
            cast("IO[bytes]", each) for each in (self._process.stdin, self._process.stdout, self._process.stderr)
        )

    def end_input(self) -> None:
        self.stdin.close()

    def exit_status(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                stream.close()
