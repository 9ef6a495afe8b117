"""A cluster that is 100 ms away, over SSH: what submitting and fetching take, in commands and in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import noop_task
from common import Row, judged, timed, unmeasured

from slurm import Cluster
from testbed.config import user_name
from testbed.sshd import SSHTestbed, missing_ssh, without_shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from common import Settings

DELAY = 0.05
"""Seconds, each way."""
COUNT = 1000
MOST = {"first": 3, "later": 2, "map": 2, "results": 1}
"""The budgets, in commands there; to connect is none."""
WHAT = {
    "first": "a first call, connecting included",
    "later": "a later call",
    "map": f"a map of {COUNT:,} calls",
    "results": f"{COUNT:,} results fetched",
}
FEW = 20
"""How many results slurm-sdk is asked for: it fetches one at a time."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if lacking := missing_ssh() or without_shell():
        yield unmeasured("submitting and fetching over SSH", lacking)
        return
    root = settings.workspace / "far"
    with Cluster("slurm", root=root):
        done = noop_task.nothing.map(range(COUNT))
        done.results(300)
    with box_far_away(settings) as box:
        for url in ("slurm+openssh://box", "slurm+paramiko://box"):
            for name, (seconds, commands) in _measured(url, settings, str(root), done.key).items():
                what = f"{WHAT[name]}, over `{url.partition(':')[0]}`, 100 ms away"
                budget = f"≤ {MOST[name]} command{'s' if MOST[name] > 1 else ''}"
                words = f"{commands} command{'s' if commands > 1 else ''}, {seconds:.2f} s"
                yield judged(what, words, budget=budget, kept=commands <= MOST[name])
        yield from _of_slurm_sdk(settings, box)


@contextmanager
def box_far_away(settings: Settings) -> Iterator[SSHTestbed]:
    """An sshd that uses the test Slurm, and has the name `box` behind a relay that takes its time."""
    names = [name for name in os.environ if name == "PATH" or name.startswith(("SLURM_CONF", "SLURMTASKS_"))]
    environment = {name: os.environ[name] for name in names}
    if settings.slurm_sdk_python:  # its jobs run by the Python that is on PATH
        environment["PATH"] = f"{os.path.dirname(settings.slurm_sdk_python)}:{environment['PATH']}"
    sftp = ("Subsystem sftp internal-sftp",)  # slurm-sdk needs it
    with SSHTestbed(environment=environment, settings=sftp) as box:
        box.port, _ = box.proxy(delay=DELAY)
        box.trust(box.port)
        os.environ["SLURMTASKS_SSH_CONFIG"] = str(box.write_config("far", port=box.port))
        try:
            yield box
        finally:
            del os.environ["SLURMTASKS_SSH_CONFIG"]


def _measured(url: str, settings: Settings, root: str, key: str) -> Mapping[str, tuple[float, int]]:
    """For each thing done the seconds, medians but for the first call, and the most commands that it took."""
    held = noop_task.nothing.with_options(hold=True)
    fresh = settings.workspace / f"far-{url.partition(':')[0]}"
    with Cluster(url, root=fresh) as cluster:
        spent = counted_commands(cluster)
        found = {"first": (timed(held), spent())}
        steps: Mapping[str, Callable[[], Any]] = {"later": held, "map": lambda: held.map(range(COUNT))}
        found |= {name: _often(step, spent, settings.arrays) for name, step in steps.items()}
    with Cluster(url, root=root) as cluster:
        spent = counted_commands(cluster)
        array = cluster.job(key)
        assert array.done()
        spent()
        found["results"] = _often(array.results, spent, settings.arrays)  # type: ignore[union-attr]
        cluster.close()
    return found


def _often(step: Callable[[], Any], spent: Callable[[], int], rounds: int) -> tuple[float, int]:
    times, commands = zip(*((timed(step), spent()) for _ in range(rounds)), strict=True)
    return median(times), max(commands)


def counted_commands(cluster: Cluster) -> Callable[[], int]:
    """Have a cluster's commands counted; returns what tells how many since it was last asked."""
    transport: Any = cluster.place.transport
    start, count = transport._start, 0  # noqa: SLF001 - there is no other place to count them

    def counting(line: str) -> Any:
        nonlocal count
        count += 1
        return start(line)

    def spent() -> int:
        nonlocal count
        since, count = count, 0
        return since

    transport._start = counting  # noqa: SLF001
    return spent


def _of_slurm_sdk(settings: Settings, box: SSHTestbed) -> Iterator[Row]:
    what = f"the same by slurm-sdk: {WHAT['first']}; {WHAT['later']}; a map of {FEW} calls; {FEW} results fetched"
    if not settings.slurm_sdk_python:
        yield unmeasured(what, "no `--slurm-sdk-python` given")
        return
    program = Path(__file__).with_name("far_slurm_sdk.py")
    argv = [settings.slurm_sdk_python, program, user_name(), str(box.port), str(box.key), str(FEW)]
    home = settings.workspace / "far-sdk"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "known_hosts").write_bytes(box.known_hosts.read_bytes())
    environ = {**os.environ, "HOME": str(home)}
    done = subprocess.run([*argv, str(home / "jobs")], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        yield unmeasured(what, f"it failed: {done.stderr.strip().splitlines()[-1]}")
        return
    yield Row(what, "; ".join(f"{seconds:.2f} s" for seconds in json.loads(done.stdout.splitlines()[-1])))
