"""A clock that is set back an hour while jobs run and a client waits for them: the client's, or the nodes'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.programs import find_program
from waiting import until

HOUR = 3600

# What settimeofday(2) changes: the time of day, for all who look. The monotonic clock goes on, and files keep their
# times. libfaketime 0.9.10 can't: sleep() fails in Python 3.11 if only one of the two clocks is bent.
CLOCK = """\
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = "0";
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) { if (read(file, text, sizeof text - 1) < 0) text[0] = '0'; close(file); }
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *result) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    return result ? (*result = precise.tv_sec) : precise.tv_sec;
}
"""

CLIENT = """\
import json, os, sys, time
from slurm import Cluster, JobContext, Retry, task, wait
from slurm.callbacks import ProgressCallback

url, root, place, setup = sys.argv[1:]

def pass_gate(name):
    open(f"{place}/{name}", "w").close()
    while not os.path.exists(f"{place}/gate"):
        time.sleep(0.02)

@task
def report(ctx: JobContext):
    ctx.progress(1, 3)
    pass_gate("reports")
    time.sleep(1)
    ctx.progress(2, 3)
    with open(f"{ctx.directory}/events/0.jsonl") as file:
        return file.read().count("progress")

@task
def square(x):
    before = time.time()
    pass_gate(f"squares-{x}")
    return x * x, before - time.time()

@task(retry=Retry(times=1, on=ValueError))
def fail_once(ctx: JobContext):
    pass_gate("fails")
    if ctx.attempt == 1:
        raise ValueError("the first attempt")
    return ctx.attempt

@task
def vanish():
    os._exit(3)

@task
def sleep():
    time.sleep(1000)

before = time.time()
with Cluster(url, root=root, setup=[setup], callbacks=[ProgressCallback(interval=0.1)]) as cluster:
    reported, squares, retried = report(), square.map([1, 2]), fail_once()
    chunks, follower = square.map([3, 4, 5], chunk_size=2), square.after(retried)(6)
    gone, cancelled = vanish(), sleep()
    wait([reported, squares, retried, chunks, follower, gone])
    cancelled.cancel()
    last = square(7).result()
    results = [*squares.results(), *chunks.results(), follower.result(), last]
    print(json.dumps({
        "reports": reported.result(),
        "squares": [value for value, _ in results],
        "attempt": retried.result(),
        "errors": [type(job.exception()).__name__ for job in (gone, cancelled)],
        "set back": [before - time.time(), max(jump for _, jump in results)],
    }))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bends the time of day of a process and its children, by LD_PRELOAD."""
    compiler = find_program("cc")
    if compiler is None:
        pytest.skip("there is no C compiler; get one with: sudo apt-get install gcc libc6-dev")
    source = tmp_path_factory.mktemp("clock") / "clock.c"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", source, "-o", source.with_suffix(".so")], check=True)
    return source.with_suffix(".so")


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    return str(request.param)


@pytest.mark.parametrize("whose", ["client", "node"])
def test_clock_set_back_by_an_hour_has_no_effect(
    url: str, whose: str, library: Path, root: Path, tmp_path: Path
) -> None:
    clock, program = tmp_path / "clock", tmp_path / "client.py"
    program.write_text(CLIENT)
    bent = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)}
    exports = " ".join(f"{name}='{value}'" for name, value in bent.items())
    setup = f"export {exports}" if whose == "node" else f"unset {' '.join(bent)}"
    argv = [sys.executable, str(program), url, str(root), str(tmp_path), setup]
    env = os.environ | (bent if whose == "client" else {})
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as client:
        try:
            begun = [tmp_path / name for name in ("reports", "squares-1", "fails")]
            until(lambda: all(map(Path.exists, begun)) or client.poll() is not None)
            (tmp_path / "set back").write_text(f"-{HOUR}")
            (tmp_path / "set back").rename(clock)
            (tmp_path / "gate").touch()
            output, shown = client.communicate(timeout=200)
        finally:
            client.kill()
    assert client.returncode == 0, shown
    found = json.loads(output)
    assert [jump > HOUR / 2 for jump in found.pop("set back")] == [whose == "client", whose == "node"]
    assert found == {
        "reports": 2,
        "squares": [1, 4, 9, 16, 25, 36, 49],
        "attempt": 2,
        "errors": ["TaskExited", "JobCancelled"],
    }
    assert "-" not in shown.replace("fail-once", ""), shown
    records = [json.loads(path.read_text()) for path in root.glob("jobs/*/*/outcomes/*.json")]
    spans = [record["ended"] - record["started"] for record in records if record.get("started")]
    assert len(spans) > 5
    assert all(0 <= span < 200 for span in spans)
