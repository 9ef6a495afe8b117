"""Monitor: the parent process of an element's script, like slurmstepd on a Slurm node.

It sends the script its warning signal, ends it at its time limit or on SIGTERM, and writes the final state to the
element's note. It does not need the supervisor, which may be killed. It is forked from the supervisor, without exec.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.files import is_own
from slurm.schedulers.local_queue import GRACE_SECONDS, notes
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, FinalState
from slurm.schedulers.local_queue.processes import fork, launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.schedulers.local_queue.messages import Submission
    from slurm.schedulers.local_queue.processes import Process

_POLL_SECONDS = 0.2
"""Seconds between two checks of a script that is not a child of the monitor."""


class Start(NamedTuple):
    """One element to start."""

    id: str
    task: int
    submission: Submission
    total: int
    """The number of tasks of the submission."""
    cpus: int
    note: str


def start(element: Start) -> int:
    """Start an element's monitor, which starts the script. Returns the monitor's pid. Raises OSError."""
    supervisor = os.getpid()
    return fork(lambda: _finish(_start(element, supervisor), element.note, supervisor))


def take_over(note: str, script: Process, submission: Submission, begun: float) -> int:
    """Start a monitor for a script whose monitor was killed. Raises OSError."""
    supervisor = os.getpid()
    return fork(lambda: _finish(_take_over(note, script, submission, begun), note, supervisor))


def _finish(status: int, note: str, supervisor: int) -> int:
    """Launch a supervisor if the supervisor of this monitor was killed: no client may be running to start one."""
    if os.getppid() != supervisor:
        launch(os.path.dirname(os.path.dirname(note)))
    return status


def _start(element: Start, supervisor: int) -> int:
    begun = time.monotonic()
    notes.create(element.note, begun)
    # The note is written before this check. So a supervisor that replaces a killed one finds the notes of all running
    # elements; an element whose note it may have missed does not run.
    if os.getppid() != supervisor:
        notes.append_void(element.note)
        return 0
    errors, error_pipe = os.pipe()
    me = os.getpid()
    try:
        script = os.fork()
    except OSError:
        notes.append_void(element.note)
        return 0
    if script == 0:
        os.close(errors)
        _become_script(element, me, error_pipe)
    os.close(error_pipe)
    watch = _Watch(
        element.submission,
        begun,
        ended=lambda: os.waitid(os.P_PID, script, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None,
        kill=lambda number: _kill(os.kill, script, number),
        kill_all=lambda number: _kill(os.killpg, script, number),
    )
    state = watch.until_end()
    _kill(os.killpg, script, signal.SIGKILL)  # before reaping: afterwards another group may get its number
    _, status = os.waitpid(script, 0)
    failure = os.read(errors, 4096).decode("ascii", "backslashreplace")
    final = FinalState("FAILED", f"not started: {failure}") if failure else None
    notes.append_final(element.note, final or FinalState(state or ("COMPLETED" if status == 0 else "FAILED"), ""))
    return 0


def _take_over(note: str, script: Process, submission: Submission, begun: float) -> int:
    notes.append_process(note, "monitor")
    watch = _Watch(
        submission,
        begun,
        ended=lambda: not script.alive,
        kill=lambda number: _kill(os.kill, script.pid, number) if script.alive else None,
        kill_all=lambda number: _kill(os.killpg, script.pid, number) if script.alive else None,
        poll_seconds=_POLL_SECONDS,
    )
    state = watch.until_end()
    notes.append_final(note, FinalState(state, "") if state else FinalState("COMPLETED", STATUS_UNKNOWN))
    return 0


class _Watch:
    """Waits for a script to end, enforces its time limit and handles SIGTERM."""

    def __init__(
        self,
        submission: Submission,
        begun: float,
        *,
        ended: Callable[[], bool],
        kill: Callable[[int], None],
        kill_all: Callable[[int], None],
        poll_seconds: float | None = None,
    ) -> None:
        self._ended, self._kill, self._kill_all, self._poll_seconds = ended, kill, kill_all, poll_seconds
        self._deadline = begun + submission.seconds if submission.seconds else None
        self._warning: tuple[float, int] | None = None
        if self._deadline is not None and submission.warning:
            number, lead = submission.warning
            self._warning = (max(begun, self._deadline - lead), number)
        self._kill_at = float("inf")
        self._cancelled = False

    def until_end(self) -> str | None:
        """Wait for the script. Returns TIMEOUT or CANCELLED if the monitor ended it, else None."""
        awake, wake = os.pipe()
        for end in (awake, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_cancelled", True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        state: str | None = None
        while not self._ended():
            now = time.monotonic()
            if self._warning and now >= self._warning[0]:
                self._kill(self._warning[1])  # to the script, not to its children
                self._warning = None
            if state is None and (self._cancelled or (self._deadline is not None and now >= self._deadline)):
                state = "CANCELLED" if self._cancelled else "TIMEOUT"
                self._kill_all(signal.SIGTERM)
                self._kill_at = now + GRACE_SECONDS
            if now >= self._kill_at:
                self._kill_all(signal.SIGKILL)
                self._kill_at = now + GRACE_SECONDS
            if select.select([awake], [], [], self._pause(state))[0]:
                os.read(awake, 1 << 12)
        return state

    def _pause(self, state: str | None) -> float:
        """Return the seconds until the next action; at most a minute, because select(2) rejects very large values."""
        dues = [self._kill_at, *([self._warning[0]] if self._warning else [])]
        if state is None and self._deadline is not None:
            dues.append(self._deadline)
        return max(0.0, min(min(dues) - time.monotonic(), 60.0 if self._poll_seconds is None else self._poll_seconds))


def _kill(how: Callable[[int, int], None], pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(pid, number)


def _become_script(element: Start, monitor: int, error_pipe: int) -> None:
    """Execute the script, in the child. A failure is written to `error_pipe`, which exec closes."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; handlers end with exec
            signal.signal(number, signal.SIG_DFL)
        notes.append_process(element.note, "script")
        if os.getppid() != monitor:  # as in `_start`: a reader of the note may have concluded that nothing runs
            notes.append_void(element.note)
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        execute(element)
    except BaseException as error:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        with contextlib.suppress(OSError):
            os.write(error_pipe, f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace")[:4000])
    finally:
        os._exit(127)


def execute(element: Start) -> None:
    """Execute the script as Slurm would: with its log, variables and working directory. Raises OSError."""
    submission = element.submission
    if not is_own(submission.script):
        raise PermissionError(f"other users can change {submission.script}")
    log = "%".join(part.replace("%a", str(element.task)) for part in submission.log.split("%%"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    os.umask(submission.umask)
    os.chdir(submission.cwd if os.path.isdir(submission.cwd) else "/")  # the script reports a missing one
    environ = {**submission.environ, **_variables(element)}
    os.execve(_bash(environ.get("PATH", os.defpath)), ["bash", submission.script, *submission.arguments], environ)


def _bash(path: str) -> str:
    """Find the shell in the PATH of the script."""
    for directory in path.split(os.pathsep):
        if os.access(found := os.path.join(directory or ".", "bash"), os.X_OK):
            return found
    raise FileNotFoundError(f"bash was not found in PATH={path}")


def _variables(element: Start) -> dict[str, str]:
    """Return the variables of sbatch(1), OUTPUT ENVIRONMENT VARIABLES, that matter on one machine."""
    submission = element.submission
    cpus_per_task = {"SLURM_CPUS_PER_TASK": submission.cpus_per_task} if submission.cpus_per_task else {}
    return {
        "SLURM_JOB_ID": element.id,
        "SLURM_ARRAY_JOB_ID": element.id,
        "SLURM_ARRAY_TASK_ID": str(element.task),
        "SLURM_ARRAY_TASK_COUNT": str(element.total),
        "SLURM_JOB_NAME": submission.name,
        "SLURM_SUBMIT_DIR": submission.submit_dir,
        "SLURM_CPUS_ON_NODE": str(max(1, element.cpus)),
        "SLURM_NTASKS": str(submission.ntasks),
        **cpus_per_task,
    }
