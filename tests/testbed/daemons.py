"""Handles on a testbed's daemons, which are the children of its guardian."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import SlurmTestbedError

_PROGRAM = Path(__file__).with_name("guardian.py")
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 20.0
_END_SECONDS = 10.0


class GuardianClient:
    """The owner's end of the pipes to a guardian process; start() it before anything else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def start(self) -> None:
        """Start the guardian in a session of its own, where no Ctrl-C reaches it."""
        self._process = subprocess.Popen(
            # Isolated: this directory must not come before the standard library on its path.
            [sys.executable, "-I", "-S", str(_PROGRAM), str(self._directory), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )

    def ask(self, do: str, **request: object) -> dict[str, Any]:
        """Send one request and return its answer; raises SlurmTestbedError if there is none."""
        with self._turn:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise SlurmTestbedError("the testbed is not running")
            try:
                process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            except BrokenPipeError:
                raise SlurmTestbedError("the testbed's guardian is gone") from None
            ready, _, _ = select.select([process.stdout], [], [], _ANSWER_SECONDS)
            line = process.stdout.readline() if ready else b""
        if not line:
            raise SlurmTestbedError("the testbed's guardian doesn't answer")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SlurmTestbedError(answer["error"])
        return answer

    def stop(self) -> None:
        """Have every descendant killed and the directory removed; does nothing the second time."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(b'{"do": "stop"}\n', timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise SlurmTestbedError(f"the testbed's guardian, process {process.pid}, does not end") from None
        if process.returncode:
            raise SlurmTestbedError(f"the testbed's guardian ended with status {process.returncode}")


class Daemon:
    """One slurmctld, slurmd or other server, running or not."""

    def __init__(
        self, name: str, guardian: GuardianClient, *, argv: Sequence[str], env: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        #: Whether it is meant to run: started, and not killed since by this handle.
        self.wanted = False
        self._guardian = guardian
        self._argv = list(argv)
        self._env = dict(env)
        self._log = logs / f"{name}.log"
        self._output = logs / f"{name}.out"
        self._pid: int | None = None

    @property
    def pid(self) -> int:
        """The process id, also after its end; raises SlurmTestbedError if it was never started."""
        if self._pid is None:
            raise SlurmTestbedError(f"{self.name} was never started")
        return self._pid

    def start(self) -> None:
        """Start it, without waiting until it is of use (that is the testbed's wait_ready)."""
        if self.wanted and self.alive():
            raise SlurmTestbedError(f"{self.name} runs already, as process {self.pid}")
        answer = self._guardian.ask("start", argv=self._argv, env=self._env, output=str(self._output))
        self._pid = int(answer["pid"])
        self.wanted = True

    def alive(self) -> bool:
        """Say whether the process is there, be it paused."""
        return self._pid is not None and self._signal(0)

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL) and wait until it is gone; jobs on its node go on.

        slurmctld saves its state only every few seconds, and forgets what happened since.
        """
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Stop it in an orderly way (SIGTERM) and wait until it is gone; slurmctld saves its state first."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its port still takes connections, but nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of its log, or of what it printed if it never came to log anything."""
        for path in (self._log, self._output):
            if path.exists() and (text := path.read_text(errors="replace")):
                return "\n".join(text.splitlines()[-lines:])
        return ""

    def _end(self, number: signal.Signals) -> None:
        self.wanted = False
        self._signal(number)
        deadline = time.monotonic() + _END_SECONDS
        while self.alive():
            if time.monotonic() > deadline:
                raise SlurmTestbedError(f"{self.name}, process {self.pid}, outlives {number.name}")
            time.sleep(0.002)

    def _signal(self, number: int) -> bool:
        return bool(self._guardian.ask("signal", pid=self.pid, signal=int(number))["alive"])
