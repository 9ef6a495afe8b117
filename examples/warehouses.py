"""Study how many warehouses are worth their rent: a solver, which is an external program, runs once for each rent.

    apt-get install glpk-utils            # the solver, here and on the nodes
    python examples/warehouses.py         # on this machine
    python examples/warehouses.py slurm   # on the Slurm cluster of this login node
    python examples/warehouses.py slurm --after 1234 --to plans   # once job 1234 has succeeded; copy the plans here

`warehouses.mod` is the model and `warehouses.dat` its data; both are sent to the cluster once. Each run of the
solver writes a file of metrics, from which the table is printed, and one with the plan. The last task compares these.
"""

from __future__ import annotations

import argparse
import csv
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from slurm import Cluster, command, task

if TYPE_CHECKING:
    from slurm import Finished

HERE = Path(__file__)
RENTS = (5, 20, 60, 150, 400)

solve = command(
    "glpsol --math {model} --data {towns} --data /dev/stdin",
    stdin="data; param rent := {rent}; end;\n",
    products=["plan.csv"],
    metrics=True,
    time="5",
    mem="500M",
)


@task(time="5", mem="500M")
def moves(plans: list[Finished]) -> dict[str, int]:
    """Count for each town how often its warehouse changes from one plan to the next."""
    tables = [list(csv.DictReader(plan.products[0].open())) for plan in plans]
    served = [{row["town"]: row["warehouse"] for row in table} for table in tables]
    return {town: sum(one[town] != other[town] for one, other in pairwise(served)) for town in served[0]}


def main() -> None:
    """Solve the model for each rent, and compare the plans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", default="local", help="the URL of the cluster")
    parser.add_argument("--root", help="the directory for job directories")
    parser.add_argument("--after", help="the id of a job of another program that has to succeed before")
    parser.add_argument("--to", help="copy the plans to this directory")
    arguments = parser.parse_args()
    with Cluster(arguments.cluster, root=arguments.root) as cluster:
        model, towns = cluster.put(HERE.with_suffix(".mod")), cluster.put(HERE.with_suffix(".dat"))
        first = solve.after(arguments.after) if arguments.after else solve
        solved = first.starmap({"model": model, "towns": towns, "rent": rent} for rent in RENTS)
        moved = moves(solved)
        solved.results()  # raises CommandFailed with the solver's last lines if it failed
        print("rent  warehouses  cost")
        for rent, found in zip(RENTS, solved.metrics(), strict=True):
            print(f"{rent:4}  {found['open']:10}  {found['cost']:4.0f}")
        if arguments.to:
            solved.fetch("output/plan.csv", to=arguments.to)
        print("\nchanges of warehouse:", ", ".join(f"{town} {count}" for town, count in moved.result().items()))


if __name__ == "__main__":
    main()
