"""The command `slurm`."""
