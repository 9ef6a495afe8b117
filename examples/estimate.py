"""Estimate π, more precisely with each run: a run computes only the blocks that no earlier run has computed.

    python examples/estimate.py --blocks 4
    python examples/estimate.py --blocks 8          # computes 4 blocks, and finds the other 4

`slurm explain KEY --reuse` tells why a block was computed again, such as after an edit of `hits`.
"""

from __future__ import annotations

import argparse
import random

from slurm import Cluster, task

POINTS = 200_000


def is_inside(generator: random.Random) -> bool:
    """Whether a random point in the square is in the quarter of the circle."""
    return generator.random() ** 2 + generator.random() ** 2 <= 1


@task(reuse=True, time="5", mem="500M")
def hits(block: int) -> int:
    """Count the points of a block that are in the circle. The number of the block is the seed, so blocks differ."""
    generator = random.Random(block)  # noqa: S311 - not for security
    return sum(is_inside(generator) for _ in range(POINTS))


def main() -> None:
    """Estimate π from blocks of points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", default="local", help="the URL of the cluster")
    parser.add_argument("--root", help="the directory for job directories")
    parser.add_argument("--blocks", type=int, default=4)
    arguments = parser.parse_args()
    with Cluster(arguments.cluster, root=arguments.root) as cluster:
        before = {job.key for job in cluster.jobs("hits")}
        blocks = hits.map(range(arguments.blocks))
        found = sum(job.reference.key in before for job in blocks)
        print(f"π ≈ {4 * sum(blocks.results()) / (arguments.blocks * POINTS):.4f}")
        print(f"{len(blocks)} blocks, {found} of them from earlier runs")


if __name__ == "__main__":
    main()
