"""What is read of earlier submissions: calls that are known, a plan, a list by label, and the files of many calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import noop_task
from common import judged, timed, unmeasured
from far import counted_commands
from record_tasks import FILE_BYTES, known, write

from slurm import Cluster
from slurm.storage.keys import new_key
from testbed.sshd import SSHTestbed, missing_ssh, without_shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

KNOWN, ELEMENTS, MANY_ELEMENTS = 10_000, 8, 1_000
LISTED, COMMAND_LISTED = 5_000, 1_000
MOST_SECONDS, MOST_COMMANDS = 1.0, 3
FETCHED, PART_BYTES = 200, 64 << 20

# A new process knows no record yet.
_REUSE = """\
import json, sys, time
from far import counted_commands
from record_tasks import known
from slurm import Cluster
url, root, count, chunk = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Cluster(url, root=root) as cluster:
    asked = known.with_options(chunk_size=chunk)
    spent = counted_commands(cluster) if "+" in url else lambda: 0
    begin = time.perf_counter()
    array = asked.map(range(count))
    seconds, commands = time.perf_counter() - begin, spent()
    begin = time.perf_counter()
    again = asked.map(range(count))
    more, less = time.perf_counter() - begin, spent()
    assert len(array.keys) == 1 and array[-1].key == again[-1].key
print(json.dumps([seconds, commands, more, less]))
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if lacking := missing_ssh() or without_shell():
        yield unmeasured("reading records of earlier submissions", lacking)
        return
    with _box():
        yield from _of_reuse(settings, KNOWN // ELEMENTS)
        yield from _of_reuse(settings, KNOWN // MANY_ELEMENTS)
        yield _of_plan(settings)
        yield _of_list(settings)
        yield _of_the_command(settings)
        yield _of_fetch(settings)


@contextmanager
def _box() -> Iterator[None]:
    """An sshd on this machine that has the name `box`."""
    names = [name for name in os.environ if name == "PATH" or name.startswith("SLURMTASKS_")]
    with SSHTestbed(environment={name: os.environ[name] for name in names}) as box:
        os.environ["SLURMTASKS_SSH_CONFIG"] = str(box.config)
        try:
            yield
        finally:
            del os.environ["SLURMTASKS_SSH_CONFIG"]


def _of_reuse(settings: Settings, chunk: int) -> Iterator[Row]:
    root = settings.workspace / f"known-{chunk}"
    with Cluster("local", root=root):
        known.with_options(chunk_size=chunk).map(range(KNOWN)).results(1800)
    elements = -(-KNOWN // chunk)
    for url in ("local", "local+openssh://box"):
        found = [_run(_REUSE, url, root, KNOWN, chunk) for _ in range(settings.arrays)]
        seconds, again = (median(times) for times in list(zip(*found, strict=True))[::2])
        commands, less = found[0][1::2]
        far = "+" in url
        what = (
            f"{KNOWN:,} calls with `reuse` that are known, in {elements:,} elements, connecting included, over "
            f"`{url.partition(':')[0]}`"
        )
        yield judged(
            what,
            f"{f'{commands} commands, ' if far else ''}{seconds:.2f} s; once more in the same process "
            f"{f'{less} commands, ' if far else ''}{again:.2f} s",
            budget=f"≤ {MOST_SECONDS:g} s{f', ≤ {MOST_COMMANDS} commands' if far else ''}",
            kept=seconds <= MOST_SECONDS and commands <= MOST_COMMANDS,
        )


def _of_plan(settings: Settings) -> Row:
    root = settings.workspace / "planned"
    with Cluster("local+openssh://box", root=root) as cluster:
        spent = counted_commands(cluster)
        seconds = timed(lambda: noop_task.nothing.plan(0))
        planned, files = spent(), len(list(root.rglob("*")))
        cluster.close()
    with Cluster("local+openssh://box", root=root, login_shell=True) as cluster:  # knows nothing of the plan
        spent = counted_commands(cluster)
        noop_task.nothing(0)
        submitted = spent()
    return judged(
        "a plan, connecting included, over `local+openssh`",
        f"{planned} command{'s' if planned > 1 else ''}, {files} files, {seconds:.2f} s; "
        f"a first submission {submitted} commands",
        budget="at most the commands of a first submission, 0 files",
        kept=planned <= submitted and not files,
    )


def _of_list(settings: Settings) -> Row:
    root = settings.workspace / "listed"
    with Cluster("local", root=root):
        job = noop_task.nothing.with_options(labels={"sweep": "one"})(0)
        other = noop_task.nothing.with_options(labels={"sweep": "two"})(0)
        job.result(60), other.result(60)
        for number in range(LISTED - 2):
            _copy((job, other)[number % 2].key, Path(root, "jobs"))
        found = []
        seconds = [timed(lambda: found.append(_fresh(root).jobs(labels={"sweep": "two"}))) for _ in range(5)]
        assert {len(jobs) for jobs in found} == {LISTED // 2}
        far = Cluster("local+openssh://box", root=root)
        far.jobs("other")
        spent = counted_commands(far)
        slow = timed(lambda: far.jobs(labels={"sweep": "two"}))
        commands = spent()
        far.close()
    return judged(
        f"a list of {LISTED:,} submissions by label, of which half have it, on `local`; over `local+openssh`",
        f"{median(seconds):.2f} s; {commands} commands, {slow:.2f} s",
        budget="–",
        kept=True,
    )._replace(verdict="no budget")


def _of_the_command(settings: Settings) -> Row:
    scratch = settings.workspace / "scratch"
    with Cluster("local", root=scratch / "slurm-jobs") as cluster:
        job = noop_task.nothing(0)
        job.result(60)
        for _ in range(COMMAND_LISTED - 1):
            _copy(job.key, Path(cluster.place.store.root, "jobs"))
    spent = {limit: median(_cpu_seconds(scratch, limit) for _ in range(5)) for limit in (20, COMMAND_LISTED)}
    return judged(
        f"`slurm jobs` with {COMMAND_LISTED:,} submissions, of which it shows 20; all",
        "; ".join(f"{seconds:.2f} s CPU" for seconds in spent.values()),
        budget=f"≤ {MOST_SECONDS:g} s CPU",
        kept=spent[20] <= MOST_SECONDS,
    )


def _cpu_seconds(scratch: Path, limit: int) -> float:
    """The CPU time of a process that lists jobs, with what it starts."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SLURMFILE")}
    argv = [sys.executable, "-m", "slurm", "jobs", "--limit", str(limit), "--json"]
    before = os.times()
    done = subprocess.run(argv, env=environ | {"SCRATCH": str(scratch)}, cwd=scratch, capture_output=True, check=True)
    after = os.times()
    assert len(json.loads(done.stdout)) == limit
    return after.children_user + after.children_system - before.children_user - before.children_system


def _fresh(root: Path) -> Cluster:
    return Cluster("local", root=root)


def _copy(key: str, jobs: Path) -> None:
    """Copy the records of a submission under a new key."""
    other = new_key(key.partition("/")[0])
    shutil.copytree(jobs / key, jobs / other)
    record = jobs / other / "submission.json"
    record.write_text(record.read_text().replace(key, other))


def _of_fetch(settings: Settings) -> Row:
    root, to = settings.workspace / "fetched", settings.workspace / "here"
    with Cluster("local", root=root):
        array = write.map(range(FETCHED))
        array.results(600)
    cluster = Cluster("local+openssh://box", root=root)
    found: Any = cluster.job(array.key)
    assert found.done()
    transport, parts = cluster.place.transport, list[int]()
    fetch = transport.fetch

    def watched(paths: list[str], **more: Any) -> Any:
        parts.append(sum(os.path.getsize(path) for path in paths))
        return fetch(paths, **more)

    transport.fetch = watched  # type: ignore[method-assign]
    spent = counted_commands(cluster)
    seconds, commands = timed(lambda: found.fetch(to=to, wait=False)), spent()
    later, rest = timed(lambda: found.fetch(to=to, wait=False)), spent()
    assert sum(path.stat().st_size for path in to.rglob("data")) == FETCHED * FILE_BYTES
    cluster.close()
    largest = max(parts)
    return judged(
        f"the files of {FETCHED} elements, of 1 MiB each, fetched over `local+openssh`; fetched once more",
        f"{commands} commands, {seconds:.2f} s, {len(parts)} parts, the largest {largest >> 20} MiB; "
        f"{rest} commands, {later:.2f} s",
        budget=f"parts of at most {PART_BYTES >> 20} MiB",
        kept=largest <= PART_BYTES,
    )


def _run(program: str, *arguments: object) -> Any:
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    here = f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[1] / 'tests'}"
    environ = {**os.environ, "PYTHONPATH": here}
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])
