"""Ranks: the processes of a task that runs once per rank, each the child of one that sees how it ends.

A scheduler's launcher starts such a parent for each rank. Where there is none, one parent starts all of them, here.
What a rank has to say it says in a directory that all share; `slurm.runner.gathering` makes one outcome of that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from zlib import crc32

from slurm.protocol import FAILED, PROCESS, RESULTS, SAVE, STOPPED, SUCCEEDED
from slurm.protocol.files import commit
from slurm.protocol.outcomes import ResultRecord
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.callback_runner import CallbackRunner, are_named
from slurm.runner.job_context import JobContext
from slurm.runner.main import expect, run
from slurm.runner.pickling import pickle_into
from slurm.runner.result_saver import ResultSaver, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from slurm.protocol.outcomes import Outcome

GRACE_SECONDS = 1
"""Between SIGTERM and SIGKILL to ranks that another one's failure ends."""
_OUT_OF_MEMORY = "OUT_OF_MEMORY"
_PORTS = range(20_000, 32_000)
"""Below those that Linux takes for outgoing connections (32768 and up unless changed), above those of services."""


def main(argv: Sequence[str]) -> int:
    """Run ranks of one element: `gather here log`, then what `slurm.runner.main` takes.

    `gather` is empty unless all results are kept, `here` how many ranks to start on this machine, 0 for the one that a
    launcher means by its variables; rank n writes to `<log>.n.log`, but rank 0 to where the script does.
    """
    gather, here, log, root, key, element, tag, _, _, attempt, *stop = argv
    hooked = are_named(stop)
    job = JobContext.from_environment(root, key, int(element), os.environ, int(attempt))
    if ResultSaver(job).earlier() is not None:
        return 0
    parent = _Parent(stop[0] if stop else "-")
    for rank in contexts(job, int(here), os.environ):
        saver = RankSaver(rank, gather=bool(gather), continues=bool(stop))
        if not parent.start(saver):
            os.environ.update(variables(rank, os.environ, alone=bool(int(here))))
            if rank.rank:
                _write_to(f"{log}.{rank.rank}.log")
            if stop:
                expect(stop[0])
            callbacks = CallbackRunner.of(rank, tag) if hooked and not rank.rank else CallbackRunner(rank)
            return _be(rank, saver, tag, callbacks)
    return parent.wait()


def directory_of(job: JobContext, attempt: int) -> str:
    """Where the ranks of an attempt say what came of each."""
    return f"{job.directory}/{RESULTS}/.{job.index}.{attempt}.ranks"


def contexts(job: JobContext, here: int, environ: Mapping[str, str]) -> list[JobContext]:
    """What each rank that is to be started by this process knows of itself."""
    if here:
        ranks = [job.replace(rank=n, world_size=here, local_rank=n, local_world_size=here) for n in range(here)]
    else:  # srun(1), OUTPUT ENVIRONMENT VARIABLES
        ranks = [
            job.replace(
                rank=int(environ["SLURM_PROCID"]),
                world_size=int(environ["SLURM_NTASKS"]),
                local_rank=int(environ["SLURM_LOCALID"]),
                local_world_size=len(environ["SLURM_GTIDS"].split(",")),
                node_rank=int(environ["SLURM_NODEID"]),
            )
        ]
    if environ.get("SLURM_CPUS_PER_TASK"):
        return ranks
    return [rank.replace(cpus=max(1, rank.cpus // rank.local_world_size)) for rank in ranks]


def variables(job: JobContext, environ: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """What a rank finds in its environment: the names of torch.distributed, and Slurm's where nobody has set them.

    `alone`: all ranks are on this machine. Where the ranks meet may have been set in the job's setup.
    """
    port = _PORTS[(crc32(job.key.encode()) + job.index) % len(_PORTS)]  # ids of several clusters may be the same
    return {
        "RANK": str(job.rank),
        "WORLD_SIZE": str(job.world_size),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(job.local_world_size),
        "NODE_RANK": str(job.node_rank),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or ("127.0.0.1" if alone else _first_host(job, environ)),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
        "SLURM_PROCID": str(job.rank),
        "SLURM_LOCALID": str(job.local_rank),
        "SLURM_NODEID": str(job.node_rank),
        "SLURM_NTASKS": str(job.world_size),
    }


def _first_host(job: JobContext, environ: Mapping[str, str]) -> str:
    """The first node by its name; where that is Slurm's name only, by the address of the node that srun was run on."""
    import socket  # noqa: PLC0415 - not where all are on one machine

    try:
        socket.getaddrinfo(job.hosts[0], None)
    except OSError:
        return environ.get("SLURM_LAUNCH_NODE_IPADDR") or job.hosts[0]
    return job.hosts[0]


def _be(job: JobContext, saver: RankSaver, tag: str, callbacks: CallbackRunner) -> int:
    if saver.continues and not job.rank:
        saver.begin()
    callbacks.fire("on_run_begin")
    outcome = run(job, saver, tag, callbacks)
    if outcome.succeeded or outcome.phase == STOPPED:
        return 0  # for a launcher, a rank that stops at its checkpoint must not be why the others are killed at theirs
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(outcome.exit_code)  # exit handlers such as MPI's would wait for the other ranks, which wait for this one


def _kernel_killed() -> bool:
    """Whether the kernel has killed some of this one's group for their memory, which Slurm tells of jobs, not of steps.

    The files of cgroups(7), of both versions.
    """
    with contextlib.suppress(OSError, ValueError), open("/proc/self/cgroup", encoding="utf-8") as groups:
        for _, controllers, path in (line.rstrip("\n").split(":", 2) for line in groups):
            if controllers in ("memory", ""):
                file = f"memory{path}/memory.oom_control" if controllers else f"{path}/memory.events"
                with contextlib.suppress(OSError), open(f"/sys/fs/cgroup/{file}", encoding="ascii") as counts:
                    if any(line.startswith("oom_kill ") and int(line.split()[1]) for line in counts):
                        return True
    return False


def _die_with(line: int) -> None:
    """Have the kernel kill this process once nobody holds the other end of a pipe any more; fcntl(2), Linux only.

    Where Slurm knows processes by their parents (proctrack/linuxproc), it would lose sight of a rank that has lost its
    own. prctl(2) has a word for that, too, which a Python has to load ctypes to say.
    """
    import fcntl  # noqa: PLC0415 - not in the parent

    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(line, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            if not os.read(line, 1):  # the parent died before that
                os._exit(128 + signal.SIGKILL)


def _write_to(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)


class RankSaver(ResultSaver):
    """Writes what came of one rank, into the directory of its attempt's ranks."""

    def __init__(self, job: JobContext, *, gather: bool, continues: bool) -> None:
        super().__init__(job, continues=continues)
        self._gather = gather
        self._directory = directory_of(job, job.attempt)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def success(self, value: Any) -> Outcome:
        """Save the result if it is asked for: rank 0's, or each."""
        return self._commit(SUCCEEDED, SAVE, exit_code=0, result=self._kept(lambda file: pickle_into(file, value)))

    def _kept(self, fill: Any) -> ResultRecord | None:
        if not self._gather:
            return None if self._job.rank else self.write(fill)
        name = f"{self._job.rank}.pkl"
        digest = written(f"{self._directory}/{name}", fill)
        if digest is None:
            raise FileExistsError(f"{self._directory}/{name}")
        return ResultRecord(file=name, bytes=digest.bytes, sha256=digest.hexdigest())

    def keep(self, outcome: Outcome) -> Outcome:
        """Leave word of this rank."""
        outcome = outcome.replace(rank=self._job.rank, ranks=self._job.world_size)
        ending = "done" if outcome.succeeded or outcome.phase == STOPPED else "failed"
        commit(f"{self._directory}/{self._job.rank}.{ending}", outcome.dumps())
        return outcome

    def died(self, status: int) -> None:
        """Leave word of a rank that ended without its own."""
        memory = status == 128 + signal.SIGKILL and _kernel_killed()
        self._commit(FAILED, PROCESS, exit_code=status, state=_OUT_OF_MEMORY if memory else None)

    def said(self, ending: str) -> bool:
        """Whether the rank has left word that it is "done", or has "failed"."""
        return os.path.exists(f"{self._directory}/{self._job.rank}.{ending}")

    def any_failed(self) -> bool:
        """Whether some rank has left word that it failed."""
        return any(name.endswith(".failed") for name in os.listdir(self._directory))


class _Parent:
    """The parent of ranks: passes signals on, and leaves word of one that died without its own.

    If one fails, it ends the others of its own, as the launcher ends all.
    """

    def __init__(self, stop: str) -> None:
        self._me = os.getpid()
        self._ranks: dict[int, RankSaver] = {}
        self._lifelines: list[int] = []
        self._told = self._killed = False
        if stop != "-":
            signal.signal(signal.Signals[f"SIG{stop}"], lambda number, _: self._send(number))
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGALRM, self._overdue)

    def start(self, saver: RankSaver) -> int:
        """Fork a rank; 0 in the child, which handles the stop signal as this does until it has a handler of its own."""
        line, mine = os.pipe()
        self._lifelines.append(mine)
        pid = os.fork()
        if pid:
            self._ranks[pid] = saver
            os.close(line)
        else:
            for other in self._lifelines:
                os.close(other)
            _die_with(line)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return pid

    def wait(self) -> int:
        """Wait for all ranks; the largest exit status of any."""
        worst = 0
        while self._ranks:
            pid, status = os.waitpid(-1, 0)
            if pid in self._ranks:  # in a container, others' orphans are this process's too
                worst = max(worst, self._buried(self._ranks.pop(pid), os.waitstatus_to_exitcode(status)))
            if worst and self._ranks and not self._told:
                self._send(signal.SIGTERM)
                signal.alarm(GRACE_SECONDS)
        return worst

    def _buried(self, saver: RankSaver, code: int) -> int:
        """The exit status of a rank that has ended, 0 for one that has all that was asked of it."""
        if saver.said("done"):
            return 0
        if code == -signal.SIGTERM and not self._told:
            time.sleep(0.2)  # who ends all processes of a job may come to this one last
        ended = (code == -signal.SIGTERM and (self._told or saver.any_failed())) or (
            code == -signal.SIGKILL and (self._told or self._killed)
        )
        code = code if code >= 0 else 128 - code
        if not saver.said("failed") and not ended:
            saver.died(code)
        return code or 1

    def _end(self, *_: object) -> None:
        self._told = True
        self._send(signal.SIGTERM)
        signal.alarm(GRACE_SECONDS)

    def _overdue(self, *_: object) -> None:
        """End ranks that SIGTERM hasn't, if it is for another one's failure; else the scheduler knows how long."""
        if any(saver.any_failed() for saver in self._ranks.values()):
            self._killed = True
            self._send(signal.SIGKILL)
        else:
            signal.alarm(GRACE_SECONDS)

    def _send(self, number: int) -> None:
        if os.getpid() == self._me:
            for pid in self._ranks:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
