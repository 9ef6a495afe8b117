"""Search for good parameters: a sampler chooses each point by how the earlier ones ended, and bad points stop early.

Run it with `python examples/adaptive_search.py`, here with two points at once, or with the name of a cluster and a number
of slots: `python examples/adaptive_search.py cluster:8`. It needs Optuna: `pip install 'slurm-tasks[adaptive]'`. Run again,
it goes on where it was.
"""

from __future__ import annotations

import sys

from slurm import JobContext, task
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
        if ctx.should_stop:  # it is worse than most others were after as many steps
            break
    return {"loss": loss}


if __name__ == "__main__":
    sweep = Sweep(
        train,
        {"rate": uniform(1e-4, 1.0, log=True), "depth": integer(1, 8)},
        name="adaptive-search",
        sampler="tpe",
        metric="loss",
        prune="median",
    )
    sweep.run(on=sys.argv[1] if len(sys.argv) > 1 else "local:2", trials=TRIALS)
    for point in sweep.as_completed():
        print(f"{point.params}: loss {point.metrics['loss']:.3f}")
    print(f"best: {sweep.table().best('loss')}")
