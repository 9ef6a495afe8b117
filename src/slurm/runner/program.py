"""run_program: run a program in its own process group, pass signals on to it, and leave none of its processes.

A second process, the *guard*, kills the program if this process is killed. Both find processes that have left the
group by a variable that all processes of the program inherit.
"""

from __future__ import annotations

import os
import time

from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from resource import struct_rusage
    from typing import NoReturn

    from typing_extensions import Self

_signal = __import__("_signal")  # `signal` imports `enum`

MARK = "SLURMTASKS_PROGRAM"
"""The variable that marks all processes of a program."""
GRACE_SECONDS = 2.0
"""Seconds between SIGTERM and SIGKILL for processes that the program left behind when it ended."""
_PASSED_ON = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGCONT)
_RESET = (*_PASSED_ON, _signal.SIGQUIT, _signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD)
"""Signals that get their default action in the program: Python ignores some, and the script may ignore others."""
_POLL_SECONDS = 0.01
_MARK_BYTES = 8
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as in a shell
NOT_STARTED = 125  # podman-run(1): the container did not start
OUT_OF_MEMORY = "OUT_OF_MEMORY"
"""The state of a job with a process that the kernel has killed because of its memory."""


class Ended(Record):
    """How a program ended."""

    status: int
    """The exit status; as in a shell, 128 + n if signal n ended the program, and 126 or 127 if it did not start."""
    signal: int | None = None
    problem: str = ""
    """The reason why the program did not start."""
    seconds: float = 0.0
    peak_memory: int = 0
    """The largest resident set of one of the program's processes, in bytes."""
    full: bool = False
    """Whether the file system of the program's directory is full."""
    stopped: int | None = None
    """The last signal that was passed on to the program."""
    out_of_memory: bool = False
    """Whether the kernel has killed one of the program's processes because of its memory."""


def run_program(
    argv: Sequence[str], *, directory: str, environ: Mapping[str, str], stdin: int, stdout: int, stderr: int
) -> Ended:
    """Run a program with these descriptors. When none of its processes is left, return how the program ended.

    SIGTERM, the stop signals and SIGINT reach its process group. If SIGTERM would have ended this process, this process
    ends by SIGTERM when the program has ended. Raises OSError if no process can be started.
    """
    mark = os.urandom(_MARK_BYTES).hex()
    environ = {**environ, MARK: mark}
    kills = memory_kills()
    begin = time.monotonic()
    life, alive = os.pipe()
    errors, error = os.pipe()
    guard = _fork(lambda: _guard(life, mark))
    os.close(life)
    try:
        with _Signals() as signals:
            child = _fork(lambda: _execute(argv, directory, environ, (stdin, stdout, stderr), alive, error))
            os.close(error)
            signals.pass_on_to(child)
            status, usage = _wait(child)
            seconds = time.monotonic() - begin
            signals.pass_on_to(None)
            _end_group(child, mark)
            _dismiss(alive)
    finally:
        os.close(alive)
        _wait(guard)
    with open(errors, "rb") as file:
        problem = file.read().decode(errors="replace")
    number = status & 0x7F
    peak = usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)  # getrusage(2): macOS counts bytes
    ended = Ended(
        status=128 + number if number else status >> 8,
        signal=number or None,
        problem=problem,
        seconds=seconds,
        peak_memory=peak,
        stopped=signals.last,
        out_of_memory=bool(status) and memory_kills() > kills,
    )
    signals.end_this_process()
    return ended


def memory_kills() -> int:
    """The number of processes of this control group that the kernel has killed because of their memory.

    Slurm reports this for jobs but not for steps. Reads the files of cgroups(7), version 1 or 2.
    """
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as groups:
            paths = [line.rstrip("\n").split(":", 2)[1:] for line in groups]
    except OSError:
        return 0
    return sum(_kills_of(controllers, path) for controllers, path in paths if controllers in ("memory", ""))


def _kills_of(controllers: str, path: str) -> int:
    file = f"memory{path}/memory.oom_control" if controllers else f"{path}/memory.events"
    try:
        with open(f"/sys/fs/cgroup/{file}", encoding="utf-8") as counts:
            return sum(int(line.split()[1]) for line in counts if line.startswith("oom_kill "))
    except OSError:
        return 0


def _dismiss(alive: int) -> None:
    """Notify the guard that no process is left."""
    try:
        os.write(alive, b"end")
    except BrokenPipeError:  # the guard was killed
        pass


def _fork(body: Callable[[], NoReturn]) -> int:
    child = os.fork()
    if child == 0:
        try:
            body()
        except BaseException:  # noqa: BLE001 - the child of a fork must not return into its parent's code
            os._exit(1)
    return child


def _wait(child: int) -> tuple[int, struct_rusage]:
    """Wait for a child. Signals are handled during the wait."""
    _, status, usage = os.wait4(child, 0)
    return status, usage


def _execute(
    argv: Sequence[str],
    directory: str,
    environ: Mapping[str, str],
    descriptors: Sequence[int],
    alive: int,
    error: int,
) -> NoReturn:
    """Replace the child process by the program. The guard knows the process group before the program starts."""
    os.setpgid(0, 0)
    os.write(alive, b"%d " % os.getpid())
    for number in _RESET:
        _signal.signal(number, _signal.SIG_DFL)
    copies = [os.dup(descriptor) for descriptor in descriptors]
    for target, source in enumerate(copies):
        os.dup2(source, target)
    # Other descriptors close with exec, except those that a launcher of MPI passes on to its processes.
    status = NOT_EXECUTABLE
    try:
        os.chdir(directory)
        os.execvpe(argv[0], list(argv), environ)
    except FileNotFoundError as failure:
        status, problem = NOT_FOUND, _not_found(argv[0], environ, failure)
    except OSError as failure:
        if _is_missing(argv[0], environ):  # execvpe reports a directory of PATH that cannot be searched
            status, problem = NOT_FOUND, _not_found(argv[0], environ, failure)
        else:
            problem = _not_executable(argv[0], failure)
    except ValueError as failure:
        problem = f"{argv[0]!r} cannot be started: {failure}"
    os.write(error, problem.encode(errors="replace"))
    os._exit(status)


def _is_missing(program: str, environ: Mapping[str, str]) -> bool:
    """Whether no directory of PATH that can be searched has a program of this name."""
    directories = environ.get("PATH", os.defpath).split(os.pathsep)
    return "/" not in program and not any(os.access(f"{path or '.'}/{program}", os.F_OK) for path in directories)


def _not_found(program: str, environ: Mapping[str, str], failure: OSError) -> str:
    if "/" not in program:
        return f"there is no program {program!r} on the node: it is not on PATH={environ.get('PATH', '')}"
    if os.access(program, os.F_OK):
        return f"{program!r} cannot be started: the interpreter in its first line does not exist on the node"
    return f"there is no {program!r} on the node ({failure.strerror}). Name it in files=, or write an absolute path"


def _not_executable(program: str, failure: OSError) -> str:
    import errno  # noqa: PLC0415 - only for an error message

    if failure.errno == errno.EACCES:
        return f"{program!r} is not executable: run chmod +x on it, or write its interpreter before it"
    if failure.errno == errno.ENOEXEC:
        return f"{program!r} is neither a program of this machine nor a script with #! and its interpreter"
    return f"{program!r} cannot be started: {failure.strerror}"


class _Signals:
    """Passes signals on to a process group, and to the handlers that were there before."""

    def __init__(self) -> None:
        self._group: int | None = None
        self._early: list[int] = []
        self._deadly = 0
        self.last: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in _PASSED_ON:
            before = _signal.getsignal(number)
            if before is not _signal.SIG_IGN:
                self._before[number] = before
                _signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            _signal.signal(number, _signal.SIG_DFL if before is None else before)

    def _handle(self, number: int, frame: object) -> None:
        if number != _signal.SIGCONT:
            self.last = number
        if self._group is None:
            self._early.append(number)
        else:
            send(self._group, number)
        before = self._before[number]
        if callable(before):
            before(number, frame)
        elif number == _signal.SIGTERM:
            self._deadly = number

    def pass_on_to(self, group: int | None) -> None:
        """Pass signals on to a process group from now on, also those that have arrived; None passes on no signals."""
        self._group = group
        early, self._early = self._early, []
        for number in early if group else ():
            send(group or 0, number)

    def end_this_process(self) -> None:
        """End this process by SIGTERM, if a SIGTERM has arrived that would have ended it."""
        if self._deadly:
            os.kill(os.getpid(), self._deadly)


def send(group: int, number: int) -> bool:
    """Send a signal to a process group. Returns whether the group has a process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end_group(group: int, mark: str) -> None:
    """End the processes that a program has left behind: with SIGTERM, then with SIGKILL."""
    left = _left(group, mark)
    for pid in left:
        _kill(pid, _signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        left = _left(group, mark)
    if left:
        _kill_all(group, mark)


def _kill_all(group: int, mark: str) -> None:
    """Kill a program's processes until none is left, for at most a second: a process may wait for a dead disk."""
    send(group, _signal.SIGKILL)
    end = time.monotonic() + 1.0
    while (left := _left(group, mark)) and time.monotonic() < end:
        for pid in left:
            _kill(pid, _signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _left(group: int, mark: str) -> list[int]:
    """Return the ids of a program's processes: those in its group, and those that have inherited its mark.

    Without /proc, only the group is known: the result is then `-group`.
    """
    try:
        names = os.listdir("/proc/self/task") and os.listdir("/proc")
    except OSError:
        return [-group] if send(group, 0) else []
    of_group = send(group, 0)
    return [int(name) for name in names if name.isdigit() and _belongs(name, group if of_group else None, mark)]


def _belongs(pid: str, group: int | None, mark: str) -> bool:
    """Whether a process belongs to a program.

    A job that the program has submitted to the scheduler may have inherited the mark, but it has another job id.
    """
    try:
        if group is not None:
            state, _, found, *_ = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            if int(found) == group:
                return state not in b"ZX" and _is_own(pid)
        environ = _read(f"/proc/{pid}/environ")
        if mark.encode() not in environ or not _is_own(pid):
            return False
    except OSError:
        return False
    job, variables = os.environ.get("SLURM_JOB_ID"), environ.split(b"\0")
    return f"{MARK}={mark}".encode() in variables and (not job or f"SLURM_JOB_ID={job}".encode() in variables)


def _is_own(pid: str) -> bool:
    return os.stat(f"/proc/{pid}").st_uid == os.geteuid()


def _read(path: str) -> bytes:
    """Return the content of a file in /proc. `open` would take four times as long, and a node has many processes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = b""
        while block := os.read(descriptor, 1 << 15):
            content += block
        return content
    finally:
        os.close(descriptor)


def _guard(life: int, mark: str) -> NoReturn:
    """Wait until the runner writes that no process is left, or until it has died; then kill the program.

    The guard has its own session, so the signals that end the runner do not reach it.
    """
    os.setsid()
    for number in _PASSED_ON:
        _signal.signal(number, _signal.SIG_IGN)
    os.dup2(life, 0)
    try:  # SC_OPEN_MAX may be a million, and old C libraries close one descriptor at a time
        last = max(map(int, os.listdir("/proc/self/fd")))
    except OSError:
        last = os.sysconf("SC_OPEN_MAX")
    os.closerange(1, last + 1)
    message = b""
    while block := os.read(0, 64):
        message += block
    group, _, end = message.partition(b" ")
    if group and not end:
        _kill_all(int(group), mark)
    os._exit(0)
