"""`python -m slurm` is the command `slurm`."""

from slurm.cli.main import main

main()
