"""Find the minimum of a function with finer and finer grids. This is a workflow: each grid depends on the previous one.

    python examples/minimum.py            # on this machine
    python examples/minimum.py slurm      # on the Slurm cluster of this login node

The workflow runs as a job. This program waits for it, but does not have to.
"""

import argparse

from slurm import Cluster, task, workflow


@task(time="00:01:00", mem="500M")
def cost(x: float) -> float:
    """Return the value of the function to minimise. Imagine a simulation that takes an hour."""
    return (x - 2) ** 4 + x


@workflow(time="00:30:00", mem="500M")
def minimum(low: float, high: float, rounds: int, points: int = 9) -> float:
    """Find the best point of a grid, then of a finer grid around it, and so on."""
    best = low
    for number in range(rounds):
        step = (high - low) / (points - 1)
        grid = [low + step * n for n in range(points)]
        costs = cost.map(grid).results()  # an array of jobs; the next grid depends on its results
        best = grid[costs.index(min(costs))]
        print(f"round {number + 1}: {best:.3f}")
        low, high = best - step, best + step
    return best


def main() -> None:
    """Submit the workflow, wait for it, and print the minimum."""
    parser = argparse.ArgumentParser(description="Find the minimum of a function.")
    parser.add_argument("url", nargs="?", default="local", help="where to run (default: %(default)s)")
    parser.add_argument("--root", help="where to keep the jobs' files: a directory that all nodes see")
    parser.add_argument("--rounds", type=int, default=3, help="how many grids (default: %(default)s)")
    arguments = parser.parse_args()

    with Cluster(arguments.url, root=arguments.root) as cluster:
        job = minimum(-10, 10, arguments.rounds)
        print(f"the minimum is at {job.result():.3f}\n")
        print(job.logs())
        print(cluster.graph(job).mermaid())


if __name__ == "__main__":
    main()
