"""The solver of GLPK as an external tool: a run directory, two stages, and failures with names.

    apt-get install glpk-utils                # the solver, here and on the nodes
    python examples/linear_programs.py        # on this machine
    python examples/linear_programs.py slurm  # on the Slurm cluster of this login node
    slurm tool prepare examples/linear_programs.py:Glpsol r1 problem=towns --template warehouses

Glpsol ends with status 0 although there is no solution, so the product is checked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from slurm import Cluster
from slurm.tools import Diagnosis, Stage, Tool

FAILURES = {
    "NO PRIMAL FEASIBLE": Diagnosis("INFEASIBLE", "no values satisfy all constraints: relax one"),
    "UNBOUNDED": Diagnosis("UNBOUNDED", "the objective has no limit: a constraint is missing"),
    "MathProg model processing error": Diagnosis("BAD_MODEL", "the log names the line"),
    "TIME LIMIT EXCEEDED": Diagnosis("TIME_LIMIT", "raise --tmlim, or accept a gap with --mipgap"),
}


def diagnose(log: str, exit_status: int) -> Diagnosis | None:
    """Name a failure from the output of the solver."""
    del exit_status
    return next((found for words, found in FAILURES.items() if words in log), None)


def is_optimal(product: Path) -> bool:
    """Whether a report says that its solution is optimal."""
    return "OPTIMAL" in product.read_text(encoding="utf-8")


class Glpsol(Tool):
    """A mixed integer program; and its relaxation, with the ranges in which the solution stays the same."""

    name, taxonomy = "glpsol", ("problem",)
    templates = Path(__file__).with_name("glpsol-templates")
    relax = Stage(
        "glpsol --math config/model.mod --data config/model.dat --nomip --output relaxed.txt --ranges ranges.txt",
        products=["relaxed.txt", "ranges.txt"], diagnose=diagnose, time="5", mem="500M",
    )  # fmt: skip
    solve = Stage(
        "glpsol --math config/model.mod --data config/model.dat --tmlim 60 --output solution.txt",
        products=["solution.txt"], check=is_optimal, diagnose=diagnose, after="relax", time="5", mem="500M",
    )  # fmt: skip


def main() -> None:
    """Prepare a run, and print the products of its stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", default="local", help="the URL of the cluster")
    parser.add_argument("--root", help="the directory for job directories")
    parser.add_argument("--runs", default="runs", help="the directory for run directories")
    arguments = parser.parse_args()
    with Cluster(arguments.cluster, root=arguments.root):
        run = Glpsol.prepare("rent60", problem="towns", template="warehouses", root=arguments.runs)
        for stage, job in run.submit().items():
            print(f"{stage}:", *(product.name for product in job.result().products))


if __name__ == "__main__":
    main()
