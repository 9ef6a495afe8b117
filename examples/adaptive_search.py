"""Search for good parameters: a sampler chooses each point by how the earlier ones ended, and bad points stop early.

    python examples/adaptive_search.py                 # on this machine, two points at once
    python examples/adaptive_search.py cluster:8       # a cluster of the Slurmfile, eight at once

Needs Optuna: pip install 'slurm-tasks[adaptive]'. If the program is ended and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse

from slurm import JobContext, task  # noqa: TC001 - the annotation is read at run time
from slurm.sweeps import Sweep, integer, uniform

TRIALS = 12


@task(time="10:00", mem="500M")
def train(ctx: JobContext, rate: float, depth: int) -> dict[str, float]:
    """Minimize a function by gradient descent, as a stand-in for a network; report the loss after each step."""
    x, loss = 5.0, 0.0
    for step in range(1, 51):
        x -= rate * (2 * x + depth)  # the gradient of x² + depth·x
        loss = min(x**2 + depth * x + 0.3 * depth**2, 1e6)
        ctx.progress(step, 50, loss=loss)
        if ctx.should_stop:  # this point is worse than most others were after as many steps
            break
    return {"loss": loss}


def main() -> None:
    """Search, and print the points as they end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", default="local:2", help="where to compute, and how many points at once")
    parser.add_argument("--sweeps", default="sweeps/outputs", help="the directory that keeps the sweep")
    given = parser.parse_args()
    sweep = Sweep(
        train,
        {"rate": uniform(1e-4, 1.0, log=True), "depth": integer(1, 8)},
        name="adaptive-search",
        directory=given.sweeps,
        sampler="tpe",
        metric="loss",
        prune="median",
    )
    sweep.run(on=given.cluster, trials=TRIALS)
    for point in sweep.as_completed():
        print(f"{point.params}: loss {point.metrics['loss']:.3f}")
    best = sweep.table().best("loss")
    print(f"best of {len(sweep)}: rate {best['rate']:.4f}, depth {best['depth']}, loss {best['loss']:.3f}")


if __name__ == "__main__":
    main()
