"""The calls, commands and errors of `submitit.core.utils`."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False  # a node imports this module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any


class UncompletedJobError(RuntimeError):
    """The job has no result: it failed, was cancelled, or ran out of time or memory. The cause has the details."""


class FailedJobError(UncompletedJobError):
    """The function raised an exception, which is the cause of this error."""


class FailedSubmissionError(RuntimeError):
    """Nothing was submitted."""


class DelayedSubmission:
    """A function with its arguments, which is called later and at most once."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._done = False
        self._result: Any = None

    def result(self) -> Any:
        """Call the function unless it has returned before, and return its result."""
        if not self._done:
            self._result = self.function(*self.args, **self.kwargs)
            self._done = True
        return self._result

    def done(self) -> bool:
        """Whether the function has returned."""
        return self._done


class CommandFunction:
    """A command as a function, which returns the command's standard output, stripped.

    Arguments are appended to the command, keyword arguments as `--name=value`. With `verbose`, the command and its
    output are also printed. Raises FailedJobError with the standard error if the exit status is not 0.
    """

    def __init__(
        self,
        command: list[str],
        verbose: bool = True,  # noqa: FBT001, FBT002 - as in submitit
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(command, list):
            raise TypeError(f"the command must be a list of words, not {command!r}")
        self.command = command
        self.verbose = verbose
        self.cwd = None if cwd is None else str(cwd)
        self.env = env

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Run the command and return its standard output."""
        import subprocess  # noqa: PLC0415 - it is slow to import
        import sys  # noqa: PLC0415
        from threading import Thread  # noqa: PLC0415

        words = [*self.command, *map(str, args), *(f"--{name}={value}" for name, value in kwargs.items())]
        if self.verbose:
            print(f"The command is: {words}", flush=True)
        pipe: Any = subprocess.PIPE
        with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=self.cwd, env=self.env) as process:
            errors: list[str] = []
            reader = Thread(target=self._read, args=(process.stderr, errors, sys.stderr))
            reader.start()
            output = self._read(process.stdout, [], sys.stdout)
            reader.join()
        if process.returncode:
            error = subprocess.CalledProcessError(process.returncode, words, "".join(output), "".join(errors))
            raise FailedJobError("".join(errors).strip() or str(error)) from error
        return "".join(output).strip()

    def _read(self, stream: Any, lines: list[str], target: Any) -> list[str]:
        """Read a stream to its end, and return its lines. With `verbose`, print each line when it arrives."""
        for line in stream:
            lines.append(line)
            if self.verbose:
                print(line, end="", file=target, flush=True)
        return lines


@contextmanager
def environment_variables(**variables: Any) -> Iterator[None]:
    """Set environment variables within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
