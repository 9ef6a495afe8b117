"""Child: the process that loads a script and calls its functions, in its main thread."""

from __future__ import annotations

import json
import linecache
import os
import queue
import signal
import sys
import threading
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any

from slurm.protocol.procedures import EXPECTED, INIT
from slurm.runner import own_signals
from slurm.runner.procedures.interface import ProcedureStopped, procedure
from slurm.runner.procedures.signatures import parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def main(arguments: Sequence[str]) -> int:
    """Run a script: `in out`, the descriptors of the pipes from and to the parent. Returns the exit status."""
    commands, answers = map(int, arguments)
    for descriptor in (commands, answers):
        os.set_inheritable(descriptor, False)
    return _Child(commands, answers).run()


class _Child:
    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sending = self._stopped = self._deferred = False
        self._module = ModuleType("procedure_script")

    def run(self) -> int:
        own_signals.handle({signal.SIGTERM: self._stop})
        procedure.connect(self._send)
        threading.Thread(target=self._read, daemon=True, name="procedure").start()
        try:
            return self._serve()
        except ProcedureStopped:
            return 0

    def _stop(self, *_: object) -> None:
        """Raise ProcedureStopped once."""
        if self._sending:  # an exception now could leave a part of a line in the pipe
            self._deferred = True
        elif not self._stopped:
            self._stopped = True
            raise ProcedureStopped

    def _is_offered(self, name: str, value: object) -> bool:
        """Whether a variable of the script is one of its functions; a class that the script imports is none."""
        is_imported = isinstance(value, type) and value.__module__ != getattr(self._module, "__name__", None)
        return callable(value) and name[0] != "_" and not is_imported

    def _serve(self) -> int:
        plan = self._queue.get()
        if not self._make("load", 0, lambda: self._load(plan)):
            return 1
        init = getattr(self._module, INIT, None)
        public = {name: value for name, value in vars(self._module).items() if self._is_offered(name, value)}
        functions = {name: parameters_of(value) for name, value in public.items()}
        expected = getattr(self._module, EXPECTED, None)
        told = {"expected": expected} if isinstance(expected, (int, float)) else {}
        self._send({"say": "loaded", "functions": functions, "init": callable(init), **told})
        if callable(init) and not self._make(INIT, 0, lambda: init(*plan["args"], **plan["kwargs"])):
            return 1
        self._send({"say": "ready"})
        while (command := self._queue.get())["do"] == "call":
            if not self._call(command):
                return 1
        return 0

    def _load(self, plan: Mapping[str, Any]) -> None:
        path, text = plan["path"], plan["text"]
        self._module.__file__ = path
        sys.argv = [path]
        if os.path.isabs(directory := os.path.dirname(path)):
            sys.path.insert(0, directory)
        sys.modules[self._module.__name__] = self._module
        linecache.cache[path] = len(text), None, text.splitlines(keepends=True), path
        exec(compile(text, path, "exec", dont_inherit=True), vars(self._module))  # noqa: S102 - the user's script

    def _call(self, command: Mapping[str, Any]) -> bool:
        number, name = command["command"], command["function"]
        made: list[Any] = []
        if not self._make(name, number, lambda: made.append(self._made(command))):
            return False
        value = made[0] if made else None
        told: dict[str, Any] = {"say": "returned", "command": number, "function": name}
        try:
            json.dumps(value, allow_nan=False)
            self._send({**told, "value": value})
        except (TypeError, ValueError, RecursionError):
            self._send({**told, "repr": _shown(value)})
        return True

    def _made(self, command: Mapping[str, Any]) -> Any:
        return getattr(self._module, command["function"])(*command["args"], **command["kwargs"])

    def _make(self, what: str, number: int, function: Callable[[], object]) -> bool:
        """Call a function of the user; return whether it returned. A failure is sent and printed."""
        try:
            function()
        except ProcedureStopped:
            raise
        except BaseException as error:  # noqa: BLE001 - the user's code: SystemExit and KeyboardInterrupt are failures
            if isinstance(error, SystemExit) and not error.code and number:
                return True
            text = "".join(traceback.format_exception(type(error), error, _frames(error)))
            print(text, end="", file=sys.stderr, flush=True)
            message = {"type": type(error).__qualname__, "message": _shown(error, str), "stacktrace": text}
            self._send({"say": "raised", "command": number, "function": what, **message})
            return False
        return True

    def _send(self, message: dict[str, Any]) -> None:
        """Send a message to the parent, from any thread."""
        data = json.dumps(message, default=_shown).encode() + b"\n"
        main = threading.current_thread() is threading.main_thread()
        with self._lock:
            try:
                self._sending = self._sending or main
                while data:
                    data = data[os.write(self._answers, data) :]
            except BrokenPipeError:
                os._exit(1)
            finally:
                self._sending = self._sending and not main
        if main and self._deferred:
            self._deferred = False
            self._stop()

    def _read(self) -> None:
        """Read what the parent sends, while the main thread runs the script."""
        rest = b""
        while block := os.read(self._commands, 1 << 16):  # not a file: its lock could block the end of the program
            *lines, rest = (rest + block).split(b"\n")
            for message in map(json.loads, lines):
                if message["do"] in ("message", "override"):
                    procedure.receive(message)
                else:
                    self._queue.put(message)


def _frames(error: BaseException) -> Any:
    """Return the traceback of an error without the frames of this module."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == __name__:
        frames = frames.tb_next
    return frames


def _shown(value: Any, how: Callable[[Any], str] = repr) -> str:
    try:
        return how(value)
    except Exception:  # noqa: BLE001 - the user's own __repr__ or __str__
        return f"<{type(value).__name__} that cannot be shown>"
