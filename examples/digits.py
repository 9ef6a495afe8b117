"""Tune a classifier of handwritten digits: an array over a grid, a job that picks the best, and one that evaluates it.

    python examples/digits.py            # on this machine
    python examples/digits.py slurm      # on the Slurm cluster of this login node
    python examples/digits.py --plan     # print what the array would be, and submit nothing
    slurm jobs --label study=digits      # find the jobs later

Everything is submitted at once; the scheduler keeps the order. Needs scikit-learn here and on the nodes.
"""

import argparse
from collections.abc import Sequence
from itertools import product

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.svm import SVC

from slurm import Cluster, task

GRID: Sequence[ClassifierMixin] = [
    *(SVC(C=c, gamma=gamma) for c, gamma in product((1, 10), (1e-4, 1e-3, 5e-3))),
    *(RandomForestClassifier(max_depth=depth, random_state=0) for depth in (4, 16)),
]


def digits() -> Sequence[np.ndarray]:
    """Return images to learn from, images that are kept for the test, and the digits that both show."""
    return train_test_split(*load_digits(return_X_y=True), test_size=0.25, random_state=0)


@task(time="00:05:00", mem="1G")
def accuracy(model: ClassifierMixin) -> float:
    """Return the share of unseen images that the model classifies correctly: the mean of five folds."""
    images, _, labels, _ = digits()
    return float(cross_val_score(model, images, labels, cv=5).mean())


@task(time="00:01:00", mem="1G")
def best(models: Sequence[ClassifierMixin], accuracies: Sequence[float]) -> ClassifierMixin:
    """Return the model with the highest accuracy."""
    return models[max(range(len(models)), key=accuracies.__getitem__)]


@task(time="00:05:00", mem="1G")
def examine(model: ClassifierMixin) -> str:
    """Train the model with all training images, and report on the images that were kept for the test."""
    images, unseen, labels, answers = digits()
    return classification_report(answers, model.fit(images, labels).predict(unseen), digits=3)


def main() -> None:
    """Submit the jobs, wait for them, and print the report."""
    parser = argparse.ArgumentParser(description="Tune a classifier of handwritten digits.")
    parser.add_argument("url", nargs="?", default="local", help="where to run (default: %(default)s)")
    parser.add_argument("--root", help="where to keep the jobs' files: a directory that all nodes see")
    parser.add_argument("--plan", action="store_true", help="print what the array would be, and submit nothing")
    arguments = parser.parse_args()

    cluster = Cluster(arguments.url, root=arguments.root, options={"labels": {"study": "digits"}})
    if arguments.plan:
        print(cluster.plan(accuracy.with_options(chunk_size=4), [(model,) for model in GRID]))
        return
    with cluster:
        accuracies = accuracy.map(GRID, chunk_size=4)  # four calls in a job: importing scikit-learn takes most time
        winner = best(GRID, accuracies)  # jobs in place of their results: the scheduler waits for them
        report = examine(winner)

    print("accuracy  model")
    for mean, model in sorted(zip(accuracies.results(), map(str, GRID), strict=True), reverse=True):
        print(f"{mean:8.3f}  {model}")
    print(f"\n{winner.result()} on digits that were held back:\n\n{report.result()}")


if __name__ == "__main__":
    main()
