"""Ctrl-C ends each wait, also if the signal comes just before the main thread begins to wait."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = '''
import os, signal, sys, threading, time
import slurm
from slurm import Cluster, task


def wait_until(path: str, *_: object) -> None:
    while not os.path.exists(path):
        time.sleep(0.05)


def interrupt() -> None:
    """Send SIGINT to this process once the main thread waits."""
    since, before = time.monotonic(), ("", "")
    while time.monotonic() - since < 0.2:
        with open(f"/proc/self/task/{os.getpid()}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        now = fields[0], fields[11]  # its state, and its ticks of processor time
        if now != before or now[0] != "S":
            since, before = time.monotonic(), now
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


root, go = sys.argv[1:]
function = task(wait_until)
with Cluster("local", root=root) as cluster, cluster.pool(workers=1) as pool:
    job, array = function(go), function.map([go, go])
    call = function.on(pool)(go)
    function.on(pool)(go, call)  # close() waits until it is written
    executor = cluster.executor(max_workers=1)
    future, later = executor.submit(wait_until, go), executor.submit(wait_until, go)
    waits = {
        "job.result": job.result,
        "job.exception": lambda: job.exception(1000),
        "array.results": array.results,
        "slurm.wait": lambda: slurm.wait([job]),
        "slurm.as_completed": lambda: list(slurm.as_completed([job, array[0]])),
        "future.result": future.result,
        "future.exception": lambda: future.exception(1000),
        "future.job": lambda: later.job,
        "executor.map": lambda: list(executor.map(wait_until, [go])),
        "executor.shutdown": executor.shutdown,
        "call.result": call.result,
        "pool.close": pool.close,
    }
    for name, wait in waits.items():
        threading.Thread(target=interrupt).start()
        # So the other thread takes the signal, and interrupts no system call of this one: as if it came just before it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            wait()
        except KeyboardInterrupt:
            print(name, flush=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    open(go, "w").close()
'''
WAITS = (
    "job.result",
    "job.exception",
    "array.results",
    "slurm.wait",
    "slurm.as_completed",
    "future.result",
    "future.exception",
    "future.job",
    "executor.map",
    "executor.shutdown",
    "call.result",
    "pool.close",
)


def test_each_wait_ends_although_the_signal_came_just_before_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    argv = [sys.executable, *map(str, (program, tmp_path / "jobs", tmp_path / "go"))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (list(WAITS), "", 0)
