"""ScriptProcess: the process that runs a script, for use by its parent."""

from __future__ import annotations

import json
import os
import sys

from slurm.protocol.boot import BOOT
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log
from slurm.runner.procedures import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CHILD = "slurm.runner.procedures.child"


class ScriptProcess:
    """A child process that exchanges JSON lines with its parent over two pipes. No method waits for the child."""

    def __init__(self, python: str) -> None:
        their_end, self._commands = os.pipe()
        self.answers, our_end = os.pipe()
        runner = sys.modules["slurm"].__loader__.archive  # type: ignore[union-attr]
        argv = [python, "-c", BOOT, runner, CHILD, str(their_end), str(our_end)]
        self.pid = os.fork()
        if self.pid == 0:
            _execute(argv, (their_end, our_end))
        os.close(their_end)
        os.close(our_end)
        os.set_blocking(self._commands, False)
        os.set_blocking(self.answers, False)
        self._unsent, self._received = bytearray(), bytearray()

    def tell(self, **message: Any) -> None:
        """Send a message. If the script does not read it now, it gets the message later."""
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send as much as the pipe to the script takes now."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self._commands, self._unsent)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent.clear()

    def hear(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that the script has sent."""
        try:
            while block := os.read(self.answers, 1 << 16):
                self._received += block
        except BlockingIOError:
            pass
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                yield message
            else:
                print_to_log("the script has written to the pipe of its process: a line is left out\n")


def _execute(argv: list[str], inherited: tuple[int, ...]) -> None:
    """Replace the child of a fork by the script's Python."""
    try:
        processes.end_with_parent()
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        os.execv(argv[0], argv)
    except BaseException as error:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        print_to_log(f"{argv[0]} cannot be started: {error}\n")
    finally:
        os._exit(127)
