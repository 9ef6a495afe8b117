"""Compute π with MPI: each process of the program integrates a part, and the first writes the sum.

It needs mpi4py and an MPI library (`pip install mpi4py mpich`). This file is also the program that MPI starts.

    python examples/quadrature.py
    python examples/quadrature.py slurm --mpi pmi2
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from slurm import Cluster, command

PROGRAM = "quadrature.py"


def integrate(steps: int) -> None:
    """Integrate 4 / (1 + x²) from 0 to 1, together with the other processes. Writes pi.json."""
    from mpi4py import MPI  # noqa: PLC0415 - only the program needs it

    world = MPI.COMM_WORLD
    part = sum(4 / (1 + ((i + 0.5) / steps) ** 2) for i in range(world.rank, steps, world.size)) / steps
    total = world.reduce(part)
    if world.rank == 0:
        Path("pi.json").write_text(json.dumps({"pi": total, "processes": world.size}))


def main() -> None:
    """Run the program with several numbers of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", default="local", help="the URL of the cluster")
    parser.add_argument("--root", help="the directory for job directories")
    parser.add_argument("--mpi", help="the kind of MPI, as `srun --mpi=list` prints it")
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parent)
    program = command(
        f"python {PROGRAM} --steps {{steps}}",
        products=["pi.json"], launch="mpi", mpi=arguments.mpi, ntasks=2, time="5", mem="500M",
    )  # fmt: skip
    with Cluster(arguments.cluster, root=arguments.root):
        for done in program.map([100, 10_000]).results():
            found = json.loads(done.products[0].read_text())
            print(f"π ≈ {found['pi']:.8f} from {found['processes']} processes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--steps"]:
        integrate(int(sys.argv[2]))
    else:
        main()
