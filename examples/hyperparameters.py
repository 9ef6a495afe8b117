"""Study 200 settings of a classifier of handwritten digits at one or several clusters. Any process can complete it.

    python examples/hyperparameters.py                       # on this machine
    python examples/hyperparameters.py slurm:40 local:2      # on the Slurm of this login node, and here
    python examples/hyperparameters.py --complete local:4    # the missing points, after this program was stopped

The study has a name, so this script computes each setting once, however often it is run. Needs scikit-learn here and on
the nodes.
"""

from __future__ import annotations

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from slurm import task
from slurm.sweeps import Sweep, grid

SPACE = grid(
    kernel=["rbf", "poly"],
    c=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
    gamma=[1e-5, 3e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2],
)


@task(time="00:05:00", mem="1G")
def train(kernel: str, c: float, gamma: float) -> dict[str, float]:
    """Return the share of unseen images that a classifier recognizes: the mean of three folds."""
    images, labels = load_digits(return_X_y=True)
    model = SVC(kernel=kernel, C=c, gamma=gamma)
    return {"accuracy": float(cross_val_score(model, images[::6], labels[::6], cv=3).mean())}


def main() -> None:
    """Submit the missing points, wait for them, and print the best settings."""
    parser = argparse.ArgumentParser(description="Study the settings of a classifier of handwritten digits.")
    parser.add_argument("on", nargs="*", default=["local"], help="where to compute, such as slurm:40 (default: local)")
    parser.add_argument("--complete", action="store_true", help="only what is missing of a study that was begun")
    parser.add_argument("--name", default="digits", help="the name of the study (default: %(default)s)")
    parser.add_argument("--sweeps", default="sweeps/outputs", help="the directory of studies (default: %(default)s)")
    arguments = parser.parse_args()

    if arguments.complete:
        sweep = Sweep.open(arguments.name, directory=arguments.sweeps)
        sweep.complete(arguments.on, chunk=10)
    else:
        sweep = Sweep(train, SPACE, name=arguments.name, directory=arguments.sweeps)
        sweep.run(arguments.on, chunk=10)
    for point in sweep.as_completed():
        if point.exception():
            print(f"{point.params}: {point.exception()}")
    best = sorted(sweep.points, key=lambda point: -point.metrics.get("accuracy", 0.0))[:3]
    print(f"{len(sweep)} settings. The best:")
    for point in best:
        print(f"{point.metrics['accuracy']:.3f}  {point.params}")


if __name__ == "__main__":
    main()
