"""A pool whose workers and elements are killed and frozen at random: each call ends, and no call is made twice.

SLURMTASKS_TEST_KILLS sets how often.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slurm import Cluster, current_job, task
from slurm.errors import JobCancelled, TaskExited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.jobs.job import Job

KILLS = int(os.environ.get("SLURMTASKS_TEST_KILLS", "12"))
SOON = 300.0


@task
def note(number: int, marks: Path, milliseconds: int) -> int:
    """Leave the number and the attempt each time that the call is made."""
    with (marks / f"{os.getpid()}").open("a") as file:
        file.write(f"{number} {current_job().attempt}\n")
    time.sleep(milliseconds / 1000)
    return number


class _Killer(threading.Thread):
    """Kills and freezes workers and elements of a pool until it has done so `kills` times."""

    def __init__(self, key: str, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._key, self._kills = key.encode(), kills
        self._random = random.Random(seed)  # noqa: S311 - to be the same again
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        while self.done.total() < self._kills:
            time.sleep(self._random.uniform(0.1, 0.5))
            workers, elements = self._processes()
            if workers and elements:
                with suppress(ProcessLookupError):
                    self._strike(workers, elements)

    def _strike(self, workers: list[int], elements: list[int]) -> None:
        kinds = {"kill worker": 60, "freeze worker": 15, "freeze element": 20, "kill element": 5}
        kind = self._random.choices(list(kinds), list(kinds.values()))[0]
        if kind == "kill element" and (len(elements) < 2 or self.done[kind] >= 2):
            return
        pid = self._random.choice(elements if kind.endswith("element") else workers)
        if kind.startswith("kill"):
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._random.uniform(0.1, 1.0))
            os.kill(pid, signal.SIGCONT)
        self.done[kind] += 1

    def _processes(self) -> tuple[list[int], list[int]]:
        """The workers of the pool, which are children of its elements, and the elements."""
        parents = dict(self._pythons())
        workers = [pid for pid, parent in parents.items() if parent in parents]
        return workers, [pid for pid in parents if pid not in workers]

    def _pythons(self) -> Iterator[tuple[int, int]]:
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._key in (directory / "cmdline").read_bytes() and "python" in (directory / "comm").read_text():
                    yield int(directory.name), int((directory / "stat").read_text().rpartition(")")[2].split()[1])


def test_each_call_of_a_pool_ends_and_is_made_once(local: Cluster, tmp_path: Path) -> None:
    choose = random.Random(KILLS)  # noqa: S311 - to be the same again
    (marks := tmp_path / "marks").mkdir()
    ended: Counter[str] = Counter()
    cancelled: set[int] = set()
    with local.pool(nodes=4, workers=2, cpus_per_task=1, time="1:00:00") as pool:
        once, again = note.on(pool), note.with_options(retry=20).on(pool)
        once(-1, marks, 0).result(SOON)
        killer = _Killer(pool.key, KILLS, KILLS)
        killer.start()
        count = 0
        while killer.is_alive():
            jobs: list[tuple[int, Job[int], bool]] = []
            while len(jobs) < 300:
                size, retried = choose.choice([1, 1, 10, 100]), choose.random() < 0.5
                calls = [(number, marks, choose.choice([0, 1, 5])) for number in range(count, count + size)]
                several = (again if retried else once).starmap(calls)
                jobs += ((number, job, retried) for (number, _, _), job in zip(calls, several, strict=True))
                count += size
            for number, job, _ in choose.sample(jobs, 5):
                job.cancel()
                cancelled.add(number)
            for number, job, retried in jobs:
                try:
                    assert job.result(SOON) == number
                    ended["completed"] += 1
                except JobCancelled:
                    assert number in cancelled
                    ended["cancelled"] += 1
                except TaskExited:  # also WorkerDied
                    ended["died, and had retry" if retried else "died"] += 1
    made = Counter(line for path in marks.iterdir() for line in path.read_text().splitlines())
    assert [line for line, times in made.items() if times > 1] == []
    assert ended.total() == count
    assert not ended["died, and had retry"]
    assert ended["died"] <= killer.done["kill worker"] + 2 * killer.done["kill element"]
