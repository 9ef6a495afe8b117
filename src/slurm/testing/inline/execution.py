"""Execution: run one element, in this process if the runner can do this, or else with its script."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from slurm.options import Options
from slurm.protocol import JOBS, METRICS, SUBMISSION, Submission
from slurm.runner import job_context
from slurm.runner.main import main
from slurm.submission.requests import several_ranks
from slurm.tasks import active

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.testing.inline.jobs import Element, InlineJob

_BY_SCRIPT = ("workers", "chdir", "launch", "separate_stderr", "setup", "teardown")
"""Options that only the script implements."""
_turn = threading.RLock()
"""The lock of the one element that runs in this process: the runner expects to have the process for itself."""
_counting = threading.Lock()
_running: list[int] = []
"""The threads that run elements, including workflows."""
_outside: list[list[Any]] = []
"""The runner's state before the first of these threads began."""


def run(job: InlineJob, element: Element) -> int:
    """Run an element to its end; returns its exit status.

    The script runs as a separate process if the runner needs one: for setup steps, other interpreters or containers,
    several ranks or workers, a working directory, variables, and hooks, whose time limit is a signal.
    """
    submission = _submission(job)
    if submission is None or not _in_process(submission):
        return _run_script(job, element)
    root = os.path.dirname(job.script).removesuffix(f"/{JOBS}/{submission.key}")
    which = (submission.key, str(job.first + element.task), submission.environment.tag)
    words = [root, *which, str(submission.chunk), "0", str(job.attempt(element))]
    words += ["-"] if submission.continues else []  # a signal cannot stop a thread
    words += [METRICS] if Options.parse(submission.options).get("metrics") else []
    with _output_to(job.log_path(element)), contextlib.nullcontext() if job.waits else _turn, _own_context():
        return main(words, job.variables(element))


def _submission(job: InlineJob) -> Submission | None:
    path = os.path.join(os.path.dirname(job.script), SUBMISSION)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return Submission.loads(file.read(), where=path)


def _in_process(submission: Submission) -> bool:
    environment, options = submission.environment, Options.parse(submission.options)
    plain = not (environment.setup or environment.launch or environment.image or submission.callbacks)
    alone = not any(map(options.get, _BY_SCRIPT)) and not several_ranks(options) and not options.env
    return plain and alone and os.path.realpath(environment.python) == os.path.realpath(sys.executable)


def _run_script(job: InlineJob, element: Element) -> int:
    """Run the script with bash, with its output in the log; returns its exit status."""
    environ = {**os.environ, **job.variables(element)}
    with open(job.log_path(element), "ab") as log:
        element.process = subprocess.Popen(
            ["bash", job.script, *job.arguments],
            env=environ,
            cwd=job.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return element.process.wait()


@contextlib.contextmanager
def _own_context() -> Iterator[None]:
    """Restore the state that the runner changes in its process: the current job, and the active cluster of a workflow.

    Workflows overlap with other elements, so the state before an element may belong to another one. The last element to
    end restores the state from before the first one began.
    """
    own = job_context
    state = (own._current, own._current_index, own._stop, own._interrupting, active._default)  # noqa: SLF001
    before = [list(some) for some in state]
    with _counting:
        if not _running:
            _outside[:] = before
        _running.append(threading.get_ident())
    own._reported.clear()  # noqa: SLF001
    try:
        yield
    finally:
        with _counting:
            _running.remove(threading.get_ident())
            for some, old in zip(state, before if _running else _outside, strict=True):
                some[:] = old  # type: ignore[index]


class _ThreadOutput(io.TextIOBase):
    """Standard output or error: for threads that run an element, the element's log; for others, the original stream."""

    def __init__(self, outside: Any) -> None:
        self.outside = outside

    def _target(self) -> Any:
        return getattr(_thread, "log", None) or self.outside

    def write(self, text: str) -> int:
        written: int = self._target().write(text)
        return written

    def flush(self) -> None:
        self._target().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)


_thread = threading.local()
_replaced: list[IO[str]] = []
_users = [0]
_lock = threading.Lock()


@contextlib.contextmanager
def _output_to(path: str) -> Iterator[None]:
    """Send what this thread prints to a file. Output that is written to file descriptors is not redirected."""
    with open(path, "a", encoding="utf-8", errors="replace", buffering=1) as log:
        with _lock:
            if not _users[0]:
                _replaced[:] = [sys.stdout, sys.stderr]
                sys.stdout, sys.stderr = (_ThreadOutput(outside) for outside in _replaced)
            _users[0] += 1
        _thread.log = log
        try:
            yield
        finally:
            _thread.log = None
            with _lock:
                _users[0] -= 1
                if not _users[0]:
                    _put_back()


def _put_back() -> None:
    """Restore the original streams, except streams that other code has replaced since, as pytest does between tests."""
    for name, outside in zip(("stdout", "stderr"), _replaced, strict=True):
        if isinstance(getattr(sys, name), _ThreadOutput):
            setattr(sys, name, outside)
