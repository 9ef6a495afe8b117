"""Ranks: run the processes of a task that runs once per rank. Each is the child of a parent that monitors it.

A scheduler's launcher starts one parent for each rank. Without a launcher, one parent starts all ranks on this machine.
Each rank writes its report into a shared directory; `slurm.runner.gathering` makes one outcome from the reports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from slurm.protocol import FAILED, PROCESS, RESULTS, SAVE, STOPPED, SUCCEEDED, freshness, ports, stderr_log
from slurm.protocol.files import commit
from slurm.protocol.outcomes import ResultRecord
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner import launcher_variables
from slurm.runner.callback_runner import CallbackRunner, pop_callbacks_flag, pop_metrics_flag
from slurm.runner.job_context import JobContext
from slurm.runner.main import dump_on_signal, handle_stop_signals, run
from slurm.runner.pickling import pickle_into
from slurm.runner.program import OUT_OF_MEMORY, memory_kills
from slurm.runner.result_saver import ResultSaver, write_new

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from slurm.protocol.outcomes import Outcome

GRACE_SECONDS = 1
"""Seconds between SIGTERM and SIGKILL to ranks that are ended because another rank failed."""


def main(argv: Sequence[str]) -> int:
    """Run ranks of one element: `gather here log`, then the arguments of `slurm.runner.main`.

    `gather` is empty unless all results are kept. `here` is the number of ranks to start on this machine; 0 means the
    one rank that the launcher's variables describe. Rank n writes to `<log>.n.log`, and rank 0 to the output of the
    script. If the standard error of the script is separate, the standard error of rank n goes to `<log>.n.err.log`.
    """
    gather, here, log, root, key, element, tag, _, _, attempt, *stop = argv
    hooked, measured = pop_callbacks_flag(stop), pop_metrics_flag(stop)
    job = JobContext.from_environment(root, key, int(element), os.environ, int(attempt))
    if ResultSaver(job).earlier() is not None:
        return 0
    parent = _Parent(stop[0] if stop else "-")
    for rank in contexts(job, int(here), os.environ):
        saver = RankSaver(rank, gather=bool(gather), continues=bool(stop), measured=measured and not rank.rank)
        if not parent.start(saver):
            os.environ.update(variables(rank, os.environ, alone=bool(int(here))))
            if rank.rank:
                _write_to(f"{log}.{rank.rank}.log")
            if stop:
                handle_stop_signals(stop[0])
            dump_on_signal()
            callbacks = CallbackRunner.of(rank, tag) if hooked and not rank.rank else CallbackRunner(rank)
            return _run_rank(rank, saver, tag, callbacks)
    return parent.wait()


def ranks_directory(job: JobContext, attempt: int) -> str:
    """Return the directory for the reports of the ranks of an attempt."""
    return f"{job.directory}/{RESULTS}/.{job.index}.{attempt}.ranks"


def contexts(job: JobContext, here: int, environ: Mapping[str, str]) -> list[JobContext]:
    """Return the contexts of the ranks that this process starts."""
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
    """Return the environment variables of a rank: the variables of torch.distributed, and Slurm's.

    `alone` means that all ranks are on this machine. MASTER_ADDR and MASTER_PORT from the job's setup are kept.
    """
    return {
        "RANK": str(job.rank),
        "WORLD_SIZE": str(job.world_size),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(job.local_world_size),
        "NODE_RANK": str(job.node_rank),
        "MASTER_ADDR": environ.get("MASTER_ADDR") or ("127.0.0.1" if alone else _first_host(job, environ)),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(ports.of_element(job.key, job.index)),
        "SLURM_PROCID": str(job.rank),
        "SLURM_LOCALID": str(job.local_rank),
        "SLURM_NODEID": str(job.node_rank),
        "SLURM_NTASKS": str(job.world_size),
    }


def _first_host(job: JobContext, environ: Mapping[str, str]) -> str:
    """Return the name of the first node; if only Slurm knows the name, the address of the node that ran srun."""
    import socket  # noqa: PLC0415 - not needed if all ranks are on one machine

    try:
        socket.getaddrinfo(job.hosts[0], None)
    except OSError:
        return environ.get("SLURM_LAUNCH_NODE_IPADDR") or job.hosts[0]
    return job.hosts[0]


def _run_rank(job: JobContext, saver: RankSaver, tag: str, callbacks: CallbackRunner) -> int:
    if saver.continues and not job.rank:
        saver.begin()
    callbacks.fire("on_run_begin")
    outcome = run(job, saver, tag, callbacks)
    if outcome.succeeded or outcome.phase == STOPPED:
        return 0  # with a failure, a launcher would kill ranks that are still saving their checkpoints
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(outcome.exit_code)  # exit handlers such as MPI's would wait for ranks that wait for this one


def _die_with(line: int) -> None:
    """Make the kernel kill this process when the other end of a pipe is closed; fcntl(2), Linux only.

    If Slurm tracks processes by their parents (proctrack/linuxproc), it would not find a rank whose parent has died.
    prctl(2) could do the same, but Python would have to load ctypes for it.
    """
    import fcntl  # noqa: PLC0415 - not needed in the parent

    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(line, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            if not os.read(line, 1):  # the parent has died already
                os._exit(128 + signal.SIGKILL)


def _write_to(path: str) -> None:
    for stream, name in ((1, path), (2, stderr_log(path) if os.environ.get(launcher_variables.SEPARATE) else path)):
        log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, stream)


class RankSaver(ResultSaver):
    """Writes the report of one rank into the directory for the ranks of its attempt."""

    def __init__(self, job: JobContext, *, gather: bool, continues: bool, measured: bool = False) -> None:
        super().__init__(job, continues=continues, measured=measured)
        self._gather = gather
        self._directory = ranks_directory(job, job.attempt)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def success(self, value: Any) -> Outcome:
        """Save the result of rank 0, or of each rank if results are gathered."""
        result = self._save(lambda file: pickle_into(file, value))
        return self._commit(SUCCEEDED, SAVE, exit_code=0, result=result, metrics=self._metrics_of(value))

    def _save(self, fill: Any) -> ResultRecord | None:
        if not self._gather:
            return None if self._job.rank else self.write(fill)
        name = f"{self._job.rank}.pkl"
        digest = write_new(f"{self._directory}/{name}", fill)
        if digest is None:
            raise FileExistsError(f"{self._directory}/{name}")
        return ResultRecord(file=name, bytes=digest.bytes, sha256=digest.hexdigest())

    def keep(self, outcome: Outcome) -> Outcome:
        """Write the report of this rank."""
        outcome = outcome.replace(rank=self._job.rank, ranks=self._job.world_size)
        suffix = "done" if outcome.succeeded or outcome.phase == STOPPED else "failed"
        commit(f"{self._directory}/{self._job.rank}.{suffix}", outcome.dumps())
        return outcome

    def died(self, status: int, *, out_of_memory: bool) -> None:
        """Write the report of a rank that died without one."""
        self._commit(FAILED, PROCESS, exit_code=status, state=OUT_OF_MEMORY if out_of_memory else None)

    def reported(self, suffix: str) -> bool:
        """Whether the rank has written a report that it is "done" or has "failed"."""
        return os.path.exists(f"{self._directory}/{self._job.rank}.{suffix}")

    def any_failed(self) -> bool:
        """Whether any rank has reported a failure."""
        return any(name.endswith(".failed") for name in freshness.list_names(self._directory))


class _Parent:
    """The parent of ranks: forwards signals, and writes the report of a rank that died without one.

    If a rank fails, this process ends its other ranks, as a launcher does.
    """

    def __init__(self, stop: str) -> None:
        self._me = os.getpid()
        self._ranks: dict[int, RankSaver] = {}
        self._lifelines: list[int] = []
        self._terminated = self._killed = False
        self._kills = memory_kills()  # the kills of earlier processes
        if stop != "-":
            signal.signal(signal.Signals[f"SIG{stop}"], lambda number, _: self._send(number))
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGALRM, self._kill_overdue)

    def start(self, saver: RankSaver) -> int:
        """Fork a rank. Returns 0 in the child, which keeps this stop signal handler until it sets its own."""
        line, end = os.pipe()
        self._lifelines.append(end)
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
        """Wait for all ranks. Returns the largest exit status."""
        worst = 0
        while self._ranks:
            pid, status = os.waitpid(-1, 0)
            if pid in self._ranks:  # in a container, this process also inherits other orphans
                worst = max(worst, self._reap(self._ranks.pop(pid), os.waitstatus_to_exitcode(status)))
            if worst and self._ranks and not self._terminated:
                self._send(signal.SIGTERM)
                signal.alarm(GRACE_SECONDS)
        return worst

    def _reap(self, saver: RankSaver, code: int) -> int:
        """Return the exit status of a rank that has ended, 0 if it is done. Write its report if it died by itself."""
        if saver.reported("done"):
            return 0
        if code == -signal.SIGTERM and not self._terminated:
            time.sleep(0.2)  # a scheduler that ends all processes of the job may signal this one last
        ended = (code == -signal.SIGTERM and (self._terminated or saver.any_failed())) or (
            code == -signal.SIGKILL and (self._terminated or self._killed)
        )
        code = code if code >= 0 else 128 - code
        if not saver.reported("failed") and not ended:
            memory = code == 128 + signal.SIGKILL and memory_kills() > self._kills
            saver.died(code, out_of_memory=memory)
        return code or 1

    def _terminate(self, *_: object) -> None:
        self._terminated = True
        self._send(signal.SIGTERM)
        signal.alarm(GRACE_SECONDS)

    def _kill_overdue(self, *_: object) -> None:
        """Kill ranks that outlive SIGTERM if another rank failed; otherwise the scheduler decides when to kill them."""
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
