"""A task that loads its data once and then answers questions: find the circle that holds half of the points.

    python examples/questions.py            # on this machine
    python examples/questions.py slurm      # on the Slurm cluster of this login node

The client sends each question with `job.send`, and reads the answer from the progress that the task reports.
"""

from __future__ import annotations

import argparse
import random
from queue import Queue
from typing import TYPE_CHECKING, Any

from slurm import Cluster, current_job, fence, task
from slurm.callbacks import Callback

if TYPE_CHECKING:
    from slurm import Job
    from slurm.callbacks import ProgressEvent

POINTS = 200_000


@task(time="10", mem="500M")
def count_within() -> int:
    """Count the points within each radius that is sent, until "stop". Returns the number of questions."""
    job = current_job()
    generator = random.Random(0)  # noqa: S311 - not for security
    squares = [generator.gauss(0, 1) ** 2 + generator.gauss(0, 1) ** 2 for _ in range(POINTS)]
    answered = 0
    while not job.should_stop:
        for message in job.messages(wait=60):
            if message == "stop":
                return answered
            answered += 1
            count = sum(square <= message["radius"] ** 2 for square in squares)
            job.progress(answered, answered, count=count)
    return answered


class Answers(Callback):
    """Puts each answer into a queue."""

    def __init__(self) -> None:
        self.queue: Queue[Any] = Queue()

    def on_progress(self, event: ProgressEvent) -> None:
        """Put the answer in a report of progress into the queue."""
        self.queue.put(event.metrics["count"])


def main() -> None:
    """Submit the task, halve an interval of radii with six questions, and print the answers."""
    parser = argparse.ArgumentParser(description="Find the circle that holds half of the points.")
    parser.add_argument("url", nargs="?", default="local", help="where to run (default: %(default)s)")
    parser.add_argument("--root", help="where to keep the jobs' files: a directory that all nodes see")
    arguments = parser.parse_args()
    answers = Answers()
    with Cluster(arguments.url, root=arguments.root, callbacks=[answers]):
        job = count_within()
        try:
            halve(job, answers)
        except BaseException:
            job.cancel()
            fence([job], "nobody asks any more")  # from now on, no process accepts a result of the job
            raise
        job.send("stop")
        print(f"{job.result()} questions answered")


def halve(job: Job[int], answers: Answers) -> None:
    """Ask six questions, each in the middle of the interval that is left."""
    low, high = 0.0, 4.0
    for _ in range(6):
        radius = (low + high) / 2
        job.send({"radius": radius})
        count = answers.queue.get(timeout=120)
        print(f"{count / POINTS:6.1%} of the points are within {radius:.4f}", flush=True)
        low, high = (low, radius) if count > POINTS / 2 else (radius, high)


if __name__ == "__main__":
    main()
