"""Find the minimum of a function by grids that close in on it: a workflow, for each grid depends on the one before.

    python examples/minimum.py            # on this machine
    python examples/minimum.py slurm      # on the cluster that this is a login node of

The workflow runs as a job. This program only waits for it, and need not.
"""

import argparse

from slurm import Cluster, task, workflow


@task(time="00:01:00", mem="500M")
def cost(x: float) -> float:
    """What is to be small; think of a simulation that takes an hour."""
    return (x - 2) ** 4 + x


@workflow(time="00:30:00", mem="500M")
def minimum(low: float, high: float, rounds: int, points: int = 9) -> float:
    """Where the cost is least: of a grid's points the best, then of a finer grid around it, and so on."""
    best = low
    for number in range(rounds):
        step = (high - low) / (points - 1)
        grid = [low + step * n for n in range(points)]
        costs = cost.map(grid).results()  # an array of jobs; the next grid depends on what comes of it
        best = grid[costs.index(min(costs))]
        print(f"round {number + 1}: {best:.3f}")
        low, high = best - step, best + step
    return best


def main() -> None:
    """Submit, wait, print."""
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
