"""Programs that run for weeks: what a huge cancellation delays, and what many submissions leave behind in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from common import judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

CANCELLED, SUBMISSIONS = 200_000, 10_000
_LATE, _MEGABYTES = 5.0, 5.0
_FEW = 10
"""Calls from which on a benchmark is not a quick one."""

# The thread that waits for the cancelled calls and the one that waits for the other job share one tracker.
_CANCEL = """\
import json, os, sys, threading, time
from slurm import Cluster, task
from slurm.tracking.tracker import Tracker
count, root = int(sys.argv[1]), sys.argv[2]
tick, ticks = Tracker._tick, []

def timed(self, wanted):
    begin = time.thread_time()
    try:
        return tick(self, wanted)
    finally:
        ticks.append(time.thread_time() - begin)

Tracker._tick = timed

@task
def gate():
    time.sleep(600)

@task
def nothing(number):
    return number

@task
def quick():
    time.sleep(8)
    return time.time()

with Cluster("local", root=root):
    closed = gate()
    waiting = nothing.after(closed).map(range(count))
    other, late = quick(), []
    watch = threading.Thread(target=lambda: late.append(-other.result(300) + time.time()))
    watch.start()
    begin = time.monotonic()
    waiting.cancel()
    waiting.exceptions(300)
    ended = time.monotonic() - begin
    watch.join()
    closed.cancel()
    files = len(os.listdir(f"{waiting.directory}/outcomes"))
print(json.dumps({"late": late[0], "tick": max(ticks), "ended": ended, "files": files}))
"""

# Submissions follow each other at once, in some minutes. With shorter intervals, the library's threads look, wait and
# give up as often as over an hour.
_SUBMIT = """\
import gc, json, os, sys, threading, time
from slurm import task
from slurm.places.place import Place
from slurm.testing import InlineCluster

faster = {name: value / 8 for name, value in Place.timings._asdict().items() if name != "eagerness"}
Place.timings = Place.timings._replace(**faster)

@task
def square(x):
    return x * x

def used():
    time.sleep(2)  # threads that nothing needs any more end
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), threading.active_count()

count, found = int(sys.argv[1]), []
with InlineCluster():
    for number in range(count):
        assert square(number).result(60) == number * number
        if number in (count // 10, count - 1):
            found.append(used())
print(json.dumps(found))
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    yield _cancelled(settings)
    yield _submitted(settings)


def _cancelled(settings: Settings) -> Row:
    found = _run(_CANCEL, CANCELLED, settings.workspace / "long")
    return judged(
        f"another job's result after its end, while the program cancels {CANCELLED:,} that wait, on `local`",
        f"{found['late']:.2f} s; all cancelled after {found['ended']:.1f} s, in {found['files']} file; "
        f"the tracker's longest round {found['tick']:.2f} s of CPU",
        budget=f"≤ {_LATE:g} s",
        kept=found["late"] <= _LATE,
    )


def _submitted(settings: Settings) -> Row:
    count = SUBMISSIONS if settings.calls > _FEW else SUBMISSIONS // 10
    (megabytes, files, threads), (later, more, threads_later) = _run(_SUBMIT, count)
    return judged(
        f"what a program needs more after {count:,} submissions than after {count // 10:,}, on `inline`, with all "
        "intervals an eighth",
        f"{later - megabytes:+.1f} MB; {more - files:+d} descriptors; {threads_later - threads:+d} threads",
        budget=f"≤ {_MEGABYTES:g} MB, no descriptor, no thread",
        kept=later - megabytes <= _MEGABYTES and more <= files and threads_later <= threads,
    )


def _run(program: str, *arguments: object) -> Any:
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
